// Package dispatch implements typed scatter-gather and publish-subscribe: it sends a
// request to every producer registered on a topic, delivers each result as it arrives,
// stops at a deadline, and reports which producers did not answer.
//
// A [Topic] is a name together with the type of its requests and the type of its
// results. It is usually a package-level variable. A [Dispatcher] has the same two types.
// Producers answer requests. Listeners are called with the results. Producers and
// listeners can be added and removed at any time:
//
//	var Measure = dispatch.NewTopic[string, float64]("cell.measure", dispatch.WithTimeout(4*time.Second))
//
//	cell := dispatch.New[string, float64]()
//	_, err := cell.AddProducer(Measure, site.Volts, dispatch.WithName("site-1"))
//	_, err = cell.AddListener(Measure, func(ctx context.Context, r dispatch.Result[string, float64]) {
//		fmt.Println(r.From, r.Value)
//	})
//	…
//	volts, err := cell.Gather(ctx, Measure, "vdd")
//
// # Words
//
//   - A [Producer] returns at most one result for a request. A [StreamProducer] returns any
//     number of results. A [Relay] hands in the results of members in other processes.
//     [WithGroup] makes producers replicas; the replicas of a group are one member.
//   - A listener is called with every result of its topics, whichever caller sent the request.
//     It runs at its own pace and never blocks a call.
//   - A [Call] is one request in flight. Its members are the producers that were registered
//     when the request was sent. Every member has one [Outcome].
//   - A [Report] says why a call ended and contains the outcome of every member.
//     [Report.Missing] lists the members that did not answer.
//   - A [Bus] is shared by dispatchers of different types. It has the names, default options,
//     hooks and the shutdown. [New] makes a dispatcher on a bus of its own, [On] makes a
//     dispatcher on an existing bus.
//
// A producer or listener can be added to one topic, to several topics with [AnyOf], or to all
// topics that match a [Pattern].
//
// # Waiting for results
//
//   - [Dispatcher.Gather] waits for all members and returns the values.
//   - [Dispatcher.First] returns the first value.
//   - [Dispatcher.Stream] is a loop over the results as they arrive.
//   - [Dispatcher.Send] returns a [Call] at once. The call has the results and the [Report];
//     the caller may also ignore the call.
//
// A call ends at its deadline at the latest. Options such as [WithQuorum], [WithFailFast]
// or [WithStall] end it earlier. If a member is missing and the call was not satisfied,
// Gather, First and Stream return a [*PartialError] in addition to the values. All four
// deliver results to the listeners, and none of them waits for a listener.
//
// # Stopping
//
// [Bus.Shutdown] refuses new calls, waits until the producers have returned, and delivers the
// results that are queued for listeners. Call it before the program exits. [Bus.Close] stops at
// once. [Registration.Drain] and [Registration.Remove] do the same for one producer or listener.
//
// # The contract
//
// [docs/contract.md] lists the promises about order, deadlines, concurrency, isolation and
// shutdown, each with the names of its tests. Code that uses this package can be tested in
// virtual time with [testing/synctest]; package dispatchtest has helpers for such tests.
//
// [docs/contract.md]: https://github.com/seed-bb4b4d74/dispatch/blob/main/docs/contract.md
package dispatch
