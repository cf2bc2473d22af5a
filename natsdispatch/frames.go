package natsdispatch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/seed-bb4b4d74/dispatch"
)

// A frame is one thing that a node has to say to a request. Which fields count
// depends on its kind.
type frame struct {
	kind    string
	members []dispatch.Member // accept, all, names; those of the node itself have no Node
	list    uint64            // accept, all, names: the number of the list that they are; 0: none
	member  int               // part, result, end
	size    int               // result: of the whole value
	value   []byte            // part, result, all; a part of the message
	results int               // end, final
	count   int               // final: of the members
	failure failure           // end, reject; the zero value is OK
}

// The kinds of frames.
const (
	kindAccept = "accept"
	kindPart   = "part"
	kindResult = "result"
	kindEnd    = "end"
	kindFinal  = "final"
	kindReject = "reject"

	// Those of version 2.
	kindAll       = "all"
	kindForgotten = "forgotten"
	kindNames     = "names"
)

// failure says why something ended other than well.
type failure struct {
	state dispatch.State
	code  string
	text  string
}

func appendAccept(b []byte, l naming, members []dispatch.Member) []byte {
	return append(appendList(append(b, kindAccept...), l, members), '\n')
}

// appendAll appends all that there is to say of members that have one result each and have ended
// well. The values are a JSON array.
func appendAll(b []byte, l naming, members []dispatch.Member, array []byte) []byte {
	b = appendList(appendNumbers(append(b, kindAll...), len(array)), l, members)
	return append(append(append(b, '\n'), array...), '\n')
}

// appendList appends members as a list, or as none if it has no number.
func appendList(b []byte, l naming, members []dispatch.Member) []byte {
	if l.number > 0 {
		b = strconv.AppendUint(append(b, ' ', listSign), l.number, 10)
	}
	if l.alone {
		return b
	}
	return appendMembers(b, members)
}

// listSign is what the number of a list begins with, and no name.
const listSign = '@'

func appendMembers(b []byte, members []dispatch.Member) []byte {
	for _, m := range members {
		b = append(b, ' ')
		if m.Node != "" {
			b = append(appendEscaped(b, m.Node), '/')
		}
		if m.Node != "" || m.Group != "" {
			b = append(appendEscaped(b, m.Group), '/')
		}
		b = appendEscaped(b, m.Name)
	}
	return b
}

// appendAcceptWithin appends an accept of as many of the members as fit into so many bytes,
// and at least one, and returns how many that are.
func appendAcceptWithin(b []byte, members []dispatch.Member, most int) ([]byte, int) {
	n := len(members)
	for {
		frame := appendAccept(b, naming{}, members[:n])
		if len(frame)-len(b) <= most || n <= 1 {
			return frame, n
		}
		n = min(n-1, max(1, n*most/(len(frame)-len(b))))
	}
}

func appendPart(b []byte, member int, piece []byte) []byte {
	b = appendNumbers(append(b, kindPart...), member, len(piece))
	b = append(append(b, '\n'), piece...)
	return append(b, '\n')
}

func appendResult(b []byte, member int, piece []byte, total int) []byte {
	b = appendNumbers(append(b, kindResult...), member, len(piece), total)
	b = append(append(b, '\n'), piece...)
	return append(b, '\n')
}

func appendEnd(b []byte, member, results int, f failure) []byte {
	b = appendNumbers(append(b, kindEnd...), member, results)
	return append(f.append(append(b, ' ')), '\n')
}

func appendFinal(b []byte, members, results int) []byte {
	return append(appendNumbers(append(b, kindFinal...), members, results), '\n')
}

func appendReject(b []byte, f failure) []byte {
	return append(f.append(append(b, kindReject+" "...)), '\n')
}

func (f failure) append(b []byte) []byte {
	if f == (failure{}) {
		return append(b, "ok"...)
	}
	b = append(b, wireWord(f.state)...)
	b = append(b, ' ')
	b = append(b, f.code...)
	return appendText(append(b, ' '), f.text)
}

// wireWord is the word for a state in version 1 of the protocol, which spells one of
// them in the British way.
func wireWord(s dispatch.State) string {
	if s == dispatch.StateCanceled {
		return "cancelled"
	}
	return s.String()
}

// longestText bounds the text of a failure on the wire.
const longestText = 4096

// cut returns a text of at most n bytes and a sign that something is missing, or the whole.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}

func appendText(b []byte, text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil { // it never is, for a string
		return append(b, `""`...)
	}
	return append(b, quoted...)
}

func appendNumbers(b []byte, numbers ...int) []byte {
	for _, n := range numbers {
		b = strconv.AppendInt(append(b, ' '), int64(n), 10)
	}
	return b
}

// most bounds every number in a frame, so that sums of them do not overflow.
const most = 1 << 30

// frames ranges over the frames of a message. It ends with the first error, which
// says what is malformed. Frames of kinds that it does not know it passes over.
func frames(body []byte) iter.Seq2[frame, error] {
	return func(yield func(frame, error) bool) {
		for len(body) > 0 {
			line, rest, found := bytes.Cut(body, []byte{'\n'})
			if !found {
				yield(frame{}, errors.New("a frame has no end"))
				return
			}
			f, length, err := parseLine(line)
			if err != nil {
				yield(frame{}, fmt.Errorf("frame %.60q: %w", line, err))
				return
			}
			if length >= 0 {
				if length >= len(rest) || rest[length] != '\n' {
					yield(frame{}, fmt.Errorf("frame %.60q: it is not followed by so many bytes", line))
					return
				}
				f.value, rest = rest[:length:length], rest[length+1:]
			}
			if body = rest; f.kind != "" && !yield(f, nil) {
				return
			}
		}
	}
}

// parseLine reads the line of a frame. It returns the length of the value that
// follows, or -1 if none does, and a frame without a kind if it does not know it.
func parseLine(line []byte) (f frame, length int, err error) {
	kind, rest, _ := bytes.Cut(line, []byte{' '})
	length = -1
	switch string(kind) {
	case kindAccept:
		f.kind = kindAccept
		f.list, f.members, err = parseList(rest)
	case kindNames:
		f.kind = kindNames
		f.list, f.members, err = parseList(rest)
	case kindAll:
		f.kind = kindAll
		if rest, err = parseNumbers(rest, &length); err == nil {
			f.list, f.members, err = parseList(rest)
		}
	case kindForgotten:
		f.kind = kindForgotten
	case kindPart:
		f.kind = kindPart
		_, err = parseNumbers(rest, &f.member, &length)
	case kindResult:
		f.kind = kindResult
		_, err = parseNumbers(rest, &f.member, &length, &f.size)
	case kindEnd:
		f.kind = kindEnd
		if rest, err = parseNumbers(rest, &f.member, &f.results); err == nil {
			f.failure, err = parseFailure(rest)
		}
	case kindFinal:
		f.kind = kindFinal
		_, err = parseNumbers(rest, &f.count, &f.results)
	case kindReject:
		f.kind = kindReject
		if f.failure, err = parseFailure(rest); err == nil && f.failure == (failure{}) {
			err = errors.New("it rejects with ok")
		}
	}
	return f, length, err
}

// parseNumbers reads numbers that are separated by blanks and returns what follows.
func parseNumbers(s []byte, to ...*int) (rest []byte, err error) {
	for _, n := range to {
		var word []byte
		word, s, _ = bytes.Cut(s, []byte{' '})
		if len(word) == 0 || len(word) > 10 {
			return nil, fmt.Errorf("%.20q is no number", word)
		}
		*n = 0
		for _, c := range word {
			if c < '0' || c > '9' {
				return nil, fmt.Errorf("%q is no number", word)
			}
			*n = *n*10 + int(c-'0')
		}
		if *n > most {
			return nil, fmt.Errorf("%s is too large", word)
		}
	}
	return s, nil
}

// parseList reads members that may be a list.
func parseList(s []byte) (number uint64, members []dispatch.Member, err error) {
	if word, rest, _ := bytes.Cut(s, []byte{' '}); len(word) > 0 && word[0] == listSign {
		if number, err = strconv.ParseUint(string(word[1:]), 10, 64); err != nil || number == 0 {
			return 0, nil, fmt.Errorf("%.30q is no number of a list", word)
		}
		s = rest
	}
	members, err = parseMembers(s)
	return number, members, err
}

// parseMembers reads members that are separated by blanks.
func parseMembers(s []byte) (members []dispatch.Member, err error) {
	if len(s) > 0 {
		members = make([]dispatch.Member, 0, bytes.Count(s, []byte{' '})+1)
	}
	words := string(s) // of which the names are parts
	for word := range strings.FieldsSeq(words) {
		m, err := parseMember(word)
		if err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	return members, nil
}

// parseMember reads a member as it is written in an accept.
func parseMember(word string) (m dispatch.Member, err error) {
	var parts [3]string // from the last one on
	n := 0
	for more := true; more; n++ {
		if n == len(parts) {
			return m, fmt.Errorf("member %.60q has too many parts", word)
		}
		i := strings.LastIndexByte(word, '/')
		if parts[n], err = unescape(word[i+1:]); err != nil {
			return m, err
		}
		if more = i >= 0; more {
			word = word[:i]
		}
	}
	m = dispatch.Member{Node: parts[2], Group: parts[1], Name: parts[0]}
	if m.Name == "" && m.Group == "" {
		return m, errors.New("a member has no name")
	}
	return m, nil
}

// parseFailure reads a state, a code and a text.
func parseFailure(s []byte) (failure, error) {
	if string(s) == "ok" {
		return failure{}, nil
	}
	return parseTrueFailure(s)
}

// parseTrueFailure reads what is no OK. What it does not know becomes Failed without
// a code.
func parseTrueFailure(s []byte) (f failure, err error) {
	state, rest, _ := strings.Cut(string(s), " ")
	f.state = dispatch.StateFailed
	for known := dispatch.StateFailed; known <= dispatch.StateGone; known++ {
		if wireWord(known) == state {
			f.state = known
		}
	}
	var text string
	f.code, text, _ = strings.Cut(rest, " ")
	if sentinelOf(f.code) == nil {
		f.code = noCode
	}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &f.text); err != nil {
			return f, fmt.Errorf("its text is no JSON string: %w", err)
		}
	}
	return f, nil
}
