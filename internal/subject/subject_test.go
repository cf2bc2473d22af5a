package subject_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/seed-bb4b4d74/dispatch/internal/subject"
)

func ExampleCheckName() {
	fmt.Println(subject.CheckName("cell.3.measure"))
	fmt.Println(subject.CheckName("cell..measure"))
	fmt.Println(subject.CheckName("cell.*.measure"))
	// Output:
	// <nil>
	// "cell..measure": empty token at byte 5
	// "cell.*.measure": wildcard '*' in a name at byte 5
}

func ExampleCheckPattern() {
	fmt.Println(subject.CheckPattern("cell.*.measure"))
	fmt.Println(subject.CheckPattern("cell.>"))
	fmt.Println(subject.CheckPattern("cell.>.measure"))
	fmt.Println(subject.CheckPattern("cell.m*"))
	// Output:
	// <nil>
	// <nil>
	// "cell.>.measure": '>' before the last token at byte 5
	// "cell.m*": '*' inside a longer token at byte 6
}

func ExampleOverlap() {
	fmt.Println(subject.Overlap("cell.*.measure", "cell.3.measure"))
	fmt.Println(subject.Overlap("cell.*", "cell.3.measure"))
	fmt.Println(subject.Overlap("cell.>", "cell.3.measure"))
	fmt.Println(subject.Overlap("cell.>", "cell"))
	// Output:
	// true
	// false
	// true
	// false
}

func ExampleError() {
	err := subject.CheckName("cell 3")
	var bad *subject.Error
	if errors.As(err, &bad) {
		fmt.Printf("%q, byte %d: %s\n", bad.Text, bad.Offset, bad.Problem)
	}
	// Output:
	// "cell 3", byte 4: invalid character ' '
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ.abcdefghijklmnopqrstuvwxyz.0123456789._.-"

func TestNames(t *testing.T) {
	for _, name := range []string{
		"a", "Z", "0", "_", "-", "a.b", "a.B.c", "cell.3.measure", "-.-", "a-b_c.D",
		alphabet,
		strings.Repeat("n", 255),
		strings.Repeat("n.", 127) + "n",
	} {
		if err := subject.CheckName(name); err != nil {
			t.Errorf("CheckName: %v", err)
		}
		if err := subject.CheckPattern(name); err != nil {
			t.Errorf("CheckPattern: %v", err)
		}
		if !subject.Overlap(name, name) {
			t.Errorf("%q does not match itself", name)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, pattern := range []string{
		"*", ">", "*.*", "*.>", "a.*", "*.a", "a.*.b", "a.>", "a.*.>", "*.a.*.>",
		strings.Repeat("*.", 127) + ">",
	} {
		if err := subject.CheckPattern(pattern); err != nil {
			t.Errorf("CheckPattern: %v", err)
		}
		if subject.CheckName(pattern) == nil {
			t.Errorf("CheckName accepts %q", pattern)
		}
	}
}

// A text that is neither a name nor a pattern gets the same error from both checks.
func TestBadText(t *testing.T) {
	tests := []struct {
		text   string
		offset int
		want   string
	}{
		{"", 0, `"": empty token at byte 0`},
		{".", 0, `".": empty token at byte 0`},
		{".a", 0, `".a": empty token at byte 0`},
		{"a.", 2, `"a.": empty token at byte 2`},
		{"a..b", 2, `"a..b": empty token at byte 2`},
		{" ", 0, `" ": invalid character ' ' at byte 0`},
		{"a b", 1, `"a b": invalid character ' ' at byte 1`},
		{"a\tb", 1, `"a\tb": invalid character '\t' at byte 1`},
		{"a\r\nPUB x", 1, `"a\r\nPUB x": invalid character '\r' at byte 1`},
		{"a\n", 1, `"a\n": invalid character '\n' at byte 1`},
		{"a\x00", 1, `"a\x00": invalid character '\x00' at byte 1`},
		{"a/b", 1, `"a/b": invalid character '/' at byte 1`},
		{"zelle.mäß", 7, `"zelle.mäß": invalid character 'ä' at byte 7`},
		{"a.\u202eb", 2, `"a.\u202eb": invalid character '\u202e' at byte 2`},
		{"a.\uff42", 2, `"a.ｂ": invalid character 'ｂ' at byte 2`}, // a full-width b
		{"a.\ufffd", 2, `"a.` + "\ufffd" + `": invalid character '` + "\ufffd" + `' at byte 2`},
		{"a.\xff", 2, `"a.\xff": invalid byte 0xff at byte 2`},
		{"a.\xc3", 2, `"a.\xc3": invalid byte 0xc3 at byte 2`},
		{
			strings.Repeat("a", 256), 255,
			`..."` + strings.Repeat("a", 33) + `": too long (256 bytes, the limit is 255) at byte 255`,
		},
		{
			strings.Repeat("a", 10<<10), 255,
			`..."` + strings.Repeat("a", 64) + `"...: too long (10240 bytes, the limit is 255) at byte 255`,
		},
		{
			strings.Repeat("b", 254) + ".", 255,
			`..."` + strings.Repeat("b", 31) + `.": empty token at byte 255`,
		},
		{
			strings.Repeat("b", 100) + " " + strings.Repeat("c", 10<<10), 100,
			`..."` + strings.Repeat("b", 32) + " " + strings.Repeat("c", 31) + `"...: invalid character ' ' at byte 100`,
		},
		{
			// The cut would go through the eleventh €.
			" " + strings.Repeat("€", 1000), 0,
			`" ` + strings.Repeat("€", 10) + `"...: invalid character ' ' at byte 0`,
		},
	}
	for _, test := range tests {
		for _, check := range []func(string) error{subject.CheckName, subject.CheckPattern} {
			wantError(t, check(test.text), test.text, test.offset, test.want)
		}
	}
}

func TestWildcardInName(t *testing.T) {
	tests := []struct {
		text   string
		offset int
		want   string
	}{
		{"*", 0, `"*": wildcard '*' in a name at byte 0`},
		{">", 0, `">": wildcard '>' in a name at byte 0`},
		{"a.*.b", 2, `"a.*.b": wildcard '*' in a name at byte 2`},
		{"a.>", 2, `"a.>": wildcard '>' in a name at byte 2`},
		{"ab*", 2, `"ab*": wildcard '*' in a name at byte 2`},
	}
	for _, test := range tests {
		wantError(t, subject.CheckName(test.text), test.text, test.offset, test.want)
	}
}

func TestBadPattern(t *testing.T) {
	tests := []struct {
		text   string
		offset int
		want   string
	}{
		{"a*", 1, `"a*": '*' inside a longer token at byte 1`},
		{"*a", 0, `"*a": '*' inside a longer token at byte 0`},
		{"**", 0, `"**": '*' inside a longer token at byte 0`},
		{"a.b>", 3, `"a.b>": '>' inside a longer token at byte 3`},
		{">>", 0, `">>": '>' inside a longer token at byte 0`},
		{"*>", 0, `"*>": '*' inside a longer token at byte 0`},
		{">.a", 0, `">.a": '>' before the last token at byte 0`},
		{"a.>.>", 2, `"a.>.>": '>' before the last token at byte 2`},
		{">.", 0, `">.": '>' before the last token at byte 0`},
		{"*.", 2, `"*.": empty token at byte 2`},
		{"*..>", 2, `"*..>": empty token at byte 2`},
		{"a.?", 2, `"a.?": invalid character '?' at byte 2`},
	}
	for _, test := range tests {
		wantError(t, subject.CheckPattern(test.text), test.text, test.offset, test.want)
	}
}

func wantError(t *testing.T, err error, text string, offset int, message string) {
	t.Helper()
	var bad *subject.Error
	if !errors.As(err, &bad) {
		t.Errorf("%.80q: got %v, want a *subject.Error", text, err)
		return
	}
	if bad.Text != text || bad.Offset != offset {
		t.Errorf("%.80q: got Text %.80q and Offset %d, want the text itself and %d", text, bad.Text, bad.Offset, offset)
	}
	if got := bad.Error(); got != message {
		t.Errorf("%.80q:\n got %s\nwant %s", text, got, message)
	}
}

// An Error that was not made by this package has a message, too, for every offset.
func TestErrorOffsetOutside(t *testing.T) {
	for offset, want := range map[int]string{
		-100: `"ab": odd at byte -100`,
		100:  `"ab": odd at byte 100`,
	} {
		err := &subject.Error{Text: "ab", Offset: offset, Problem: "odd"}
		if got := err.Error(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestAPatternOverlapsTheNamesThatItMatches(t *testing.T) {
	tests := []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a", "A", false},
		{"a", "aa", false},
		{"aa", "a", false},
		{"a", "a.b", false},
		{"a.b", "a", false},
		{"a.b", "a.b", true},
		{"a.b", "a.c", false},
		{"a.b", "ab", false},

		{"*", "a", true},
		{"*", "a.b", false},
		{"a.*", "a.b", true},
		{"a.*", "a", false},
		{"a.*", "a.b.c", false},
		{"a.*", "b.b", false},
		{"*.b", "a.b", true},
		{"*.b", "a.c", false},
		{"a.*.c", "a.b.c", true},
		{"a.*.c", "a.c", false},
		{"a.*.c", "a.b.b.c", false},
		{"*.*", "a.b", true},
		{"*.*", "a", false},

		{">", "a", true},
		{">", "a.b.c", true},
		{"a.>", "a", false},
		{"a.>", "a.b", true},
		{"a.>", "a.b.c", true},
		{"a.>", "ab.c", false},
		{"a.>", "b.c", false},
		{"*.>", "a", false},
		{"*.>", "a.b", true},
		{"*.b.>", "a.b.c.d", true},
		{"*.b.>", "a.c.b.d", false},
	}
	for _, test := range tests {
		if got := subject.Overlap(test.pattern, test.name); got != test.want {
			t.Errorf("Overlap(%q, %q) = %v, want %v", test.pattern, test.name, got, test.want)
		}
	}
}

func TestOverlapDoesNotAllocate(t *testing.T) {
	name := strings.Repeat("n.", 127) + "n"
	for _, pattern := range []string{
		name,
		">",
		strings.Repeat("*.", 127) + "*",
		strings.Repeat("n.", 127) + ">",
		strings.Repeat("*.", 126) + "x",
	} {
		if n := testing.AllocsPerRun(100, func() { subject.Overlap(pattern, name) }); n != 0 {
			t.Errorf("Overlap(%.8q..., name): %v allocations, want 0", pattern, n)
		}
	}
}

// Checking is part of every Send to a topic that is known only at run time.
func TestCheckDoesNotAllocate(t *testing.T) {
	name, pattern := strings.Repeat("n.", 127)+"n", strings.Repeat("*.", 127)+">"
	n := testing.AllocsPerRun(100, func() {
		if subject.CheckName(name) != nil || subject.CheckPattern(pattern) != nil {
			t.Error("valid text refused")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestOverlap(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a", "a.b", false},
		{"a.*", "*.b", true},
		{"a.*", "b.*", false},
		{"a.*", "a.b.c", false},
		{"a.>", "a", false},
		{"a.>", "*.b.c", true},
		{">", "x.y.z", true},
		{"*.*", ">", true},
		{"a.*.c", "a.b.*", true},
		{"a.*.c", "a.b.d", false},
	} {
		for _, pair := range [][2]string{{test.a, test.b}, {test.b, test.a}} {
			if got := subject.Overlap(pair[0], pair[1]); got != test.want {
				t.Errorf("Overlap(%q, %q) = %t, want %t", pair[0], pair[1], got, test.want)
			}
		}
	}
}
