package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// This file reads the wire protocol as docs/wire-protocol.md defines it. It is strict: messages that an
// asker ignores are errors here.

// announcement is a message in which a node describes itself on a topic.
type announcement struct {
	Node     string   `json:"node"`
	Topic    string   `json:"topic"`
	Event    string   `json:"event"`
	Epoch    int64    `json:"epoch"`
	Seq      uint64   `json:"seq"`
	BeatMS   int64    `json:"beat_ms"`
	AllMS    int64    `json:"node_beat_ms"` // interval of beats for all topics of the node, in milliseconds; 0: the node sends none
	Edition  uint64   `json:"edition"`
	Versions []int    `json:"versions"`
	Types    string   `json:"types"`
	Codecs   []string `json:"codecs"`
	Groups   []string `json:"groups"`
	Bus      string   `json:"bus"`
	Draining bool     `json:"draining"`
	Detail   *struct {
		Members   []string `json:"members"`
		Count     int      `json:"count"`
		InFlight  int      `json:"in_flight"`
		Publishes bool     `json:"publishes"`
	} `json:"detail"`
}

// beat is a message by which a node says that it is present on all of its topics.
type beat struct {
	Node    string  `json:"node"`
	Epoch   int64   `json:"epoch"`
	Seq     *uint64 `json:"seq"`
	Edition *uint64 `json:"edition"`
}

func parseBeat(body []byte) (b beat, err error) {
	if err := json.Unmarshal(body, &b); err != nil {
		return b, err
	}
	if b.Node == "" || b.Epoch <= 0 || b.Seq == nil || b.Edition == nil {
		return b, errors.New("a beat without node, epoch, seq or edition")
	}
	return b, nil
}

func parseAnnouncement(body []byte) (a announcement, err error) {
	if err := json.Unmarshal(body, &a); err != nil {
		return a, err
	}
	if a.Node == "" || a.Topic == "" || a.Epoch <= 0 {
		return a, errors.New("an announcement without node, topic or epoch")
	}
	return a, nil
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// escape returns a name as a token of a subject or a word of a frame.
func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if plain(name[i]) {
			b.WriteByte(name[i])
		} else {
			fmt.Fprintf(&b, "=%02X", name[i])
		}
	}
	return b.String()
}

// unescape is the inverse of escape. It returns an error if escape would not write the name as s.
func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("the name %.60q ends within an escape", s)
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("the name %.60q has a wrong escape", s)
		}
		b.WriteByte(byte(c))
		i += 2
	}
	if name := b.String(); escape(name) != s {
		return "", fmt.Errorf("the name %.60q is not escaped; it would be %.60q", s, escape(name))
	}
	return b.String(), nil
}

// memberName turns a member as a node writes it in an accept into a member as reports write it.
func memberName(word string) (string, error) {
	parts := strings.Split(word, "/")
	if len(parts) > 3 {
		return "", fmt.Errorf("the member %.60q has %d parts", word, len(parts))
	}
	named := false
	kept := parts[:0]
	for i, part := range parts {
		name, err := unescape(part)
		if err != nil {
			return "", err
		}
		if name == "" {
			continue
		}
		named = named || i > 0 || len(parts) < 3
		kept = append(kept, name)
	}
	if !named {
		return "", fmt.Errorf("the member %.60q has no name", word)
	}
	return strings.Join(kept, "/"), nil
}

// frame is one frame of a reply. The comments of the fields name the kinds of frame that have them.
type frame struct {
	kind    string
	line    string
	list    string   // accept, all, names: the number of the list of members, if the frame has one
	words   []string // accept, all, names: the members, as the node has written them
	member  int      // part, result, end
	total   int      // result: the size of the whole value, in bytes
	value   []byte   // part, result, all
	results int      // end, final
	members int      // final
	state   string   // end, reject
	code    string
	text    string
}

// parseFrames reads the frames of a message.
func parseFrames(body []byte) (frames []frame, err error) {
	for len(body) > 0 {
		line, rest, found := bytes.Cut(body, []byte{'\n'})
		if !found {
			return frames, fmt.Errorf("the frame %.60q has no line feed at its end", line)
		}
		f, size, err := parseFrame(string(line))
		if err != nil {
			return frames, fmt.Errorf("the frame %.60q: %w", line, err)
		}
		if size >= 0 {
			if len(rest) <= size || rest[size] != '\n' {
				return frames, fmt.Errorf("the frame %.60q: %d bytes and a line feed do not follow", line, size)
			}
			f.value, rest = rest[:size], rest[size+1:]
		}
		frames = append(frames, f)
		body = rest
	}
	return frames, nil
}

// parseFrame reads the line of a frame. It returns the size of the value that follows, in bytes, or -1 if
// the kind has no value. A frame of an unknown kind has no value.
func parseFrame(line string) (f frame, size int, err error) {
	f.line = line
	f.kind, line, _ = strings.Cut(line, " ")
	size = -1
	switch f.kind {
	case "accept":
		if line == "" {
			return f, size, nil
		}
		return f, size, f.parseMembers(line)
	case "names":
		return f, size, f.parseMembers(line)
	case "all":
		if line, err = numbers(line, &size); err == nil {
			return f, size, f.parseMembers(line)
		}
	case "part":
		line, err = numbers(line, &f.member, &size)
	case "result":
		line, err = numbers(line, &f.member, &size, &f.total)
	case "final":
		line, err = numbers(line, &f.members, &f.results)
	case "end":
		if line, err = numbers(line, &f.member, &f.results); err == nil {
			return f, size, f.parseEnd(line)
		}
	case "reject":
		return f, size, f.parseEnd(line)
	default:
		return f, size, nil
	}
	if err == nil && line != "" && f.kind != "accept" {
		err = fmt.Errorf("%.20q is too much", line)
	}
	return f, size, err
}

// parseMembers reads the members of a frame of kind accept, all or names.
func (f *frame) parseMembers(line string) error {
	if number, isList := strings.CutPrefix(line, "@"); isList {
		var more bool
		if f.list, line, more = strings.Cut(number, " "); !more {
			line = ""
		}
		if n, err := strconv.ParseUint(f.list, 10, 64); err != nil || n == 0 {
			return fmt.Errorf("@%.30s is no list", f.list)
		}
		if !more {
			return nil
		}
	}
	f.words = strings.Split(line, " ")
	for _, word := range f.words {
		if _, err := memberName(word); err != nil {
			return err
		}
	}
	return nil
}

// parseEnd reads the state, code and text of a frame of kind end or reject.
func (f *frame) parseEnd(s string) error {
	var quoted string
	f.state, s, _ = strings.Cut(s, " ")
	f.code, quoted, _ = strings.Cut(s, " ")
	switch {
	case f.state == "ok" && s == "" && f.kind == "end":
		return nil
	case f.state == "ok":
		return errors.New("ok has no code and no text, and nothing is rejected with it")
	case !slices.Contains(states(), f.state):
		return fmt.Errorf("%.20q is no state", f.state)
	case f.code != "-" && !slices.Contains(codes(), f.code):
		return fmt.Errorf("%.20q is no code", f.code)
	}
	if err := json.Unmarshal([]byte(quoted), &f.text); err != nil {
		return fmt.Errorf("the text %.40q is no JSON string", quoted)
	}
	return nil
}

// numbers reads numbers that are separated by blanks, and returns the rest of s.
func numbers(s string, to ...*int) (rest string, err error) {
	for _, n := range to {
		var word string
		word, s, _ = strings.Cut(s, " ")
		v, err := strconv.ParseUint(word, 10, 30)
		if err != nil {
			return s, fmt.Errorf("%.20q is no number below 2^30", word)
		}
		*n = int(v)
	}
	return s, nil
}

// states returns the states of a reject, and of an end that is not ok.
func states() []string {
	return []string{"failed", "panicked", "declined", "late", "cancelled", "rejected", "gone"}
}

// codes returns the codes of an end or a reject, apart from "-".
func codes() []string {
	return []string{
		"cancelled", "deadline", "timeout", "satisfied", "quorum-lost", "stalled", "failed-fast", "closed", "overloaded", "queue-full",
		"stuck", "removed", "gone", "unknown-member", "unreachable", "incompatible", "lost", "no-producers",
		"too-few-producers", "too-deep", "goexit", "malformed", "too-large",
	}
}
