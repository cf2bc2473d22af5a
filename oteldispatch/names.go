package oteldispatch

import (
	"github.com/seed-bb4b4d74/dispatch"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/messagingconv"
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
// sender's span ends with the deadline while theirs go on. All of this the conventions
// for messaging allow for: a destination with any number of consumers, consumer
// groups, a conversation that correlates the messages, and no rule on how long who
// lasts. What they have no word for is under "dispatch.".

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
	lateEvent      = "dispatch.member.late"      // of a call: at its deadline this member had not ended
	abandonedEvent = "dispatch.member.abandoned" // of a member: its closure goes on, nobody waits for it any more
)

// Metrics beside those of the conventions.
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

// Values of error.type that are known from the state alone.
const (
	errorTimeout = "timeout"
	errorPanic   = "panic"
)

// errorType tells how a member failed. It is empty if it has not.
func errorType(o dispatch.Outcome) string {
	switch o.State {
	case dispatch.StateLate:
		return errorTimeout
	case dispatch.StatePanicked:
		return errorPanic
	case dispatch.StateFailed, dispatch.StateRejected, dispatch.StateGone:
		return semconv.ErrorType(o.Err).Value.AsString()
	}
	return ""
}

// newCall returns what is told of a call, as far as its topic says it.
func (o *observer) newCall(c dispatch.CallStarted) *call {
	topic := semconv.MessagingDestinationName(c.Topic)
	n := &call{
		started:     c.Started,
		topic:       c.Topic,
		destination: []attribute.KeyValue{systemAttr, topic},
		common:      []attribute.KeyValue{systemAttr, topic, semconv.MessagingMessageConversationID(c.ID.String())},
	}
	if o.template != nil {
		n.topic = o.template(c.Topic)
		template := semconv.MessagingDestinationTemplate(n.topic)
		n.destination = []attribute.KeyValue{systemAttr, template}
		n.common = append(n.common, template)
	}
	return n
}

// identity returns what is told of a member. The name of a group that has ended is
// that of the replica which has answered, if one has.
func identity(m dispatch.Member) []attribute.KeyValue {
	var attrs []attribute.KeyValue
	if m.Name != "" {
		attrs = append(attrs, memberNameKey.String(m.Name))
	}
	if m.Group != "" {
		attrs = append(attrs, semconv.MessagingConsumerGroupName(m.Group))
	}
	if m.Node != "" {
		attrs = append(attrs, memberNodeKey.String(m.Node))
	}
	return attrs
}
