// Package oteldispatch traces and measures the calls of package dispatch with OpenTelemetry.
// It is an observer of a bus:
//
//	bus := dispatch.NewBus()
//	_, err := oteldispatch.Observe(bus)
//
// [New] returns an observer for [dispatch.WithObserver], or for several buses. The tracer and
// the meter come from the global providers, unless [WithTracerProvider] and
// [WithMeterProvider] set others.
//
// # Traces
//
// A call is a span of kind producer, named "send" and the topic. Its parent is the span in the
// context that was passed to Send. Each member is a child span of kind consumer, named
// "process" and the topic. Replicas are children of their group's span. The context of a
// producer has the span of its member, so spans of the producer's work and of the calls that
// it sends are below it. The context of a listener has the span of the call.
//
//   - The span of a member begins when its closure is called; the time that it waited before
//     is the gap after the beginning of the call. The span ends when the closure returns. For
//     a late member this may be after the end of the call. The span of the call has an event at
//     the time at which the member became late. If a closure counts as abandoned, its span ends with an event that
//     says so.
//   - If the closure of a member was never called, its span has no length. The span is at the time
//     at which the member ended. A replica that was never asked has no span. A member that a
//     relay has named has a span from the beginning of the call until its end is reported.
//     Spans of its work are in the process in which it runs, if that process is observed.
//   - The status of a call is Error if [dispatch.Report.Err] is not nil. The status of a member
//     is Error if it failed, panicked, or was late, rejected or gone. A member that declined,
//     or was canceled because its answer was no longer needed, has no error. The attribute
//     error.type has low cardinality. A panic is an event with its stack.
//   - A call whose span is not recorded has no further spans, and without WithListenerDurations they
//     cost nothing. The context of the call has its span, so the processes that the call reaches do
//     not sample it either.
//   - Requests and values are not recorded. Error texts are recorded, cut to 1 KiB.
//
// # Metrics
//
//	messaging.client.operation.duration  histogram, s        calls, from Send to their end
//	messaging.process.duration           histogram, s        closures of producers, until they return or their members have ended
//	messaging.client.sent.messages       counter             calls that have ended
//	messaging.client.consumed.messages   counter             closures that were called
//	dispatch.call.in_flight              up-down counter     calls that have not ended, with Observe
//	dispatch.member.outcomes             counter             ends of members, by their state
//	dispatch.member.late                 histogram, s        delays of what came too late, see below
//	dispatch.member.abandoned            counter             closures that count as abandoned
//	dispatch.listener.duration           histogram, s        callbacks of listeners, with WithListenerDurations
//	dispatch.listener.dropped            counter             results that a full mailbox has dropped
//	dispatch.listener.slow               counter             slow listeners, each counted once
//
// All of these have the topic as an attribute. Metrics about members and listeners also have
// the name, unless the bus has generated it, as in producer-17. A slow listener has the topic or
// the pattern on which it is registered. If names are many, see [WithDestinationTemplate],
// [WithMemberTemplate] and [WithListenerTemplate]. Counters are kept for at most 4,096 members and
// topics. Beyond that, the counters of the topics that were used least recently begin at 0 again.
// If one topic has more members, their counters begin at 0 again whenever there are too many.
//
// A delay is the time since the end of the call, since another replica has answered, or since the
// producer's own timeout. It is measured for closures and relays that return after this, and for late
// results of members that relays have named.
//
// Metrics without spans add little to the cost of a call if a [Producer] passes the durations on:
//
//	p := oteldispatch.NewProducer()
//	reader := metric.NewPeriodicReader(exporter, metric.WithProducer(p)) // of the SDK
//	_, err := oteldispatch.Observe(bus, oteldispatch.WithProducer(p),
//		oteldispatch.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))),
//		oteldispatch.WithTracerProvider(noop.NewTracerProvider()))
//
// Without a [Producer], the instruments of the SDK take about 0.2 µs for each run of a producer, which
// matters only if producers return at once.
//
// [ObserveLinks] measures the connections of a bus, independent of calls:
//
//	dispatch.link.count                  up-down counter     connections, by their state
//	dispatch.link.nodes                  up-down counter     nodes that the bus asks, by their state
//	dispatch.link.in_flight              up-down counter     open requests
//	dispatch.link.stray                  counter             messages that belong to no open request
//	dispatch.link.dropped                counter             messages that were dropped because they arrived too fast
//
// Spans and metrics follow the semantic conventions for messaging systems. The file names.go
// has all names, and the reasons for this choice.
//
// # Other machines
//
// [TraceContext] returns two functions for a transport that propagates traces:
//
//	natsdispatch.WithTraceContext(oteldispatch.TraceContext())
//
// # Concurrency
//
// An observer may be used for several buses at the same time. Spans end, and most measurements
// are made, on the bus's goroutine for the observer; no call waits for it.
// [dispatch.Bus.Shutdown] waits until this work is done. If the observer falls too far behind,
// the bus drops events and counts them as missed in its Snapshot. Then calls may lack spans and
// measurements, and the span of a late member may never end.
package oteldispatch
