package natsdispatch

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
)

// A request of version 2 has no headers. Its body begins with these lines, which have the headers and
// end with an empty line:
//
//	v2 request
//	Dispatch-Call: Zt4…e.17
//	Dispatch-Budget: 1980000
//
//	{"Pin":"vdd"}
var requestWord = []byte("v2 request\n")

// headers are the headers of a request, of either version of the protocol.
type headers interface {
	Get(key string) string
	// Values returns nil if there is no such header.
	Values(key string) []string
}

// lines are the headers in the body of a request of version 2, each of them in one line.
type lines string

// appendRequest appends the lines with which the body of a request begins.
func appendRequest(b []byte, h nats.Header) []byte {
	b = append(b, requestWord...)
	for _, key := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[key] {
			b = append(append(b, oneLine(key)...), ": "...)
			b = append(append(b, oneLine(v)...), '\n')
		}
	}
	return append(b, '\n')
}

// oneLine replaces line breaks by blanks. Other code may set headers with line breaks.
func oneLine(s string) string {
	if !strings.ContainsAny(s, "\r\n") {
		return s
	}
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(s)
}

// cutRequest returns the headers and the payload of a request, of either version.
func cutRequest(m *nats.Msg) (h headers, payload []byte) {
	rest, ok := bytes.CutPrefix(m.Data, requestWord)
	if !ok || m.Header[headerType] != nil { // servers may add other headers to a request of version 2
		return m.Header, m.Data
	}
	end := bytes.Index(rest, []byte("\n\n"))
	if end < 0 {
		return m.Header, m.Data
	}
	return lines(rest[:end+1]), rest[end+2:]
}

// Get returns the value of the first header with the key, or the empty string.
func (l lines) Get(key string) string {
	value, _ := l.find(key)
	return value
}

// Values returns the value of the first header with the key alone, or nil.
func (l lines) Values(key string) []string {
	if value, ok := l.find(key); ok {
		return []string{value}
	}
	return nil
}

// find returns the value of the first header with the key.
func (l lines) find(key string) (value string, ok bool) {
	for rest := string(l); rest != ""; {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		if value, ok = strings.CutPrefix(line, key); ok {
			if value, ok = strings.CutPrefix(value, ": "); ok {
				return value, true
			}
		}
	}
	return "", false
}

// findFold returns the value of the first header with the key in upper or lower case.
func (l lines) findFold(key string) string {
	for line := range strings.SplitSeq(string(l), "\n") {
		if k, v, found := strings.Cut(line, ": "); found && strings.EqualFold(k, key) {
			return v
		}
	}
	return ""
}
