package natsdispatch

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/seed-bb4b4d74/dispatch"
)

// subjects are the subjects of one space; see docs/wire-protocol.md.
type subjects struct{ prefix, space string }

const (
	version    = 1
	version2   = 2 // of replies, and of requests if all nodes know it
	queueGroup = "dispatch"
)

// The bounds of names, in bytes. A server closes the connection of a program that sends a subject with which a
// line of the protocol of NATS is longer than max_control_line, by default 4,096 bytes.
const (
	longestPrefix = 256
	longestSpace  = 128
	longestNode   = 128
	longestTopic  = 255  // by the rules of package dispatch
	longestGroup  = 1024 // escaped
)

// checkNodeName returns an error if a node cannot have the name. Announcements are JSON, which can only write
// UTF-8.
func checkNodeName(name string) error {
	if name == "" || name == anybody || len(name) > longestNode || !utf8.ValidString(name) {
		return fmt.Errorf("%.40q; it must have 1 to %d bytes of UTF-8, and not be *", name, longestNode)
	}
	return nil
}

// checkGroup returns an error if a group with this name cannot be announced or cannot have a subject.
func checkGroup(name string) error {
	if n := len(escape(name)); n > longestGroup {
		return fmt.Errorf("%w: the name of group %.40q has %d bytes in a subject; %d are allowed", ErrTooLarge, name, n, longestGroup)
	}
	if !utf8.ValidString(name) {
		return fmt.Errorf("%w: the name of group %.40q is no UTF-8", dispatch.ErrInvalidArgument, name)
	}
	return nil
}

func (s subjects) ask(topic string) string {
	return s.prefix + ".v1." + s.space + ".ask." + topic
}

func (s subjects) group(group, topic string) string {
	return s.prefix + ".v1." + s.space + ".group." + escape(group) + "." + topic
}

// acks returns the subject on which a node receives the lines of askers, and repeated requests. No topic has
// a token like the last one, which begins with =.
func (s subjects) acks(node, topic string) string { return s.ask(topic) + ".=" + escape(node) }

func (s subjects) presence(node, topic string) string {
	return s.prefix + "." + s.space + ".presence." + escape(node) + "." + topic
}

// presenceOfNode returns the subject of a node's beats for all topics.
func (s subjects) presenceOfNode(node string) string {
	return s.prefix + "." + s.space + ".presence." + escape(node)
}

// presenceOfNodes returns the subject to which askers subscribe for the beats of all nodes.
func (s subjects) presenceOfNodes() string { return s.prefix + "." + s.space + ".presence.*" }

// presenceOfAll returns the subject to which askers subscribe for the announcements of all nodes on a topic.
func (s subjects) presenceOfAll(topic string) string {
	return s.prefix + "." + s.space + ".presence.*." + topic
}

func (s subjects) probe() string { return s.prefix + "." + s.space + ".probe" }

// String returns the prefix and the name of the space, joined by a dot.
func (s subjects) String() string { return s.prefix + "." + s.space }

// plain reports whether a byte stands for itself in an escaped name.
func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// escape writes a name so that it is a token of a subject and a word of a frame.
func escape(name string) string {
	i := 0
	for i < len(name) && plain(name[i]) {
		i++
	}
	if i == len(name) {
		return name
	}
	return string(appendEscaped(nil, name))
}

func appendEscaped(b []byte, name string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(name) {
		if c := name[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '=', digits[c>>4], digits[c&15])
		}
	}
	return b
}

// unescape is the inverse of escape.
func unescape(s string) (string, error) {
	if !strings.Contains(s, "=") {
		for i := range len(s) {
			if !plain(s[i]) {
				return "", fmt.Errorf("byte %q in name %.40q is not escaped", s[i], s)
			}
		}
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case plain(s[i]):
			b.WriteByte(s[i])
		case s[i] == '=' && i+2 < len(s) && digit(s[i+1]) >= 0 && digit(s[i+2]) >= 0:
			b.WriteByte(byte(digit(s[i+1])<<4 | digit(s[i+2])))
			i += 2
		default:
			return "", fmt.Errorf("name %.40q is not escaped properly", s)
		}
	}
	return b.String(), nil
}

// digit returns the value of a hexadecimal digit, or -1.
func digit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// matches reports whether a topic's name matches a pattern, by the rules of package dispatch.
func matches(pattern, topic string) bool {
	for {
		want, restOfPattern, morePattern := strings.Cut(pattern, ".")
		have, restOfTopic, moreTopic := strings.Cut(topic, ".")
		switch {
		case want == ">" && !morePattern:
			return have != ""
		case want != "*" && want != have:
			return false
		case !morePattern || !moreTopic:
			return morePattern == moreTopic
		}
		pattern, topic = restOfPattern, restOfTopic
	}
}

// checkTokens returns an error unless s is one token, or several tokens that are joined by dots if several is
// true, and has at most longest bytes.
func checkTokens(s string, several bool, longest int) error {
	if len(s) > longest {
		return fmt.Errorf("%.40q… has %d bytes; %d are allowed", s, len(s), longest)
	}
	for token := range strings.SplitSeq(s, ".") {
		if token == "" {
			return fmt.Errorf("%q has an empty token", s)
		}
		for i := range len(token) {
			if !plain(token[i]) {
				return fmt.Errorf("%q has a %q; allowed are A–Z a–z 0–9 _ -", s, token[i])
			}
		}
	}
	if !several && strings.Contains(s, ".") {
		return fmt.Errorf("%q has a dot", s)
	}
	return nil
}
