package oteldispatch

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/messagingconv"
	"go.opentelemetry.io/otel/trace"
)

// Every name that leaves this package is in this file, or is one of the two packages
// of semantic conventions imported here. The conventions for messaging have the status
// "Development": names change from version to version. So the version is pinned, here
// and nowhere else, and the schema URL tells backends which one it is.
//
// There are two conventions that a call could follow, for messaging and for RPC. RPC
// has one client and one server for each request, whose spans mirror each other, and
// one status for both. A call of dispatch has one sender and any number of members
// that the sender does not know; they take the request from a topic, may be added and
// removed meanwhile, decline, stand in for each other, and outlive the call. The
// sender's span ends with the deadline while theirs go on. The conventions for messaging
// allow all of this: a destination with any number of consumers, consumer groups, a
// conversation that correlates the messages, and no rule on how long spans last. Names
// that they do not have begin with "dispatch.".

const scopeName = "github.com/seed-bb4b4d74/dispatch/oteldispatch"

const schemaURL = semconv.SchemaURL

const system = messagingconv.SystemAttr("dispatch")

// The two operations. A span is named after its operation and its destination.
const (
	operationSend    = "send"
	operationProcess = "process"
)

var (
	systemAttr   = semconv.MessagingSystemKey.String(string(system))
	sendAttrs    = []attribute.KeyValue{semconv.MessagingOperationName(operationSend), semconv.MessagingOperationTypeSend}
	processAttrs = []attribute.KeyValue{semconv.MessagingOperationName(operationProcess), semconv.MessagingOperationTypeProcess}
)

// Attributes.
const (
	callBudgetKey  = attribute.Key("dispatch.call.budget")  // seconds that the call has at its start
	callDepthKey   = attribute.Key("dispatch.call.depth")   // how many calls it is nested in, if any
	callReasonKey  = attribute.Key("dispatch.call.reason")  // why it ended
	callMembersKey = attribute.Key("dispatch.call.members") // how many there were
	callResultsKey = attribute.Key("dispatch.call.results") // how many there were in time

	memberNameKey    = attribute.Key("dispatch.member.name")
	memberNodeKey    = attribute.Key("dispatch.member.node")    // if it is not this process
	memberStateKey   = attribute.Key("dispatch.member.state")   // how it ended
	memberStartedKey = attribute.Key("dispatch.member.started") // whether its closure was called
	memberResultsKey = attribute.Key("dispatch.member.results") // how many it gave in time
	memberTriedKey   = attribute.Key("dispatch.member.tried")   // how many replicas were asked, if it is a group

	listenerNameKey = attribute.Key("dispatch.listener.name")

	linkNameKey  = attribute.Key("dispatch.link.name")
	linkStateKey = attribute.Key("dispatch.link.state")
	nodeStateKey = attribute.Key("dispatch.node.state")
)

// Events of spans, besides that of an exception.
const (
	lateEvent      = "dispatch.member.late"      // of a call: at its deadline, or its own timeout, this member had not ended
	abandonedEvent = "dispatch.member.abandoned" // of a member: its closure goes on after the end of the call
)

// Metrics that the conventions do not have.
const (
	inFlightMetric         = "dispatch.call.in_flight"
	outcomesMetric         = "dispatch.member.outcomes"
	lateMetric             = "dispatch.member.late"
	abandonedMetric        = "dispatch.member.abandoned"
	listenerDurationMetric = "dispatch.listener.duration"
	droppedMetric          = "dispatch.listener.dropped"
	slowMetric             = "dispatch.listener.slow"

	linksMetric        = "dispatch.link.count"
	linkNodesMetric    = "dispatch.link.nodes"
	linkInFlightMetric = "dispatch.link.in_flight"
	linkStrayMetric    = "dispatch.link.stray"
	linkDroppedMetric  = "dispatch.link.dropped"
)

// buckets are those that the conventions recommend for durations, in seconds.
var buckets = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// bounds are the buckets as durations.
var bounds = [...]time.Duration{
	5e6, 10e6, 25e6, 50e6, 75e6, 100e6, 250e6, 500e6, 750e6, 1e9, 2500e6, 5e9, 7500e6, 10e9,
}

// Values of error.type that follow from the state alone.
const (
	errorTimeout = "timeout"
	errorPanic   = "panic"
)

// errorType returns how a member failed, or "" if it did not. It calls methods of the error, so no lock may be held.
func errorType(o *dispatch.Outcome) string {
	if hasOwnType(o) {
		return typeOf(o.Err)
	}
	return typeOfState(o.State)
}

// hasOwnType reports whether the error of a member says of which type it is.
func hasOwnType(o *dispatch.Outcome) bool {
	return o.State == dispatch.StateFailed || o.State == dispatch.StateRejected || o.State == dispatch.StateGone
}

// typeOfState returns the type of the error of a member that has ended in another state.
func typeOfState(s dispatch.State) string {
	switch s {
	case dispatch.StateLate:
		return errorTimeout
	case dispatch.StatePanicked:
		return errorPanic
	}
	return ""
}

// typeOf has a large frame. Inlined, it would be on the small stack of the observer in each call.
//
//go:noinline
func typeOf(err error) (name string) {
	defer func() {
		if recover() != nil { // in a method of the error, such as that of a nil pointer
			name = semconv.ErrorTypeOther.Value.AsString()
		}
	}()
	return valid(semconv.ErrorType(err).Value.AsString())
}

// callErrorType returns how a call failed, or "" if it did not. Err takes a copy of the report, for which the
// small stack of an observer has no room, so it is asked for only if there may be an error.
func callErrorType(r *dispatch.Report) string {
	fine := r.Reason == dispatch.ReasonAllEnded && len(r.Outcomes) > 0
	for i := range r.Outcomes {
		fine = fine && r.Outcomes[i].State == dispatch.StateOK
	}
	if fine {
		return ""
	}
	return failedCallErrorType(r)
}

//go:noinline
func failedCallErrorType(r *dispatch.Report) string {
	if err := r.Err(); err != nil {
		return typeOf(err)
	}
	return ""
}

// names gives topics, members and listeners their names in spans and metrics.
type names struct {
	topics            func(topic string) string // or nil
	members, listened func(name string) string

	mu    sync.RWMutex // guards the field below
	known map[string]*topicAttrs
}

// topicAttrs are the attributes of a topic. They are made once, because making them costs more than
// a measurement, and do not change.
type topicAttrs struct {
	name        string
	label       string // the name, or its template
	destination []attribute.KeyValue

	sendSpan, processSpan string // the names of spans
	send                  trace.SpanStartEventOption
	process               []attribute.KeyValue // of spans
}

func (n *names) topic(name string) *topicAttrs {
	n.mu.RLock()
	t := n.known[name]
	n.mu.RUnlock()
	if t != nil {
		return t
	}
	t = &topicAttrs{name: name, label: name}
	if n.topics != nil {
		t.label = valid(n.topics(name))
	}
	t.destination = n.destination(t.label)
	t.sendSpan, t.processSpan = operationSend+" "+t.label, operationProcess+" "+t.label
	common := []attribute.KeyValue{systemAttr, semconv.MessagingDestinationName(name)}
	if n.topics != nil {
		common = append(common, semconv.MessagingDestinationTemplate(t.label))
	}
	t.send = trace.WithAttributes(slices.Concat(sendAttrs, common)...)
	t.process = slices.Clip(slices.Concat(processAttrs, common))
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil || len(n.known) >= mostSeries {
		n.known = make(map[string]*topicAttrs) // those in use come back soon
	}
	n.known[name] = t
	return t
}

// destination returns the attributes that all metrics have, for a topic's name or its template.
func (n *names) destination(label string) []attribute.KeyValue {
	key := semconv.MessagingDestinationNameKey
	if n.topics != nil {
		key = semconv.MessagingDestinationTemplateKey
	}
	return slices.Clip([]attribute.KeyValue{systemAttr, key.String(label)})
}

// member returns a member by the name that it has in attributes.
func (n *names) member(m dispatch.Member) dispatch.Member {
	if m.Name != "" {
		m.Name = n.members(m.Name)
	}
	return m
}

func (n *names) listener(name string) string { return valid(n.listened(name)) }

// valid returns text as valid UTF-8. Exporters refuse all spans or measurements that they send together if one of them
// has a text that is not valid.
func valid(text string) string { return strings.ToValidUTF8(text, "?") }

// unlessAutomatic returns the name, or "" for an automatic name such as producer-17: with these,
// each process and each registration would have new time series.
func unlessAutomatic(name string) string {
	kind, number, _ := strings.Cut(name, "-")
	switch kind {
	case "producer", "relay", "listener":
		if number != "" && strings.Trim(number, "0123456789") == "" {
			return ""
		}
	}
	return name
}

// identity returns the attributes of a member. A group that has ended has the name of the replica
// that answered, if one did.
func identity(m dispatch.Member) []attribute.KeyValue { return slices.Clip(appendIdentity(nil, m)) }

func appendIdentity(attrs []attribute.KeyValue, m dispatch.Member) []attribute.KeyValue {
	if m.Name != "" {
		attrs = append(attrs, memberNameKey.String(valid(m.Name)))
	}
	if m.Group != "" {
		attrs = append(attrs, semconv.MessagingConsumerGroupName(valid(m.Group)))
	}
	if m.Node != "" {
		attrs = append(attrs, memberNodeKey.String(valid(m.Node)))
	}
	return attrs
}
