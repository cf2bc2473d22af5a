package dispatch

import (
	"context"
	"time"
)

// An Observer is a set of hooks for calls, members, results and listeners of a bus, like
// [net/http/httptrace.ClientTrace] for an HTTP request. A nil hook costs nothing. Tracing,
// metrics and live pages are built on it.
//
// There are two kinds of hooks: following hooks and start hooks.
//
// Most hooks are following hooks. They are called one at a time, in order, on the
// observer's own goroutine, which exists only while there are events for it. No call,
// producer or listener waits for them, and calls run as if they were not observed. Such a
// hook is called some time after its event: its arguments say when the event happened, and
// [Outcome] says when a member began. The events of one call are in the order of the call's
// log. Late, Abandoned, Dropped, SlowListener and ListenerEnd are not in the log, so they
// may be called before earlier events of the log. If an observer falls more than 4,096
// calls and events behind, further calls and events are dropped and counted, see
// [ObserverSnapshot].
//
// The start hooks are CallStart, MemberStart and ListenerStart. They return the context for
// the call, producer or callback that starts: their argument, or a context derived from it.
// So spans can be nested, and producers and listeners can read values from the context. A
// start hook runs synchronously, just before the event, and delays only that event:
// CallStart delays the sender, MemberStart one member, ListenerStart one callback. A call
// with start hooks makes a context for each member or callback. Sample selects the calls
// for which MemberStart and ListenerStart are called. ListenerEnd measures callbacks, so it
// costs as much as ListenerStart.
//
// A panic in a hook is logged and has no other effect. Hooks may use the bus in any way,
// including the bus that called them. Requests and values are passed without a copy: a hook
// must not modify them, and a hook that stores them keeps them in memory.
//
// An observer sets no pprof labels; see [WithPprofLabels].
type Observer struct {
	// CallStart is called by Send before any producer is called. The producers and listeners
	// of the call get the values of the returned context. The call ends when the context of
	// the sender ends, and not when the returned context does.
	CallStart func(ctx context.Context, c CallStarted) context.Context
	// CallEnd is called when the call has ended, after MemberEnd for each of its members and
	// replicas. The context is the one that CallStart returned.
	CallEnd func(ctx context.Context, r Report)

	// MemberStart is called just before the closure of a producer or replica is called, and
	// for a group just before its first replica. It is not called for members that relays
	// name. The producer gets the returned context, which must end when ctx ends. The closure
	// is not called if the call has ended when the hook returns, or if the producer's own
	// timeout is over. The member still counts as started.
	MemberStart func(ctx context.Context, m MemberInfo) context.Context
	// MemberEnd is called when a member has ended. For members that have not ended when the
	// call ends, it is called at the end of the call. It is called once for every member,
	// even without a start, and once for every replica that was asked. The context is that
	// of MemberStart, or otherwise of CallStart.
	MemberEnd func(ctx context.Context, m MemberInfo, o Outcome)

	// Result is called with each result that is in time.
	Result func(ctx context.Context, m MemberInfo, r ResultInfo)

	// Late is called when a closure returns after the end of its call or its group, or after
	// its own timeout. The arguments are the delay and the error of the closure. Late is
	// also called for relays, and for late results of members that relays have named. For a
	// late value the error is nil.
	Late func(ctx context.Context, m MemberInfo, by time.Duration, err error)
	// Abandoned is called once for a closure that has not returned 100 ms after the end of
	// its call. Late follows when the closure returns.
	Abandoned func(ctx context.Context, m MemberInfo, after time.Duration)

	// ListenerStart is called just before a listener is called with a result.
	ListenerStart func(ctx context.Context, l ListenerInfo) context.Context
	// ListenerEnd is called when the callback has returned or panicked. The context is that
	// of ListenerStart.
	ListenerEnd func(ctx context.Context, l ListenerInfo, took time.Duration, panicked bool)
	// Dropped is called when a listener's mailbox has dropped a result.
	Dropped func(ctx context.Context, l ListenerInfo)
	// SlowListener is called once for each listener whose oldest result has waited for
	// longer than [WithSlowListener].
	SlowListener func(l ListenerSnapshot)

	// Sample decides for each call whether the observer gets its details. Send calls Sample
	// after CallStart, with the context that CallStart returned. If Sample returns false,
	// the observer's hooks MemberStart, MemberEnd, Result, ListenerStart and ListenerEnd are
	// not called for this call, and cost it nothing. A panic in Sample counts as false.
	// Without Sample the observer gets the details of all calls.
	Sample func(ctx context.Context) bool
	// SampleEnds makes Sample decide about CallEnd, too. It is for observers that do nothing
	// at the end of a call that they have not sampled.
	SampleEnds bool

	// ReuseReports makes CallEnd cheaper for calls with many members: each Report reuses the
	// memory of the Report before it. The Outcomes, the Replicas and the result of the Err
	// method of a Report are valid only until the hook returns. Members and the errors of
	// members may be kept. Without ReuseReports the hook may keep the whole report.
	ReuseReports bool
}

// CallStarted describes a call that is about to begin. Budget is the time that the members
// of the call have.
type CallStarted struct {
	CallInfo
	Parent  CallID    // the call on the same bus from which this one was sent; 0 if there is none
	Depth   int       // the number of calls in which this one is nested
	Started time.Time // the start of the call; all durations count from it
	Members []Member  // the producers and groups of this bus that are asked
	Request any       // the request
}

// MemberInfo says which member a hook is about, and when its event happened. Budget is the
// time that the members had left at this event.
type MemberInfo struct {
	CallInfo
	Replica bool          // it is a replica; its group is the member
	Elapsed time.Duration // from the call's start to the event of the hook

	// Running is true in MemberEnd if the member's closure had not returned. Late is called
	// when it returns. Running is false for a group, which has no closure: its replicas have.
	Running bool
}

// ResultInfo is a result, as observers see it.
type ResultInfo struct {
	Seq   int // its position among the results of the call, from 0
	Value any
}

// ListenerInfo says which listener and which result a hook is about. Member is the producer
// of the result.
type ListenerInfo struct {
	CallInfo
	Listener string        // its name
	Seq      int           // the position of the result among those of the call
	Elapsed  time.Duration // from the call's start to the event of the hook
}
