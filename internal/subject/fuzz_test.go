package subject_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-bb4b4d74/dispatch/internal/subject"
)

// The grammar as regular expressions. The length is checked separately.
var (
	nameGrammar    = regexp.MustCompile(`\A[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\z`)
	patternGrammar = regexp.MustCompile(`\A(([A-Za-z0-9_-]+|\*)\.)*([A-Za-z0-9_-]+|\*|>)\z`)
)

func FuzzName(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text string) {
		valid := len(text) <= 255 && nameGrammar.MatchString(text)
		compare(t, subject.CheckName, text, valid)
	})
}

func FuzzPattern(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text string) {
		valid := len(text) <= 255 && patternGrammar.MatchString(text)
		compare(t, subject.CheckPattern, text, valid)
	})
}

func seed(f *testing.F) {
	for _, text := range []string{
		"", "a", "cell.3.measure", "a..b", ".a", "a.", "a b", "a\r\nb", "a\x00", "mäß", "\xff",
		"*", "a.*.b", "a*", ">", "a.>", ">.a", "a>",
		strings.Repeat("n.", 127) + "n",
		strings.Repeat("n.", 128) + "n",
		strings.Repeat("x", 255) + "é",
		strings.Repeat("y", 254) + "é" + strings.Repeat("€", 100),
	} {
		f.Add(text)
	}
}

func compare(t *testing.T, check func(string) error, text string, valid bool) {
	err := check(text)
	if valid != (err == nil) {
		t.Fatalf("%q: got %v, want valid: %v", text, err, valid)
	}
	if valid {
		return
	}
	var bad *subject.Error
	if !errors.As(err, &bad) {
		t.Fatalf("%q: got a %T, want a *subject.Error", text, err)
	}
	if bad.Text != text {
		t.Fatalf("got Text %q, want %q", bad.Text, text)
	}
	if bad.Offset < 0 || bad.Offset > min(len(text), 255) {
		t.Fatalf("%v: the byte is outside of the text", err)
	}
	// The offset is right only if the text before it can be the beginning of a valid text.
	if bad.Offset < 255 {
		if err := check(text[:bad.Offset] + "a"); err != nil {
			t.Fatalf("%v, but before that: %v", bad, err)
		}
	}
	message := bad.Error()
	if len(message) > 400 {
		t.Fatalf("the message has %d bytes: %s", len(message), message)
	}
	if !utf8.ValidString(message) || strings.ContainsAny(message, "\r\n\x00") {
		t.Fatalf("the message is not one line of text: %q", message)
	}
}

// FuzzOverlap draws tokens from a small vocabulary, so that every input is a
// valid pair and many pairs match.
func FuzzOverlap(f *testing.F) {
	f.Add([]byte{0}, false, []byte{0})
	f.Add([]byte{0, 4, 1}, false, []byte{0, 2, 1})
	f.Add([]byte{0, 1}, true, []byte{0, 1})
	f.Add([]byte{}, true, []byte{3, 2, 1, 0})
	f.Fuzz(func(t *testing.T, p []byte, tail bool, n []byte) {
		patternTokens := draw(p, "a", "b", "ab", "-", "*")
		if tail {
			patternTokens = append(patternTokens, ">")
		}
		nameTokens := draw(n, "a", "b", "ab", "-")
		if len(patternTokens) == 0 || len(nameTokens) == 0 {
			t.Skip("no pattern or no name")
		}
		pattern, name := strings.Join(patternTokens, "."), strings.Join(nameTokens, ".")
		if err := errors.Join(subject.CheckPattern(pattern), subject.CheckName(name)); err != nil {
			t.Fatal(err)
		}
		want := slowMatch(strings.Split(pattern, "."), strings.Split(name, "."))
		if got := subject.Overlap(pattern, name); got != want {
			t.Fatalf("Overlap(%q, %q) = %v, want %v", pattern, name, got, want)
		}
	})
}

// draw turns bytes into words, of which there are at most as many as a valid
// text has room for.
func draw(choices []byte, words ...string) []string {
	var drawn []string
	for _, c := range choices[:min(len(choices), 64)] {
		drawn = append(drawn, words[int(c)%len(words)])
	}
	return drawn
}

// slowMatch follows the definition: "*" is one token, ">" is one and then none
// or more.
func slowMatch(pattern, name []string) bool {
	switch {
	case len(pattern) == 0:
		return len(name) == 0
	case len(name) == 0:
		return false
	case pattern[0] == ">":
		return slowMatch(pattern[1:], name[1:]) || slowMatch(pattern, name[1:])
	case pattern[0] == "*" || pattern[0] == name[0]:
		return slowMatch(pattern[1:], name[1:])
	}
	return false
}
