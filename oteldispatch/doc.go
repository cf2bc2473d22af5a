// Package oteldispatch has the calls of package dispatch traced and measured with
// OpenTelemetry. It is an observer of a bus:
//
//	bus := dispatch.NewBus(dispatch.WithObserver(oteldispatch.New()))
//
// or, for a bus that is in use already, bus.Observe(oteldispatch.New()). The tracer
// and the meter are those of the global providers, unless [WithTracerProvider] and
// [WithMeterProvider] say otherwise.
//
// # Traces
//
// A call is a span of kind producer, named "send" and the topic. Its parent is the
// span in the context that was passed to Send. Each member is a child of it, of kind
// consumer, named "process" and the topic; replicas are children of the member that
// is their group. The context of a producer has its span, so that what the producer
// does, the calls it sends included, is below it. The context of a listener has the
// span of the call.
//
//   - A span lasts as long as what it stands for. That of a member begins when its
//     closure is called: what it has waited before is the gap to the beginning of the
//     call. It ends when the closure returns, which for a late one is after the end of
//     the call; the call has an event for each late member then. When a closure has
//     outlived its call for so long that it counts as abandoned, its span ends, with an
//     event that says so.
//   - A member whose closure was never called has a span without length, at the time
//     when that was decided. A replica of a group that was never asked has no span. A member elsewhere, which a relay has named, has a span
//     from the beginning of the call until word of its end has come. What it did in
//     between is in the spans of the process that it belongs to, if that is observed.
//   - The status of a call is Error if [dispatch.Report.Err] is not nil. That of a
//     member is Error if it failed, panicked, or was late, rejected or gone. One that
//     has declined, or was canceled because its answer was not needed any more, is no
//     error. The attribute error.type is of low cardinality. A panic is an event with
//     its stack.
//   - Requests and values are not recorded. The texts of errors are, cut to 1 KiB.
//
// # Metrics
//
//	messaging.client.operation.duration  histogram, s        calls, from Send to their end
//	messaging.process.duration           histogram, s        closures of producers, until they return or count as abandoned
//	messaging.client.sent.messages       counter             calls that have ended
//	messaging.client.consumed.messages   counter             closures that were called
//	dispatch.call.in_flight              up-down counter     calls that have not ended
//	dispatch.member.outcomes             counter             how members ended, by their state
//	dispatch.member.late                 histogram, s        how long after the end of their calls closures returned
//	dispatch.member.abandoned            counter             closures that have outlived their calls for too long
//	dispatch.listener.duration           histogram, s        callbacks of listeners
//	dispatch.listener.dropped            counter             results that a full mailbox has dropped
//	dispatch.listener.slow               counter             listeners that have fallen behind, each once
//
// All of these have the topic, and those about members and listeners also the name. Where
// topics are many, see [WithDestinationTemplate].
//
// [ObserveLinks] measures what a bus is connected to, whether there are calls or not:
//
//	dispatch.link.count                  up-down counter     connections, by their state
//	dispatch.link.nodes                  up-down counter     nodes that the bus asks, by their state
//	dispatch.link.in_flight              up-down counter     requests that are open
//	dispatch.link.stray                  counter             messages that belong to no open request
//	dispatch.link.dropped                counter             messages that came faster than they were dealt with
//
// Spans and metrics follow the semantic conventions for messaging systems, of which
// names.go has all names, and the reason for the choice.
//
// # Other machines
//
// [TraceContext] returns what a transport needs so that a trace goes on elsewhere:
//
//	natsdispatch.WithTraceContext(oteldispatch.TraceContext())
//
// # Concurrency
//
// An observer may be used for several buses at the same time. Spans end, and most
// measurements are taken, on the goroutine that the bus has for the observer; no call
// waits for that. [dispatch.Bus.Shutdown] waits until all of it has been done. If so much
// waits there that the bus drops some, which its Snapshot counts as missed, calls may be
// without spans and measurements, and the span of a late member may never end.
package oteldispatch
