// Package dispatch implements typed scatter-gather and publish-subscribe: it sends a
// request to every producer registered on a topic, delivers each result as it arrives,
// stops at a deadline, and reports which producers did not answer.
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
// called with the results. Both are added and removed at any time, on one topic,
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
// A caller chooses how to wait for results:
//
//   - [Dispatcher.Gather] waits for all members and returns the values,
//   - [Dispatcher.First] returns the first value,
//   - [Dispatcher.Stream] is a loop over the results as they arrive,
//   - [Dispatcher.Send] returns at once, with a [Call] that has the results, the end
//     and the [Report], and that can also be ignored.
//
// In all four cases the listeners are called, too. None of the four waits for listeners:
// before a program ends, [Bus.Shutdown] delivers what they have not been called with.
//
// # Who takes part
//
//  1. The members of a call are the producers that are registered when the request
//     is sent, or under [WithMinProducers] when there are enough of them. A producer
//     that is registered later does not join. A producer that is removed while it runs
//     may still answer; one that is removed before its turn is [StateGone]. A name of
//     [WithTargets] that no producer has is a member that is Gone from the beginning; a
//     call that has only such members ends at once. The same holds for [WithRequired].
//  2. Producers of one group, see [WithGroup], are one member. One replica is asked,
//     the next one if it ends without an answer, and under [WithHedge] also if it takes
//     too long. Replicas that were never asked have no outcome. A relay is not a member;
//     those that it names are.
//  3. Every member has exactly one [Outcome], which is never overwritten. A failure
//     is an Outcome and never a [Result].
//  4. Listeners are looked up when a result is recorded. A new one gets the results
//     from then on, also those of calls in flight; under [WithRetained] it first gets the
//     last results of its topics, as far as these retain them (see [WithRetain]).
//  5. A topic's name has one pair of types on a bus as long as anything is registered
//     on it by name; another pair gets [ErrTopicType]. A pattern selects the topics
//     of its own types and ignores the others. Sending a request does not fix the types
//     of a name. The names of producers are unique on a topic; a second producer of the
//     same name gets [ErrDuplicate].
//
// # The end of a call
//
//  6. A call ends at the first of these: every member has ended
//     ([ReasonAllEnded]); the quorum is reached and the members of [WithRequired] have
//     ended, or First has its result ([ReasonSatisfied]); the quorum cannot be reached any more ([ReasonQuorumLost]);
//     under [WithFailFast] a member has failed ([ReasonFailedFast]); under [WithStall] no
//     further result came ([ReasonStalled]); time is up ([ReasonDeadline]); the caller
//     canceled the call or its context ([ReasonCanceled]); the bus was closed
//     ([ReasonClosed]). If no producer is registered the reason is [ReasonNoProducers].
//     Then, and if the sender's context has ended already, the call ends before it
//     begins, and no producer is called.
//  7. There is always a deadline. It is set by [WithTimeout] at the call, else at
//     the topic, else at the bus, else it is [DefaultTimeout]. The deadline of the
//     sender's context counts as well, and the earlier one wins. A call that has all
//     outcomes does not wait for it. If the sender's context sets the deadline, its cause
//     is the cause of the end; the call waits up to 100 ms for that context to end.
//  8. A result is in time if it was recorded before the call ended; that is decided
//     once, for all readers and listeners. Members that have not ended by then are
//     [StateLate] if the call ended at its deadline, and [StateCanceled] otherwise. A
//     member whose run has taken longer than the producer's own [WithTimeout] is Late
//     then, and the call goes on. No outcome has a longer Elapsed than its report.
//  9. A producer that ignores its context does not hold up the end of the call.
//  10. A value that a producer or relay gives after the end of its call, or that a replica
//     returns after another one has answered, or a run after its own timeout, reaches
//     neither caller nor listeners. It is
//     offered to [Dispatcher.OnLate], and is not kept otherwise.
//
// # Cancellation
//
//  11. The context of a producer has the values of the sender's and the deadline of
//     the call, and ends when the call ends and not before; that of a replica also ends
//     when another replica has answered, and one of a producer with a timeout of its own
//     has that deadline and ends then. [WithGrace] makes both deadline and end earlier
//     than the end of the call, so that a producer can hand in what it has. Its
//     [context.Cause] says why it ended: [context.DeadlineExceeded], [ErrSatisfied],
//     [ErrQuorumLost], [ErrFailFast], [ErrStalled], [ErrClosed], what was passed to
//     [Call.Cancel], or the cause of the sender's context, also that of a deadline. In
//     reports and errors, [errors.Is] finds [context.Canceled] or
//     [context.DeadlineExceeded] beside the sender's cause. A call that all members have
//     ended ends its producers' contexts with [context.Canceled], for goroutines that they
//     have left behind. What was opened with such a context ends with it, such as the
//     body of an HTTP response; see [Producer].
//  12. A member whose producer has not started when the call ends is never started.
//     Its outcome says so: Started is false. Began says when the closure of a member
//     was called.
//
// # Order
//
//  13. The results of a call have one order, that of their Seq. It is the same for
//     every listener and every reader of [Call.Results]. Between calls there is no
//     order.
//  14. The callbacks of one listener never overlap, across all its topics, and follow
//     that order, with [OnOutcome] after the last result of the member. [WithConcurrency]
//     gives up both. [OnDone] comes last, once for each call. A listener that is behind
//     is called with at most 64 results and outcomes of one call before it is called for
//     the next one.
//  15. Gather returns the values, and a Report its outcomes, in the order in which
//     the producers were registered, followed by members that relays named. Values have
//     no gaps: the index of a value is not that of its producer.
//
// # Concurrency of user code
//
//  16. All members of a call are asked at once, unless [WithParallelism] bounds how
//     many run at the same time or [WithStagger] spaces their starts.
//  17. A producer is called concurrently, as an [net/http.Handler] is, and may be on
//     any goroutine. [WithConcurrency] bounds its runs across all topics of its
//     registration, with 1 it is serial; [WithSemaphore] lets several registrations
//     share a bound. A run waits for its turn until its call ends; [WithMaxQueue] bounds
//     how many wait. A producer that locks its thread ([runtime.LockOSThread]) or sets
//     goroutine labels does not hand these on to another closure, except if it returns
//     within a microsecond.
//  18. Everything may be called from inside producers, listeners and hooks: no lock is
//     held while they run. Do not call [Registration.Drain] or [Bus.Shutdown] from a
//     callback that they wait for: they block until their context is done.
//  19. A call that is sent from a producer, with its context, ends no later than the
//     producer's own call. Calls may be nested 64 deep, counted across buses; a deeper
//     one gets [ErrTooDeep]. A call that is sent from a listener counts as a call of the
//     sender, so a chain of listeners has no such end, and keeps nothing of its earlier
//     calls but the sender's values.
//  20. All producers of a call are started without waiting for one another, so they may
//     wait for each other. WithParallelism, WithStagger, WithConcurrency and
//     WithSemaphore remove this guarantee.
//
// # Listeners and backpressure
//
//  21. A listener never holds up a call, a producer or another listener. Undelivered
//     results wait in a mailbox of the listener, without bound and without loss.
//     [WithMailbox] sets a bound; dropped results are counted in the [Snapshot]. A
//     listener whose oldest result has waited for longer than [WithSlowListener] says is
//     logged once, with the place where it was added.
//  22. A listener's context has the values of the sender's and does not end.
//  23. The results of a call need not be read. A reader of [Call.Results] may stop
//     early, begin after the end, or be slow; nothing waits for it.
//  24. The number of calls in flight has no bound but that of [WithMaxInFlight]: a
//     call keeps its place until it has ended and every listener has come to the last of
//     its results and outcomes; OnDone runs after that. A sender waits for a place until
//     its context ends, or under [WithNoWait] not at all. A call that is sent from inside
//     another one needs no place. Inside means: with the context of a call of the same bus
//     that has not ended, or whose producers and listeners are not done with it. A callback
//     that sends with any other context can wait for places of calls that wait for it.
//
// # Isolation
//
//  25. The error of a producer concerns the one member of the one call and no other,
//     unless WithFailFast is set. So does a panic, also of nil or of an
//     error, which is [StatePanicked] with a [*PanicError]; and so does
//     [runtime.Goexit], which is [StateFailed] with [ErrGoexit]. The next call asks
//     the producer again.
//  26. A panic or Goexit in a listener or a hook ends that one callback, and is
//     logged. A logger that panics or blocks holds up nothing, Shutdown included.
//  27. A run that outlives its call by 100 ms counts as abandoned: it is logged once,
//     is in the [Snapshot] with its age, and keeps its place under WithConcurrency and
//     WithSemaphore. A producer with as many abandoned runs as [WithMaxAbandoned] says is
//     not asked: its members are [StateRejected] with [ErrStuck] until one of them
//     returns.
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
//     because they are called once, with constants; so does OnLate for a nil func. All
//     other functions return an error that wraps one of the sentinels, such as
//     [ErrInvalidOption] or [ErrInvalidTopic], and says what was wrong and where.
//     When a method returns such an error nothing has begun.
//  30. Gather, First and Stream are strict: unless the call was satisfied or every
//     member answered or declined, they return a [*PartialError] along with the
//     values there are. Its Report has every member; [errors.Is] and [errors.As] reach
//     the errors of those without an answer.
//  31. A producer that has nothing to say returns [ErrDecline], or an error that wraps
//     it along single links of Unwrap. That is no failure. A joined error, the error of
//     another call or of a member never declines, whatever it wraps. The same holds
//     for all errors that decide a state. A group is Declined if every one of its
//     replicas was asked and declined.
//  32. The error of [Call.Wait] is nil, or that of its context if that ended first. The
//     outcome of the call is in its Report, which does not change after the end.
//
// # Shutdown
//
//  33. [Bus.Shutdown] refuses new calls and registrations with [ErrClosed], lets calls
//     end, producers return and mailboxes drain, and then closes the bus. Calls that are
//     sent from inside these are accepted meanwhile, see 24. If its context ends first it
//     closes the bus at once and returns a [*ShutdownError] that names what was still
//     running.
//  34. [Bus.Close] ends all calls and does not wait for user code. After it has returned
//     no producer, listener or OnLate hook is called, except as in 35; the OnOutcome and
//     OnDone hooks for the calls that it ended are called at once, or when their
//     listener's running callback returns.
//  35. [Registration.Remove] and [Registration.Drain] are the same pair for one
//     registration: Drain finishes what was accepted, Remove discards what waits. A
//     closure or callback whose start was decided before Remove or Close was called counts as
//     running: it may run its first instruction after they have returned. Nothing is decided
//     afterwards. Drain and Shutdown wait for it. Drain does not accept more if it is
//     called again.
//  36. All of these may be called twice, concurrently and from inside callbacks.
//
// # Observation
//
//  37. An [Observer] is a set of hooks for the calls, members, results and listeners of a
//     bus, from [NewBus] or from [Bus.Observe] on. Most hooks follow: they are
//     called one at a time, on a goroutine of the observer's own, and change nothing
//     about how calls run. The start hooks CallStart, MemberStart and ListenerStart
//     return contexts: they run synchronously, just before the event, and delay only that
//     event. If an observer falls more than 4,096 calls and events behind, further ones
//     are dropped and counted.
//  38. With [WithPprofLabels] the goroutines of producers and listeners have the pprof
//     labels dispatch.topic, dispatch.producer and dispatch.listener while these run.
//     While the execution tracer runs, each call is a task and each run a region.
//  39. [Bus.Snapshot] returns what the bus looks like at one moment. The logger gets the
//     events that no caller sees: panics, runs that outlive their calls, slow listeners.
//     The stack of a panic is logged once for each registration and minute; further
//     panics are logged with their number.
//  40. All errors have a method ErrorType() string, by which they can be counted.
//
// # At rest
//
//  41. When its calls have ended, their producers have returned and the mailboxes are
//     empty, a bus holds no goroutine and nothing of its calls. A timer that detects slow
//     listeners may fire once after the bus has become idle.
//  42. A bus need not be closed to be garbage collected.
//  43. A call is kept in memory by references to it or to one of its results, and by
//     listeners that are behind with it. It keeps all its results; only a loop over
//     [Dispatcher.Stream] lets go of those that it has yielded. A call has room for one result of each member from the start, so large
//     results are better pointers. A listener that was removed keeps no results, and a
//     producer's last error is kept as text.
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
