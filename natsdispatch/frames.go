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

// A frame is a piece of a reply. Its kind decides which fields have a meaning.
type frame struct {
	kind    string
	members []dispatch.Member // accept, all, names; the node's own members have no Node
	list    uint64            // accept, all, names: the number of the list of members; 0: it has none
	member  int               // part, result, end: the number of the member
	size    int               // result: bytes of the whole value
	value   []byte            // part, result, all: a slice of the message
	results int               // end: results of the member; final: of all members
	count   int               // final: how many members there are
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

	// The kinds of version 2.
	kindAll       = "all"
	kindForgotten = "forgotten"
	kindNames     = "names"
)

// failure says why a member has not ended OK, or why a request was refused. The zero failure is OK.
type failure struct {
	state dispatch.State
	code  string
	text  string
}

func appendAccept(b []byte, l naming, members []dispatch.Member) []byte {
	return append(appendList(append(b, kindAccept...), l, members), '\n')
}

// appendAll appends the whole reply of members that have one result each and have ended OK. array is a JSON
// array of the results.
func appendAll(b []byte, l naming, members []dispatch.Member, array []byte) []byte {
	b = appendList(appendNumbers(append(b, kindAll...), len(array)), l, members)
	return append(append(append(b, '\n'), array...), '\n')
}

// appendList appends the number of a list of members, if the list has one, and the members, unless the number
// is sent alone.
func appendList(b []byte, l naming, members []dispatch.Member) []byte {
	if l.number > 0 {
		b = strconv.AppendUint(append(b, ' ', listSign), l.number, 10)
	}
	if l.alone {
		return b
	}
	return appendMembers(b, members)
}

// listSign is the byte before the number of a list. No name begins with it.
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

// appendAcceptWithin appends an accept of the first members, as many as fit into most bytes but at least one,
// and returns how many it has appended.
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

// wireWord returns the word for a state in the protocol, which has the British spelling of canceled.
func wireWord(s dispatch.State) string {
	if s == dispatch.StateCanceled {
		return "cancelled"
	}
	return s.String()
}

// longestText bounds the text of a failure on the wire, in bytes.
const longestText = 4096

// cut returns the text if it has at most n bytes. Otherwise it returns at most n bytes of the text, followed
// by an ellipsis.
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
	if err != nil { // never for a string
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
// says what is malformed. It skips frames of unknown kinds.
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
// follows, or -1 if none does. If the kind is not known, the frame has no kind.
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
		number := int64(0) // an int may have only 32 bits
		for _, c := range word {
			if c < '0' || c > '9' {
				return nil, fmt.Errorf("%q is no number", word)
			}
			number = number*10 + int64(c-'0')
		}
		if number > most {
			return nil, fmt.Errorf("%s is too large", word)
		}
		*n = int(number)
	}
	return s, nil
}

// parseList reads members, and the number of their list if there is one. There may be only the number.
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
	words := string(s) // the names are substrings of one string
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
	var parts [3]string // the name, the group and the node
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

// parseFailure reads ok, or a state, a code and a text.
func parseFailure(s []byte) (failure, error) {
	if string(s) == "ok" {
		return failure{}, nil
	}
	return parseTrueFailure(s)
}

// parseTrueFailure reads a failure that is not OK. An unknown state becomes Failed, and an unknown code
// becomes noCode.
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
	if f.code != codePassed && sentinelOf(f.code) == nil {
		f.code = noCode
	}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &f.text); err != nil {
			return f, fmt.Errorf("its text is no JSON string: %w", err)
		}
	}
	return f, nil
}
