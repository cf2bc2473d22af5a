// Package dispatch implements typed scatter-gather and publish-subscribe: it sends a
// request to every producer registered on a topic, delivers each result as it arrives,
// stops at a deadline, and reports which producers did not answer.
//
// A [Topic] is a name together with the type of its requests and the type of its
// results. It is usually a package-level variable. A [Dispatcher] has the same two types.
// Producers answer requests, and listeners are called with the results; both are added and
// removed at any time:
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
//   - A [Producer] has one result or none for a request. A [StreamProducer] has any number of
//     them. A [Relay] brings the results of members elsewhere. [WithGroup] makes several
//     producers one member: its replicas.
//   - A listener is called with every result of its topics, whichever caller sent the request,
//     at its own pace. It never holds up a call.
//   - A [Call] is one request on its way. Its members are the producers that were registered
//     when it was sent, and every member has one [Outcome].
//   - A [Report] is the account of a call: why it ended and the outcome of every member.
//     [Report.Missing] says who did not answer.
//   - A [Bus] is what dispatchers of different types share: names, options, hooks and
//     shutdown. [New] makes a dispatcher with a bus of its own, [On] one on a shared bus.
//
// Producers and listeners can be added to one topic, to several with [AnyOf], or to all that
// match a [Pattern].
//
// # Waiting for results
//
//   - [Dispatcher.Gather] waits for all members and returns the values.
//   - [Dispatcher.First] returns the first value.
//   - [Dispatcher.Stream] is a loop over the results as they arrive.
//   - [Dispatcher.Send] returns at once, with a [Call] that has the results, the end
//     and the [Report], and that can also be ignored.
//
// A call ends at its deadline at the latest. The first three return a [*PartialError] beside
// the values if a member is missing. Options such as [WithQuorum], [WithFailFast] or
// [WithStall] end a call earlier. All four also call the listeners, and wait for none.
//
// # Stopping
//
// [Bus.Shutdown] lets producers return and delivers what listeners have not been called with:
// call it before the program ends. [Bus.Close] stops at once. [Registration.Remove] and
// [Registration.Drain] are the same pair for one producer or listener.
//
// # The contract
//
// What holds about order, deadlines, concurrency, isolation and shutdown is in numbered
// promises, each with the tests that hold it, in [docs/contract.md]. The package can be tested
// in virtual time with [testing/synctest]; package dispatchtest helps with that.
//
// [docs/contract.md]: https://github.com/seed-bb4b4d74/dispatch/blob/main/docs/contract.md
package dispatch
