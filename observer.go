package dispatch

import (
	"context"
	"time"
)

// An Observer is a set of hooks for what happens on a bus, as
// [net/http/httptrace.ClientTrace] is for a request. Hooks that are nil cost
// nothing. Tracing, metrics and live pages are built on it.
//
// Hooks are of two tiers, and an observer costs what its hooks need.
//
// Most hooks follow. They are called one at a time, in order, on a goroutine of the
// observer's own, which exists only while there is an event for it. No call, producer or
// listener waits for it, and calls run as if they were not observed. Such a hook
// learns when something happened from its arguments, not from the clock; what it needs to
// know of starts is in [Outcome]. The events of one call come in the order of
// its log. Late, Abandoned, Dropped, SlowListener and ListenerEnd do not pass through the
// log: they can come first if the observer is behind. If an observer falls more than 4,096 calls and events
// behind, further ones are dropped and counted, see [ObserverSnapshot].
//
// CallStart, MemberStart and ListenerStart nest. They return the context for what they
// announce: their argument, or one derived from it. So spans nest, and values travel to
// producers and listeners. Such a hook runs synchronously, just before the event, and delays
// only that event: CallStart the sender, MemberStart the one member, ListenerStart the one
// callback. Calls with such hooks make a context for each member or callback; others do
// not. Sample, which is called at the same time as CallStart, says for which calls these hooks
// are wanted. ListenerEnd measures callbacks, and makes listeners cost as much as with
// ListenerStart.
//
// A hook that panics is logged, and has no effect. Hooks may use the bus in any way,
// also from inside. Payloads are passed on, not copied: a hook that keeps a request
// or a value keeps it in memory, and must not change it.
//
// An observer sets no pprof labels; see [WithPprofLabels].
type Observer struct {
	// CallStart is called by Send before a producer is called. The producers and
	// listeners of the call get the values of the context it returns.
	CallStart func(ctx context.Context, c CallStarted) context.Context
	// CallEnd is called when the call has ended, after MemberEnd for each of its
	// members and replicas. The context is the one that CallStart returned.
	CallEnd func(ctx context.Context, r Report)

	// MemberStart is called just before the closure of a producer or replica is, and
	// for a group just before its first replica. It is not called for members that relays
	// name. The producer gets the context it returns, whose end must be that of its
	// argument. If the call has ended when the hook returns, or the time that WithTimeout
	// gives the producer is over, the member counts as started, but its closure is not
	// called any more.
	MemberStart func(ctx context.Context, m MemberInfo) context.Context
	// MemberEnd is called when it is known how a member ended; for members that have
	// not ended when the call does, then. Every member has one, also without a start, and
	// so has every replica that was asked. Replicas that were never asked have none.
	// The context is that of MemberStart, or else of CallStart.
	MemberEnd func(ctx context.Context, m MemberInfo, o Outcome)

	// Result is called with each result in time.
	Result func(ctx context.Context, m MemberInfo, r ResultInfo)

	// Late is called when a closure returns after the end of its call or of its
	// group, or after its own timeout, by how much and with what error; for relays, too, and for late results of
	// members that they have named. A value that comes late has no error.
	Late func(ctx context.Context, m MemberInfo, by time.Duration, err error)
	// Abandoned is called once for a closure that has not returned some time after
	// the end of its call. Late follows if it ever does.
	Abandoned func(ctx context.Context, m MemberInfo, after time.Duration)

	// ListenerStart is called just before a listener is called with a result.
	ListenerStart func(ctx context.Context, l ListenerInfo) context.Context
	// ListenerEnd is called when it has returned, or panicked. The context is that
	// of ListenerStart.
	ListenerEnd func(ctx context.Context, l ListenerInfo, took time.Duration, panicked bool)
	// Dropped is called when a listener's mailbox has dropped a result.
	Dropped func(ctx context.Context, l ListenerInfo)
	// SlowListener is called when a listener's oldest result has waited for longer
	// than [WithSlowListener] says, once for each listener.
	SlowListener func(l ListenerSnapshot)

	// Sample decides for each call whether the observer wants its details. It is called
	// by Send, after CallStart, with the context that CallStart has returned. If it returns
	// false, none of MemberStart, MemberEnd, Result, ListenerStart and ListenerEnd is called for
	// the call, and the call does not pay for them. If Sample is nil, they always are. A Sample
	// that panics has returned false.
	Sample func(ctx context.Context) bool

	// ReuseReports makes CallEnd cost less in calls with many members: each Report is
	// in the memory of the one before. Its Outcomes and Replicas, and what its Err method
	// returns, are then valid until the hook returns. Members, and the errors of members, can
	// be kept. Without it every report is the hook's own.
	ReuseReports bool
}

// CallStarted describes a call that is about to begin. Budget is all the time it
// has.
type CallStarted struct {
	CallInfo
	Parent  CallID    // of the call on the same bus that this one was sent from; 0 if there is none
	Depth   int       // how many calls it is nested in
	Started time.Time // what all durations count from
	Members []Member  // who will be asked, as far as that is known: not the members that relays will name
	Request any       // the request
}

// MemberInfo says which member a hook is about, and when, counted from the call's start.
// Budget is what the call had left then.
type MemberInfo struct {
	CallInfo
	Replica bool          // it stands in for others of its group, which is a member of its own
	Running bool          // in MemberEnd: its closure had not returned by then; Late is called when it does
	Elapsed time.Duration // from the call's start to the event of the hook
}

// ResultInfo is a result as observers see it.
type ResultInfo struct {
	Seq   int // its place among the results of the call, from 0
	Value any
}

// ListenerInfo says which listener a hook is about, and which result. Member is the
// producer of the result.
type ListenerInfo struct {
	CallInfo
	Listener string        // its name
	Seq      int           // the result's place among those of the call
	Elapsed  time.Duration // from the call's start to the event of the hook
}
