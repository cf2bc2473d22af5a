// Package subject is the grammar of topic names and of the patterns that
// select them.
//
// A name is 1 to 255 bytes: tokens of A–Z a–z 0–9 _ and -, none of them empty,
// with a dot between one and the next. A pattern is a name in which a whole
// token may be "*", which stands for exactly one token, and the last may be
// ">", which stands for one or more. Every name is therefore also a pattern,
// one that matches nothing but itself, and every name and pattern is a subject
// of NATS with the same meaning there.
//
// The package keeps no state; its functions may be called concurrently.
package subject

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxLen is the greatest length of a name or pattern, in bytes.
const maxLen = 255

// Error says what keeps a text from being a name or a pattern, and where. Only
// the first fault of a text is reported: what comes before Offset can be the
// beginning of a valid one.
type Error struct {
	Text    string // the whole text that was checked
	Offset  int    // the byte at fault, counted from 0; len(Text) if the fault is that Text ends there
	Problem string // what is wrong at Offset, as part of a sentence: "empty token"
}

// Error quotes Text, only the surroundings of Offset if Text is long, and says
// what is wrong at which byte: `"a..b": empty token at byte 2`.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s at byte %d", e.excerpt(), e.Problem, e.Offset)
}

// excerpt quotes what is around the fault, so that the message of a huge text
// is short and still shows the place. Dots outside the quotes mean a cut.
func (e *Error) excerpt() string {
	const around = 32
	fault := min(max(e.Offset, 0), len(e.Text))
	start, end := max(fault-around, 0), min(fault+around, len(e.Text))
	// Half a rune would be quoted as bytes that are not in the text.
	for end > fault && end < len(e.Text) && !utf8.RuneStart(e.Text[end]) {
		end--
	}
	var before, after string
	if start > 0 {
		before = "..."
	}
	if end < len(e.Text) {
		after = "..."
	}
	return fmt.Sprintf("%s%q%s", before, e.Text[start:end], after)
}

// CheckName returns nil if name is the name of a topic, otherwise an *[Error].
// It takes any string, and reads no more than the first 256 bytes.
func CheckName(name string) error { return check(name, false) }

// CheckPattern returns nil if pattern is a pattern of topic names, otherwise
// an *[Error]. It takes any string, and reads no more than the first 256 bytes.
func CheckPattern(pattern string) error { return check(pattern, true) }

func check(text string, wildcards bool) error {
	token := 0 // where the token that is being read began
	for i := 0; i <= len(text); i++ {
		switch {
		case i == maxLen && i < len(text):
			return &Error{text, i, fmt.Sprintf("too long (%d bytes, the limit is %d)", len(text), maxLen)}
		case i == len(text) || text[i] == '.':
			if i == token {
				return &Error{text, i, "empty token"}
			}
			token = i + 1
		case isTokenByte(text[i]):
		case text[i] == '*' || text[i] == '>':
			if problem := wildcardProblem(text, token, i, wildcards); problem != "" {
				return &Error{text, i, problem}
			}
		default:
			return &Error{text, i, invalidCharacter(text[i:])}
		}
	}
	return nil
}

func isTokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// wildcardProblem says what is wrong with the wildcard at text[i], whose token begins at
// text[token]. It returns the empty string if nothing is.
func wildcardProblem(text string, token, i int, allowed bool) string {
	last := i+1 == len(text)
	switch {
	case !allowed:
		return fmt.Sprintf("wildcard %q in a name", text[i])
	case i != token || !last && text[i+1] != '.':
		return fmt.Sprintf("%q inside a longer token", text[i])
	case text[i] == '>' && !last:
		return "'>' before the last token"
	}
	return ""
}

// invalidCharacter describes the first character of text, which is the byte
// itself where no valid UTF-8 begins.
func invalidCharacter(text string) string {
	r, size := utf8.DecodeRuneInString(text)
	if r == utf8.RuneError && size == 1 {
		return fmt.Sprintf("invalid byte 0x%02x", text[0])
	}
	return fmt.Sprintf("invalid character %q", r)
}

// Overlap reports whether some name is matched by both patterns. If one of them
// is a name, Overlap reports whether the other one matches it. Case counts. Both
// must be valid; the answer for others means nothing. It does not allocate.
func Overlap(a, b string) bool {
	for {
		tokenA, restA, moreA := strings.Cut(a, ".")
		tokenB, restB, moreB := strings.Cut(b, ".")
		if tokenA == ">" || tokenB == ">" {
			return true
		}
		if tokenA != tokenB && tokenA != "*" && tokenB != "*" {
			return false
		}
		if !moreA || !moreB {
			return moreA == moreB
		}
		a, b = restA, restB
	}
}
