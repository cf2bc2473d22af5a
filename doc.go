// Package dispatch asks everyone who is registered on a topic at the same time,
// hands out each answer as it comes, stops at the deadline, and knows who did not
// answer.
//
// # Usage
//
// A [Topic] is a name together with the type of its requests and the type of its
// results. It is usually a package-level variable, shared by packages that need
// not know each other:
//
//	var Measure = dispatch.NewTopic[string, float64]("cell.measure", dispatch.WithTimeout(4*time.Second))
//
// A [Dispatcher] has the same types and belongs to a [Bus], its own or one that it
// shares with dispatchers of other types. Producers answer requests, listeners are
// called with the results; both are added and removed at any time, on one topic,
// on several with [AnyOf], or on all that match a [Pattern]:
//
//	cell := dispatch.New[string, float64]()
//	_, err := cell.AddProducer(Measure, site.Volts, dispatch.WithName("site-1"))
//	_, err = cell.AddListener(Measure, func(ctx context.Context, r dispatch.Result[string, float64]) {
//		fmt.Println(r.From, r.Value)
//	})
//
// Producers have one result or none. A [StreamProducer] has any number of them,
// and a [Relay] brings those of members elsewhere.
//
// Whoever has a request chooses how to wait for its results:
//
//   - [Dispatcher.Gather] waits for everybody and returns the values,
//   - [Dispatcher.First] returns the first value,
//   - [Dispatcher.Stream] is a loop over the results as they arrive,
//   - [Dispatcher.Send] returns at once, with a [Call] from which the results, the
//     end and the [Report] can be had, or which can be ignored.
//
// In all four cases the listeners are called, too.
//
// # Who takes part
//
//  1. The members of a call are the producers that are registered when the request
//     is sent, or under [WithMinProducers] when there are enough of them. Who
//     registers later does not join, and who is removed while its producer runs may
//     still answer. A member whose producer is removed before its turn came is
//     [StateGone]; so is a name of [WithTargets] that nobody has.
//  2. Producers of one group, see [WithGroup], are one member. One of them is asked,
//     the next if it ends without an answer, and under [WithHedge] also if it takes
//     too long. A relay is no member; those that it names are.
//  3. Every member has exactly one [Outcome], which is never overwritten. A failure
//     is an Outcome and never a [Result].
//  4. Listeners are looked up when a result is there. A new one gets the results
//     from then on, also those of calls in flight.
//  5. A topic's name has one pair of types on a bus as long as anybody is registered
//     on it by name; another pair gets [ErrTopicType]. A pattern selects the topics
//     of its own types and passes over the others. Sending binds a name to nothing.
//     The names of producers are unique on a topic; a second one of the same name
//     gets [ErrDuplicate].
//
// # The end of a call
//
//  6. A call ends at the first of these: every member has ended
//     ([ReasonAllEnded]); the quorum is reached ([ReasonSatisfied]) or cannot be
//     reached any more ([ReasonQuorumLost]); under [WithFailFast] a member has
//     failed ([ReasonFailedFast]); under [WithStall] no further result came
//     ([ReasonStalled]); time is up ([ReasonDeadline]); the caller canceled it or
//     its context ([ReasonCanceled]); the bus was closed ([ReasonClosed]). With
//     nobody to ask, or with a context that has ended, it ends before it begins,
//     and nobody is asked.
//  7. There is always a deadline. It is set by [WithTimeout] at the call, else at
//     the topic, else at the bus, else it is [DefaultTimeout]; the context's
//     deadline counts as well, and the earlier one wins. A complete answer does not
//     wait for it.
//  8. A result is in time if it was recorded before the call ended; that is decided
//     once, for everybody. Members that have not ended by then are [StateLate] if
//     the call ended at its deadline, and [StateCanceled] otherwise.
//  9. A producer that ignores its context does not hold up the end of the call.
//  10. A result that comes later reaches neither caller nor listeners. It is offered
//     to [Dispatcher.OnLate], and its value is not kept otherwise.
//
// # Cancellation
//
//  11. The context of a producer has the values of the sender's and the deadline of
//     the call, and ends when the call ends and not before; [WithGrace] alone makes
//     both earlier than the end of the call, so that a producer can still hand in
//     what it has. Its cause, as of
//     [context.Cause], says why: [context.DeadlineExceeded], [ErrSatisfied],
//     [ErrQuorumLost], [ErrFailFast], [ErrStalled], [ErrClosed], what was passed to
//     [Call.Cancel], or the cause of the sender's context. A call that has all its
//     outcomes ends its producers' contexts with [context.Canceled], for whatever
//     they may have left behind.
//  12. A member whose producer has not started when the call ends is never started.
//     Its outcome says so: Started is false.
//
// # Order
//
//  13. The results of a call have one order, that of their Seq. It is the same for
//     every listener and every reader of [Call.Results]. Between calls there is no
//     order.
//  14. The callbacks of one listener never overlap, across all its topics, and follow
//     that order, its [OnOutcome] after the last result of the member. [WithConcurrency]
//     gives up both. Its [OnDone] comes last, once for each call.
//  15. Gather returns the values, and a Report its outcomes, in the order in which
//     the producers were registered, members that relays named behind all others.
//
// # Concurrency of user code
//
//  16. All members of a call are asked at once, unless [WithParallelism] bounds how
//     many run at the same time or [WithStagger] starts them one by one.
//  17. A producer is called concurrently, as an [net/http.Handler] is, and may be on
//     any goroutine. [WithConcurrency] bounds its runs across all topics of its
//     registration, with 1 it is serial; [WithSemaphore] lets several registrations
//     share a bound. Who waits for a place waits as long as its call lasts;
//     [WithMaxQueue] bounds how many do.
//  18. Everything may be called from inside producers, listeners and hooks: no lock is
//     held while they run. What waits for a callback to end, such as
//     [Registration.Drain] and [Bus.Shutdown], waits in vain inside that very
//     callback, until its context ends.
//  19. A call that is sent from a producer, with its context, ends no later than the
//     producer's own call. Calls may be nested 64 deep; then there is [ErrTooDeep].
//     A call that is sent from a listener counts as a call of the sender, so a chain
//     of listeners has no such end.
//  20. Members that depend on one another, each waiting until the others have
//     started, do not wait in vain, unless an option or a semaphore keeps the others
//     from being started.
//
// # Listeners and back-pressure
//
//  21. A listener never holds up a call, a producer or another listener. What it has
//     not been called with waits in a mailbox of its own, without bound and without
//     loss. [WithMailbox] sets a bound; what is dropped then is counted in the
//     [Snapshot]. A listener whose oldest result has waited for longer than
//     [WithSlowListener] says is logged once, with the place where it was added.
//  22. A listener's context has the values of the sender's and does not end.
//  23. Nobody needs to read the results of a call. A reader of [Call.Results] may stop
//     early, begin after the end, or be slow; nobody waits for it.
//  24. The number of calls in flight has no bound but that of [WithMaxInFlight]: a
//     call holds its place until its results are handed to every listener, and
//     whoever sends waits for a place until its context ends, or under [WithNoWait]
//     not at all. A call that is sent from inside another needs no place.
//
// # Isolation
//
//  25. The error of a producer concerns the one member of the one call and nobody
//     else, unless WithFailFast says otherwise. So does a panic, also of nil or of an
//     error, which is [StatePanicked] with a [*PanicError]; and so does
//     [runtime.Goexit], which is [StateFailed] with [ErrGoexit]. The next call asks
//     the producer again.
//  26. A panic or Goexit in a listener or a hook costs that one callback, and is
//     logged. A logger that panics or blocks disturbs nothing else.
//  27. A run that outlives its call by 100 ms counts as abandoned: it is logged once,
//     is in the [Snapshot] with its age, and keeps the places it has taken. A
//     producer with as many abandoned runs as [WithMaxAbandoned] says is not asked:
//     its members are [StateRejected] with [ErrStuck] until one of them returns.
//  28. With [WithPanicCrash] a panic ends the process, as it would without this
//     package.
//
// There are things that no program can catch, and this one cannot either: fatal
// errors of the runtime such as concurrent writes to a map, a stack that overflows
// or memory that runs out; [os.Exit]; and a panic in a goroutine that a producer
// has started. They end the process. Nor can a goroutine be stopped from outside: a
// producer that never returns stays for as long as the process does.
//
// # Errors
//
//  29. [New], [NewBus], [On], [NewTopic] and [NewPattern] panic on invalid arguments,
//     for they are called once, with constants; so does OnLate for a nil func. All
//     else returns an error that wraps one of the sentinels, such as
//     [ErrInvalidOption] or [ErrInvalidTopic], and says what was wrong and where.
//     When a method returns such an error nothing has begun.
//  30. Gather, First and Stream are strict: unless the call was satisfied or every
//     member answered or declined, they return a [*PartialError] along with the
//     values there are. Its Report has every member; [errors.Is] and [errors.As] reach
//     the errors of those without an answer.
//  31. A producer that has nothing to say returns [ErrDecline], or an error that wraps
//     it and no other. That is no failure.
//  32. The error of [Call.Wait] is about the wait alone; how the call fared is in its
//     Report, which is the same whenever it is asked for after the end.
//
// # Shutdown
//
//  33. [Bus.Shutdown] refuses what is new with [ErrClosed], lets calls end, producers
//     return and mailboxes drain, and then closes the bus. Calls that these make
//     meanwhile are accepted. If its context ends first it closes the bus at once
//     and returns a [*ShutdownError] that names who was still running.
//  34. [Bus.Close] ends all calls and waits for no user code. After it has returned no
//     producer, listener or OnLate hook is called; OnOutcome and OnDone hooks hear of
//     the calls it ended, at once or when their listener's running callback returns.
//  35. [Registration.Remove] and [Registration.Drain] are the same pair for one
//     registration: Drain finishes what was accepted, Remove discards what waits.
//  36. All of these may be called twice, concurrently and from inside callbacks.
//
// # Observation
//
//  37. An [Observer] is told of all that happens on a bus, from [NewBus] or from
//     [Bus.Observe] on. Its start hooks run where that begins which they announce, and
//     hold up that and nothing else; all other hooks are called one at a time, on a
//     goroutine of the observer's own, and nobody waits for them. What is too much for
//     an observer is missed and counted.
//  38. The goroutines of producers and listeners of an observed call have the pprof
//     labels dispatch.topic, dispatch.producer and dispatch.listener. While the
//     execution tracer runs each call is a task, and each run a region.
//  39. [Bus.Snapshot] tells what the bus looks like at one moment. The logger is told what
//     nobody else is: panics, runs that outlive their calls, listeners that are slow.
//  40. All errors have a method ErrorType() string, by which they can be counted.
//
// # At rest
//
//  41. When its calls have ended, their producers have returned and the mailboxes are
//     empty, a bus holds no goroutine and nothing of its calls. One timer for each
//     listener that was busy of late, which looks for results that have waited too
//     long, is left to go off once more.
//  42. A bus need not be closed to be collected as garbage.
//  43. A call is kept by those who hold it, or one of its results, and by nobody else.
//     It keeps all its results; only what stream producers yield to a loop over
//     [Dispatcher.Stream] is let go of.
//
// # Testing
//
// The package uses only the timers and contexts of the standard library and holds
// no lock while it blocks. So code that uses it can be tested in virtual time, with
// [testing/synctest]; deadlines are exact there and pass in no time:
//
//	synctest.Test(t, func(t *testing.T) {
//		shops := dispatch.New[string, float64]()
//		_, err := shops.AddProducer(price, func(ctx context.Context, _ string) (float64, error) {
//			<-ctx.Done()
//			return 0, context.Cause(ctx)
//		})
//		…
//		began := time.Now()
//		_, err = shops.Gather(t.Context(), price, "lamp", dispatch.WithTimeout(time.Hour))
//		if took := time.Since(began); took != time.Hour {
//			t.Errorf("it took %v, want an hour", took)
//		}
//	})
//
// [synctest.Wait] waits until all listeners have been called with what there is. A
// bubble must not end before its goroutines: if a producer ignores its context, end
// the test with a [time.Sleep] that is longer than its run. Package dispatchtest has
// producers and a listener for such tests.
package dispatch
