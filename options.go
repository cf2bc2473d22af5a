package dispatch

import (
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/seed-bb4b4d74/dispatch/internal/course"
)

// Each kind of option is accepted in its own places only, and an option in the wrong place
// does not compile. If an option is given more than once, the last one wins.

// A BusOption is accepted by [NewBus] and [New]: [WithLogger], [WithObserver],
// [WithMaxInFlight], [WithMaxAbandoned], [WithSlowListener], [WithPprofLabels] and
// [WithPanicCrash]. Every CallOption is also a BusOption, and is then the default of every call
// on the bus.
type BusOption interface{ applyBus(*busConfig) error }

// A TopicOption is accepted by [NewTopic] and [ParseTopic]: [WithRetain], and every CallOption,
// which is then the default of every call of the topic.
type TopicOption interface{ applyTopic(*topicSpec) error }

// A CallOption is accepted by the methods that make a call, and applies to this call. It is
// also accepted by [NewTopic], for all calls of the topic, and by [NewBus], for all calls on
// the bus. An option of the call overrides that of the topic, and an option of the topic
// overrides that of the bus. [WithDefaults] drops the options that were set before it.
type CallOption interface {
	BusOption
	TopicOption
	applyCall(*policy) error
}

// A ProducerOption is accepted by the methods that add a producer: [WithName], [WithTimeout],
// [WithConcurrency], [WithMaxQueue], [WithSemaphore] and [WithGroup].
type ProducerOption interface{ applyProducer(*producerConfig) error }

// A ListenerOption is accepted by the methods that add a listener: [WithName],
// [WithConcurrency], [WithMailbox], [WithRetained], [OnOutcome] and [OnDone].
type ListenerOption interface{ applyListener(*listenerConfig) error }

// A RegistrationOption is accepted by the methods that add a producer or a listener.
type RegistrationOption interface {
	ProducerOption
	ListenerOption
}

// DefaultTimeout is the timeout of a call without [WithTimeout]. An earlier deadline of the
// context counts as well.
const DefaultTimeout = 5 * time.Second

// policy is the options of a call, its topic and its bus, merged.
type policy struct {
	course.Policy
	hedgeQuantile float64 // 0: none
	minProducers  int     // 0: those that there are
	noWait        bool
	targets       []string // nil: all
	required      []string // nil: none
}

// defaults is the policy without any option.
func defaults() policy { return policy{Policy: course.Policy{Timeout: DefaultTimeout}} }

// with returns the policy with the options of a topic and of a call.
func (p *policy) with(topic, call []CallOption) (*policy, error) {
	q := *p
	if err := q.apply(topic); err != nil {
		return nil, err
	}
	if err := q.apply(call); err != nil {
		return nil, err
	}
	return &q, q.validate()
}

// validate checks options against each other.
func (p *policy) validate() error {
	if p.Grace >= p.Timeout {
		return invalidOption("WithGrace(%v): must be less than the timeout of %v", p.Grace, p.Timeout)
	}
	return nil
}

func (p *policy) apply(opts []CallOption) error {
	return each("CallOption", opts, func(o CallOption) error { return o.applyCall(p) })
}

// each applies options of one kind, up to the first that is invalid.
func each[O comparable](kind string, opts []O, apply func(O) error) error {
	var none O
	for i, o := range opts {
		if o == none {
			return invalidOption("nil %s at index %d", kind, i)
		}
		if err := apply(o); err != nil {
			return err
		}
	}
	return nil
}

// callOption is a CallOption made of a function that changes a policy.
type callOption func(*policy) error

func (o callOption) applyCall(p *policy) error     { return o(p) }
func (o callOption) applyTopic(s *topicSpec) error { return s.addDefault(o) }
func (o callOption) applyBus(c *busConfig) error   { return o(&c.policy) }

// A TimeoutOption is returned by [WithTimeout]. It is accepted by the methods that make a
// call and by those that add a producer.
type TimeoutOption interface {
	CallOption
	ProducerOption
}

// WithTimeout bounds a call, or each run of a producer. d must be positive.
//
// On a call, a topic or a bus, WithTimeout ends the call after d at the latest. Members
// that have not ended by then are Late. The deadline of the context counts as well; the
// earlier of the two wins. The default is [DefaultTimeout].
//
// On a producer, WithTimeout bounds each run, from the start of the closure. The time that
// a run waits for its turn does not count. After d the member is Late with [ErrTimeout],
// and the call goes on without it. The run's context has this deadline, and ends at it with
// the cause [context.DeadlineExceeded]. OnLate receives a value that arrives later,
// or the next value of a stream; earlier results of the stream stay. If a replica exceeds its
// timeout, the call asks the next replica, as after a failure. Relays cannot have this
// option. A run that continues counts as abandoned 100 ms after the end of its call, like
// any other run. Until the run returns, it keeps its slot under [WithConcurrency].
func WithTimeout(d time.Duration) TimeoutOption { return timeoutOption(d) }

type timeoutOption time.Duration

func (o timeoutOption) applyCall(p *policy) error {
	p.Timeout = time.Duration(o)
	return positive("WithTimeout", p.Timeout)
}
func (o timeoutOption) applyBus(c *busConfig) error { return o.applyCall(&c.policy) }

func (o timeoutOption) applyTopic(s *topicSpec) error { return s.addDefault(o) }

func (o timeoutOption) applyProducer(c *producerConfig) error {
	c.timeout = time.Duration(o)
	return positive("WithTimeout", c.timeout)
}

// WithQuorum ends the call with [ReasonSatisfied] after n members have answered, or with
// [ReasonQuorumLost] once that is impossible. The other members are canceled. A member that
// declines has not answered. WithQuorum overrides [WithMajority]. n must be positive.
func WithQuorum(n int) CallOption {
	return callOption(func(p *policy) error {
		p.Quorum, p.Majority = n, false
		return positive("WithQuorum", n)
	})
}

// WithMajority is [WithQuorum] with more than half of the members of the call: 2 of 2 or 3,
// 3 of 4 or 5. Members that decline, fail or are gone count among the members, and so does
// a name of [WithTargets] or [WithRequired] that no producer has. Relays name members while
// the call goes on, so a majority does not satisfy a call with relays before all its relays
// have returned. WithMajority overrides WithQuorum.
func WithMajority() CallOption {
	return callOption(func(p *policy) error {
		p.Quorum, p.Majority = 0, true
		return nil
	})
}

// WithRequired prevents a quorum from satisfying the call before the members with these
// names have ended, in any state. Without a quorum a call waits for all members anyway. The
// names are those of [WithTargets]. If a name stands for several members, the call waits
// for all of them. For each name that no member has, the call has a member with this name
// that is Gone, with [ErrUnknownMember]. If a relay may name this member, the call first
// waits until its relays have returned. WithRequired does not ask members that WithTargets excludes. There must be
// at least one name, and no name may be empty.
func WithRequired(names ...string) CallOption {
	names = slices.Clone(names)
	return callOption(func(p *policy) error {
		p.required = names
		return wantNames("WithRequired", names)
	})
}

// WithStall ends the call with [ReasonStalled] when d has passed since its last result.
// Before the first result only the deadline counts. d must be positive.
func WithStall(d time.Duration) CallOption {
	return callOption(func(p *policy) error {
		p.Stall = d
		return positive("WithStall", d)
	})
}

// WithParallelism runs at most n members of the call at the same time. The other members
// wait, and are never started if the call ends first. Members that relays name do not count,
// and neither does a member that has ended although its closure still runs. n must be
// positive.
func WithParallelism(n int) CallOption {
	return callOption(func(p *policy) error {
		p.Parallelism = n
		return positive("WithParallelism", n)
	})
}

// WithFailFast ends the call with [ReasonFailedFast] at the first member that is Failed,
// Panicked or Rejected. The other members are canceled.
func WithFailFast() CallOption {
	return callOption(func(p *policy) error {
		p.FailFast = true
		return nil
	})
}

// untilFirst makes a call one of First.
func untilFirst(p *policy) error {
	p.First, p.Quorum, p.Majority, p.required = true, 0, false, nil
	return nil
}

// WithGrace ends the producers' contexts d before the call, so that producers that watch
// their context can still return a partial result. A member that returns its context's error
// in that time is Late. d must be positive and less than the timeout; only [NewBus] and the
// methods that make a call can check the latter. If the deadline of the sender's context is
// less than d away, the producers' contexts end at once.
func WithGrace(d time.Duration) CallOption {
	return callOption(func(p *policy) error {
		p.Grace = d
		return positive("WithGrace", d)
	})
}

// WithStagger starts the members one after the other, in the order of registration. The
// next member starts d after the start of the previous member, or at once when a member
// of this bus ends without an answer. Starts that [WithParallelism] has delayed do not accumulate. With
// [Dispatcher.First] this is a hedged request, like the way in which Happy Eyeballs (RFC
// 8305) opens connections. d must be positive.
func WithStagger(d time.Duration) CallOption {
	return callOption(func(p *policy) error {
		p.Stagger = d
		return positive("WithStagger", d)
	})
}

// WithHedge asks the next replica of a group when no answer has arrived after d. The
// earlier replicas keep running, and the first answer is that of the group. Then the
// contexts of the other replicas end, with the cause [ErrSatisfied]. This closes resources
// that depend on these contexts. OnLate receives values that the other replicas return. If
// less than d is left until the deadline, a hedge asks no replica.
// WithHedge affects only members made by [WithGroup]. d must be positive.
func WithHedge(d time.Duration) CallOption {
	return callOption(func(p *policy) error {
		p.Hedge = d
		return positive("WithHedge", d)
	})
}

// WithHedgeQuantile is [WithHedge] with a time that follows the latencies of each group. The
// call asks the next replica when no answer has arrived within this quantile of the group's
// recent latencies. With 0.95 about one call in twenty asks a second replica, however slow
// or fast the group is. Dean and Barroso recommend this in "The Tail at Scale"
// (Communications of the ACM 56, 2, 2013).
//
// The recent latencies are those of the last 1,000 to 2,000 answers of the group in calls
// with this option. A latency begins when the first replica is asked, and does not count if
// that replica has failed. There is no hedge before the group has 20 latencies, or
// 1/(1-quantile) rounded down if this is more, but at most 1,000. If [WithHedge] is given as
// well, its d counts until then, and after that the shorter of d and the quantile. A producer
// on several topics has the same latencies on all of them, unless its groups there had
// latencies before. The quantile must be greater than 0 and less
// than 1.
func WithHedgeQuantile(quantile float64) CallOption {
	return callOption(func(p *policy) error {
		p.hedgeQuantile = quantile
		if quantile > 0 && quantile < 1 { // which NaN is not
			return nil
		}
		return invalidOption("WithHedgeQuantile(%v): must be between 0 and 1", quantile)
	})
}

// WithMinProducers makes the call wait, at most until its deadline, until n producers are
// registered on the topic. Then the call asks all registered producers. If there are too
// few producers at the deadline, the call asks no producer and ends with [ReasonDeadline]
// and [ErrTooFewProducers]. Relays and the members that they would name do not count. To
// wait for members on other machines use natsdispatch.Remote.Await. n must be positive.
func WithMinProducers(n int) CallOption {
	return callOption(func(p *policy) error {
		p.minProducers = n
		return positive("WithMinProducers", n)
	})
}

// WithDefaults drops the options that were set before it. On a call, it drops the options of
// the topic and the bus for this call. On a topic, it drops the options of the bus for calls
// of the topic. Options after it count. So it can switch off options that no other option
// can switch off, such as [WithFailFast], [WithNoWait], [WithTargets] or [WithQuorum]. The
// timeout is then [DefaultTimeout]. Options that only a bus or a topic can have, such as
// [WithMaxInFlight] and [WithRetain], stay.
func WithDefaults() CallOption {
	return callOption(func(p *policy) error {
		*p = defaults()
		return nil
	})
}

// WithTargets asks only the members with these names. A name is the name of a producer, the
// name of a group for all its replicas, or a name that [Member.String] returns for a member
// in a report: group/name, node/name, node/group or node/group/name. The name node/* stands
// for all members of a node. See [Member.Matches].
//
// For each name that no producer has, the call has a member with this name that is Gone,
// with [ErrUnknownMember]. If a relay may name the member, it is Gone once all relays have
// returned, and Late or Canceled if the call ends before that. A call that has only unknown
// members ends at once, except if a relay may name them. There must be at least one name, and no name may be empty.
func WithTargets(names ...string) CallOption {
	names = slices.Clone(names)
	return callOption(func(p *policy) error {
		p.targets = names
		return wantNames("WithTargets", names)
	})
}

func wantNames(option string, names []string) error {
	if len(names) == 0 {
		return invalidOption("%s: no names", option)
	}
	if i := slices.Index(names, ""); i >= 0 {
		return invalidOption("%s: empty name at index %d", option, i)
	}
	return nil
}

// busConfig has the values of the options of a bus.
type busConfig struct {
	policy       policy
	logger       *slog.Logger
	maxAbandoned int
	maxInFlight  int // 0: no limit
	slowListener time.Duration
	panicCrash   bool
	pprofLabels  bool
	observing    []observerConfig
}

// observerConfig is an observer, and the place in the program that added it.
type observerConfig struct {
	hooks Observer
	at    callsite
}

func newBusConfig(opts []BusOption) (busConfig, error) {
	c := busConfig{
		policy:       defaults(),
		maxAbandoned: 64,
		slowListener: 5 * time.Second,
	}
	if err := each("BusOption", opts, func(o BusOption) error { return o.applyBus(&c) }); err != nil {
		return c, err
	}
	return c, c.policy.validate()
}

// busOption is a BusOption made of a function that changes a busConfig.
type busOption func(*busConfig) error

func (o busOption) applyBus(c *busConfig) error { return o(c) }

// WithLogger sets the logger for events that no caller sees: panics and [runtime.Goexit] in
// user code at level Error; runs that outlive their call, slow listeners, and senders that
// wait too long at level Warn, each once. The stack of a panic is logged at most once a
// minute for each registration; further panics are logged with their count. The default is
// [slog.Default] at the time of the event. The logger runs on its own goroutine. If the
// logger blocks, calls and [Bus.Shutdown] do not wait for it. If 1,024 records wait for it,
// further records are dropped.
func WithLogger(l *slog.Logger) BusOption {
	return busOption(func(c *busConfig) error {
		c.logger = l
		return notNil("WithLogger", l != nil)
	})
}

// WithObserver registers hooks for calls, members, results and listeners of the bus. If
// several observers are given, the start hooks of the first observer are called first. See
// also [Bus.Observe].
func WithObserver(o Observer) BusOption {
	at := caller(1)
	return busOption(func(c *busConfig) error {
		c.observing = append(c.observing, observerConfig{o, at})
		return nil
	})
}

// WithMaxAbandoned stops asking a producer that has n runs which have outlived their calls.
// Its members are Rejected with [ErrStuck] until one of these runs returns. The default is
// 64. n must be positive.
func WithMaxAbandoned(n int) BusOption {
	return busOption(func(c *busConfig) error {
		c.maxAbandoned = n
		return positive("WithMaxAbandoned", n)
	})
}

// WithSlowListener sets the time after which a slow listener is logged, once. The time
// begins when the oldest undelivered result arrives, and ends when the callback for this
// result returns. The option also applies to observers and OnLate hooks, and to senders
// that wait for a place under [WithMaxInFlight]. The default is 5 seconds. d must be
// positive.
func WithSlowListener(d time.Duration) BusOption {
	return busOption(func(c *busConfig) error {
		c.slowListener = d
		return positive("WithSlowListener", d)
	})
}

// WithPanicCrash disables panic recovery: a panic in a producer, listener or hook crashes
// the process.
func WithPanicCrash() BusOption {
	return busOption(func(c *busConfig) error {
		c.panicCrash = true
		return nil
	})
}

// WithPprofLabels sets pprof labels on goroutines while they run a producer or listener:
// dispatch.topic, and dispatch.producer or dispatch.listener. So a profile shows the names
// of producers and listeners; see package [runtime/pprof]. Without this option no goroutine
// gets labels from this package, even if the call is observed. The labels cost about half a
// microsecond for each closure.
func WithPprofLabels() BusOption {
	return busOption(func(c *busConfig) error {
		c.pprofLabels = true
		return nil
	})
}

// registrationConfig is what producers and listeners have in common.
type registrationConfig struct {
	name        string
	concurrency int // 0: the default of the kind
}

// producerConfig has the values of the options of a producer.
type producerConfig struct {
	registrationConfig
	group    string
	timeout  time.Duration // of each run; 0: none
	maxQueue int           // 0: no limit
	shared   *semaphore.Weighted
}

func newProducerConfig(opts []ProducerOption) (c producerConfig, err error) {
	err = each("ProducerOption", opts, func(o ProducerOption) error { return o.applyProducer(&c) })
	return c, err
}

// producerOption is a ProducerOption made of a function that changes a producerConfig.
type producerOption func(*producerConfig) error

func (o producerOption) applyProducer(c *producerConfig) error { return o(c) }

// listenerConfig has the values of the options of a listener.
type listenerConfig struct {
	registrationConfig
	mailbox   int // 0: unbounded
	overflow  Overflow
	onOutcome func(Outcome)
	onDone    func(Report)
	retained  bool
}

func newListenerConfig(opts []ListenerOption) (c listenerConfig, err error) {
	err = each("ListenerOption", opts, func(o ListenerOption) error { return o.applyListener(&c) })
	return c, err
}

// listenerOption is a ListenerOption made of a function that changes a listenerConfig.
type listenerOption func(*listenerConfig) error

func (o listenerOption) applyListener(c *listenerConfig) error { return o(c) }

// registrationOption is a RegistrationOption made of a function that changes what producers and
// listeners have in common.
type registrationOption func(*registrationConfig) error

func (o registrationOption) applyProducer(c *producerConfig) error { return o(&c.registrationConfig) }

func (o registrationOption) applyListener(c *listenerConfig) error { return o(&c.registrationConfig) }

// WithName names a producer or listener in reports, logs and snapshots. The names of
// producers on one topic must be unique. The name must not be empty. Without this option the
// name is producer-N, relay-N or listener-N.
func WithName(name string) RegistrationOption {
	return registrationOption(func(c *registrationConfig) error {
		c.name = name
		return notEmpty("WithName", name)
	})
}

// WithConcurrency bounds how many runs of one producer are active at the same time, across
// all topics of its registration. With 1 the runs never overlap. Further runs wait for their
// turn until their contexts end. Runs of calls that are sent at about the same time may begin in
// another order than the calls. Without this option the closure is called concurrently
// without bound, like a [net/http.Handler]. n must be positive.
//
// On a listener, n above 1 allows callbacks to overlap. They then have no order, except that
// OnDone is still called last.
func WithConcurrency(n int) RegistrationOption {
	return registrationOption(func(c *registrationConfig) error {
		c.concurrency = n
		return positive("WithConcurrency", n)
	})
}

// WithMaxQueue bounds how many runs wait for a producer under WithConcurrency or
// WithSemaphore. If n runs wait already, the member of the next call is Rejected at once,
// with [ErrQueueFull]. n must be positive, and the producer must have WithConcurrency or
// WithSemaphore.
func WithMaxQueue(n int) ProducerOption {
	return producerOption(func(c *producerConfig) error {
		c.maxQueue = n
		return positive("WithMaxQueue", n)
	})
}

// Overflow says which result a full mailbox drops.
type Overflow uint8

// The results that a full mailbox can drop.
const (
	DropOldest Overflow = iota // the oldest result of the call that is next in line
	DropNewest                 // the result that has just arrived
)

// String returns the name of the constant.
func (o Overflow) String() string { return word([]string{"DropOldest", "DropNewest"}, o) }

// WithMailbox bounds the listener's mailbox to n results, not counting the result that is
// being delivered. Dropped results are counted in the [Snapshot]. Results that wait are
// counted when the listener is called, at the end of a call, and at each result of a stream
// or relay; in between, more may wait. Outcomes and reports are
// never dropped. Without this option the mailbox is unbounded and no result is lost. n must
// be positive.
func WithMailbox(n int, overflow Overflow) ListenerOption {
	return listenerOption(func(c *listenerConfig) error {
		c.mailbox, c.overflow = n, overflow
		if overflow > DropNewest {
			return invalidOption("WithMailbox(%d, %v): unknown Overflow", n, overflow)
		}
		return positive("WithMailbox", n)
	})
}

// WithRetain keeps the last n results of the topic for new listeners with [WithRetained].
// It applies to results of calls that are made with this Topic value. If several Topic
// values with the same name have different n, the largest n counts with which a result has
// been recorded so far. The topic keeps results
// that are in time, in the order in which they were recorded, including those of calls in
// flight. A result keeps its call in memory, with all results of the call. The topic
// releases its results when the last registration on it, by name or by a pattern, is
// removed, and at [Bus.Close]. n must be positive.
func WithRetain(n int) TopicOption { return retainOption(n) }

type retainOption int

func (o retainOption) applyTopic(s *topicSpec) error {
	s.options().retain = int(o)
	return positive("WithRetain", int(o))
}

// WithRetained first calls the listener with the results that its topics retain, see
// [WithRetain]: the last results of each topic in order, with [Result.Retained] set. The
// results that are recorded after the registration of the listener follow. No result in
// between is missing, and none is delivered twice. Retained results wait in the listener's
// mailbox like all results, so [WithMailbox] and [WithConcurrency] apply to them. If a
// listener sends a request while it is called with the result of a call that has ended, the
// request needs a place under [WithMaxInFlight]. OnOutcome and OnDone are called only for
// events after the registration.
func WithRetained() ListenerOption {
	return listenerOption(func(c *listenerConfig) error {
		c.retained = true
		return nil
	})
}

// WithMaxInFlight bounds the calls in flight on the bus. A call occupies a place until it
// has ended and its last result has reached every listener. So a slow listener delays
// senders. [Dispatcher.Send] waits for a place until its context ends, and then returns
// [ErrOverloaded]. If a Send waits for longer than [WithSlowListener], the bus logs this
// once, with the listener that occupies most places.
//
// Calls that producers or listeners send with their own context are not counted, to avoid
// deadlock. The outer call must be on the same bus, and must not have ended, or one of its
// producers or listeners must still run. In a listener, do not wait for a place
// with any other context: all places may belong to calls whose results wait for that
// listener. Use [WithNoWait] or another goroutine instead. OnOutcome and OnDone hooks may
// send: if a Send begins to wait while such a hook runs, calls do not occupy places for the
// hook's listener until the hook has returned. n must be positive.
func WithMaxInFlight(n int) BusOption {
	return busOption(func(c *busConfig) error {
		c.maxInFlight = n
		return positive("WithMaxInFlight", n)
	})
}

// WithNoWait makes Send return [ErrOverloaded] at once if it would have to wait under
// [WithMaxInFlight].
func WithNoWait() CallOption {
	return callOption(func(p *policy) error {
		p.noWait = true
		return nil
	})
}

// WithGroup makes the producer a replica. All producers of a topic with the same group are
// replicas of one member. Each call asks the least busy replica; ties are broken
// round-robin. If that replica ends without an answer, the call asks the next replica;
// under [WithHedge] also if that replica takes too long. Replicas that were never asked
// have no outcome. The group's name must not be empty.
func WithGroup(group string) ProducerOption {
	return producerOption(func(c *producerConfig) error {
		c.group = group
		return notEmpty("WithGroup", group)
	})
}

// WithSemaphore makes each run of the producer hold a weight of 1 of s. Several
// registrations can share s, for example one instrument with many topics. A run waits for s
// until its context ends.
func WithSemaphore(s *semaphore.Weighted) ProducerOption {
	return producerOption(func(c *producerConfig) error {
		c.shared = s
		return notNil("WithSemaphore", s != nil)
	})
}

// OnOutcome calls f when a member of a call ends, after the results of the member. f runs at
// the same time as another callback of the listener only under [WithConcurrency]. For members
// that have not ended when the call ends, f is called at the end of the call. f may send
// requests, even under [WithMaxInFlight].
func OnOutcome(f func(Outcome)) ListenerOption {
	return listenerOption(func(c *listenerConfig) error {
		c.onOutcome = f
		return notNil("OnOutcome", f != nil)
	})
}

// OnDone calls f once for each call that ends while the listener is registered, after all
// results and outcomes of the call. f runs at the same time as another callback of the
// listener, for another call, only under [WithConcurrency]. f may send requests, even under
// [WithMaxInFlight].
func OnDone(f func(Report)) ListenerOption {
	return listenerOption(func(c *listenerConfig) error {
		c.onDone = f
		return notNil("OnDone", f != nil)
	})
}

func positive[N int | time.Duration](option string, n N) error {
	if n > 0 {
		return nil
	}
	return invalidOption("%s(%v): must be positive", option, n)
}

func notNil(option string, set bool) error {
	if set {
		return nil
	}
	return invalidOption("%s(nil)", option)
}

func notEmpty(option, name string) error {
	if name != "" {
		return nil
	}
	return invalidOption("%s: empty name", option)
}
