package natsdispatch

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// The headers of the protocol.
const (
	headerVersion   = "Dispatch-Version"
	headerType      = "Dispatch-Type"
	headerCall      = "Dispatch-Call"
	headerBudget    = "Dispatch-Budget"
	headerCodec     = "Dispatch-Codec"
	headerTypes     = "Dispatch-Types"
	headerAttempt   = "Dispatch-Attempt"
	headerGroup     = "Dispatch-Group"
	headerTargets   = "Dispatch-Targets"
	headerHops      = "Dispatch-Hops"
	headerPath      = "Dispatch-Path"
	headerWindow    = "Dispatch-Window"
	headerNames     = "Dispatch-Names"
	headerNode      = "Dispatch-Node"
	headerEpoch     = "Dispatch-Epoch"
	headerSeq       = "Dispatch-Seq"
	headerSignature = "Dispatch-Signature"

	headerServiceError     = "Nats-Service-Error"
	headerServiceErrorCode = "Nats-Service-Error-Code"

	typeRequest = "request"
	typeCancel  = "cancel"
)

// request holds the headers of a request.
type request struct {
	call    string
	budget  time.Duration
	codec   string
	types   string
	attempt int
	group   string   // empty: the request is not to a group
	targets []string // nil: all
	hops    int
	path    []string // the ids of the buses through which the request has come
	window  int64    // bytes that a node may send at first, in version 2; 0: the reply is of version 1
	names   string   // which lists of members the asker remembers; empty: replies have no numbers of lists
}

func (r *request) header() nats.Header {
	h := nats.Header{
		headerVersion: {strconv.Itoa(version)},
		headerType:    {typeRequest},
		headerCall:    {r.call},
		headerBudget:  {strconv.FormatInt(r.budget.Microseconds(), 10)},
		headerCodec:   {r.codec},
	}
	set := func(key, value string) {
		if value != "" {
			h[key] = []string{value}
		}
	}
	if r.attempt > 1 {
		set(headerAttempt, strconv.Itoa(r.attempt))
	}
	if r.hops > 1 {
		set(headerHops, strconv.Itoa(r.hops))
	}
	if r.window > 0 {
		set(headerWindow, strconv.FormatInt(r.window, 10))
	}
	set(headerNames, r.names)
	set(headerTypes, r.types)
	set(headerGroup, escape(r.group))
	set(headerPath, strings.Join(r.path, " "))
	if r.targets != nil {
		escaped := make([]string, len(r.targets))
		for i, name := range r.targets {
			escaped[i] = escape(name)
		}
		set(headerTargets, strings.Join(escaped, " "))
	}
	return h
}

// errVersion reports a request of another major version.
var errVersion = errors.New("another version of the protocol")

// longestCall bounds the ids of calls, in bytes, because nodes remember the ids.
const longestCall = 128

// parseRequest reads the headers of a request. Attempt and hops are 1 if their headers are missing.
func parseRequest(h headers) (r request, err error) {
	speaks := version
	if _, ok := h.(lines); ok {
		speaks = version2
	}
	if v := h.Get(headerVersion); v != strconv.Itoa(speaks) {
		return r, fmt.Errorf("%w: %.20q, not %d", errVersion, v, speaks)
	}
	if r.call, err = callOf(h); err != nil {
		return r, err
	}
	micros, err := strconv.ParseInt(h.Get(headerBudget), 10, 64)
	if err != nil {
		return r, fmt.Errorf("%s: %w", headerBudget, err)
	}
	r.budget = inUnits(micros, time.Microsecond, longestBudget)
	if r.codec = h.Get(headerCodec); r.codec == "" {
		return r, fmt.Errorf("%s is missing", headerCodec)
	}
	r.types = h.Get(headerTypes)
	if r.group, err = unescape(h.Get(headerGroup)); err != nil {
		return r, fmt.Errorf("%s: %w", headerGroup, err)
	}
	if r.attempt, err = countOf(h, headerAttempt); err != nil {
		return r, err
	}
	if r.hops, err = countOf(h, headerHops); err != nil {
		return r, err
	}
	if window := h.Get(headerWindow); window != "" {
		if r.window, err = strconv.ParseInt(window, 10, 64); err != nil || r.window <= 0 {
			r.window = 0
			return r, fmt.Errorf("%s: %.20q is no positive number", headerWindow, window)
		}
	}
	r.names = h.Get(headerNames)
	r.path = strings.Fields(h.Get(headerPath))
	targets := h.Values(headerTargets)
	if len(targets) == 0 {
		return r, nil
	}
	r.targets = []string{}
	for word := range strings.FieldsSeq(targets[0]) {
		name, err := unescape(word)
		if err != nil {
			return r, fmt.Errorf("%s: %w", headerTargets, err)
		}
		r.targets = append(r.targets, name)
	}
	return r, nil
}

// longestBudget bounds the budget of a request, so that the budget can be added to a time.
const longestBudget time.Duration = 1 << 62

// inUnits returns n times unit, within 0 and longest. n is the number of another program, and the product may
// be no Duration.
func inUnits(n int64, unit, longest time.Duration) time.Duration {
	return min(time.Duration(max(min(n, int64(longest/unit)), 0))*unit, longest)
}

// countOf reads the number in a header. The number is 1 if the header is missing.
func countOf(h headers, key string) (int, error) {
	value := h.Get(key)
	if value == "" {
		return 1, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return n, fmt.Errorf("%s: %.20q is no positive number", key, value)
	}
	return n, nil
}

func callOf(h headers) (string, error) {
	call := h.Get(headerCall)
	if call == "" || len(call) > longestCall || strings.ContainsAny(call, " \t\r\n") {
		return "", fmt.Errorf("%s: %.40q is no id", headerCall, call)
	}
	return call, nil
}

// passed reports whether the request has come through the bus.
func (r *request) passed(bus string) bool { return slices.Contains(r.path, bus) }

// passedNode reports whether the request has come through the bus of a node.
func (r *request) passedNode(n *announcement) bool { return n.Bus != "" && r.passed(n.Bus) }

// cancelMessage returns the message that ends a request, on one node or on all.
func cancelMessage(subject, call, onlyNode string, cause error) *nats.Msg {
	m := nats.NewMsg(subject)
	m.Header = nats.Header{
		headerVersion: {strconv.Itoa(version)},
		headerType:    {typeCancel},
		headerCall:    {call},
	}
	if onlyNode != "" {
		m.Header[headerNode] = []string{escape(onlyNode)}
	}
	m.Data = causeOf(cause).appendCause(nil)
	return m
}

// setTrace sets a key of a trace context, in lower case.
func setTrace(h nats.Header, key, value string) { h[strings.ToLower(key)] = []string{value} }

// getTrace returns the value of a key of a trace context. It ignores the case of the key.
func getTrace(of headers, key string) string {
	if l, ok := of.(lines); ok {
		return l.findFold(key)
	}
	h, _ := of.(nats.Header)
	if v, ok := h[strings.ToLower(key)]; ok && len(v) > 0 {
		return v[0]
	}
	for k, v := range h {
		if strings.EqualFold(k, key) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

// sender says which node has sent a message of a reply, and which number the message has. A message has its
// sender in the headers or, in version 2, in the head.
type sender struct {
	node  string
	epoch int64
	seq   uint64

	version    int
	unnumbered bool // the message is of version 2, and outside of the sequence
}

// readReply reads the sender of a message of a reply, and returns the frames of the message.
func readReply(m *nats.Msg) (s sender, frames []byte, err error) {
	if bytes.HasPrefix(m.Data, headWord) && m.Header[headerVersion] == nil {
		s, numbered, frames, err := cutHead(m.Data)
		s.version, s.unnumbered = version2, !numbered
		return s, frames, err
	}
	s, err = parseReply(m.Header)
	s.version = version
	return s, m.Data, err
}

func (s sender) header() nats.Header {
	v := []string{strconv.Itoa(version), escape(s.node), strconv.FormatInt(s.epoch, 10), strconv.FormatUint(s.seq, 10)}
	return nats.Header{headerVersion: v[:1:1], headerNode: v[1:2:2], headerEpoch: v[2:3:3], headerSeq: v[3:]}
}

func parseReply(h nats.Header) (s sender, err error) {
	if v := h.Get(headerVersion); v != strconv.Itoa(version) {
		return s, fmt.Errorf("%w: %.20q, not %d", errVersion, v, version)
	}
	if s.node, err = unescape(h.Get(headerNode)); err != nil || checkNodeName(s.node) != nil {
		return s, fmt.Errorf("%s: %.40q is no name", headerNode, h.Get(headerNode))
	}
	if s.epoch, err = strconv.ParseInt(h.Get(headerEpoch), 10, 64); err != nil || s.epoch <= 0 {
		return s, fmt.Errorf("%s: %.20q is no positive number", headerEpoch, h.Get(headerEpoch))
	}
	if s.seq, err = strconv.ParseUint(h.Get(headerSeq), 10, 64); err != nil {
		return s, fmt.Errorf("%s: %w", headerSeq, err)
	}
	return s, nil
}
