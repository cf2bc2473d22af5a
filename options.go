package dispatch

import (
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/seed-bb4b4d74/dispatch/internal/course"
)

// Each kind of option
// is accepted in its own places only, and an option in the wrong place does not
// compile. If an option is given more than once, the last one
// wins.

// A BusOption is accepted by [NewBus] and [New]. Every CallOption is one too,
// and is then the default of every call on the bus.
type BusOption interface{ applyBus(*busConfig) error }

// A TopicOption is accepted by [NewTopic] and [ParseTopic]. Every CallOption is one too,
// and is then the default of every call of the topic.
type TopicOption interface{ applyTopic(*topicSpec) error }

// A CallOption is accepted by the methods that make a call, where it counts for
// that call; by [NewTopic], for all calls of the topic; and by [NewBus], for all
// calls on the bus. The call's own option overrides the topic's, and the topic's
// the bus's; [WithDefaults] takes back what they have set.
type CallOption interface {
	BusOption
	TopicOption
	applyCall(*policy) error
}

// A ProducerOption is accepted where a producer is added.
type ProducerOption interface{ applyProducer(*producerConfig) error }

// A ListenerOption is accepted where a listener is added.
type ListenerOption interface{ applyListener(*listenerConfig) error }

// A RegistrationOption is accepted where a producer or a listener is added.
type RegistrationOption interface {
	ProducerOption
	ListenerOption
}

// DefaultTimeout is how long a call lasts at most if neither an option nor the
// context says otherwise.
const DefaultTimeout = 5 * time.Second

// policy is what the options of a call, its topic and its bus come to.
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

// validate checks what no option can check on its own.
func (p *policy) validate() error {
	if p.Grace >= p.Timeout {
		return invalidOption("WithGrace(%v): must be less than the timeout of %v", p.Grace, p.Timeout)
	}
	return nil
}

func (p *policy) apply(opts []CallOption) error {
	for i, o := range opts {
		if o == nil {
			return invalidOption("nil CallOption at index %d", i)
		}
		if err := o.applyCall(p); err != nil {
			return err
		}
	}
	return nil
}

// callOption is a CallOption, by what it does to a policy.
type callOption func(*policy) error

func (o callOption) applyCall(p *policy) error     { return o(p) }
func (o callOption) applyTopic(s *topicSpec) error { return s.addDefault(o) }
func (o callOption) applyBus(c *busConfig) error   { return o(&c.policy) }

// A TimeoutOption is what [WithTimeout] returns. It is accepted where a call is made and
// where a producer is added.
type TimeoutOption interface {
	CallOption
	ProducerOption
}

// WithTimeout bounds a call, or each run of a producer. d must be positive.
//
// Given to a call, a topic or a bus, it ends the call after d at the latest, and members
// that have not answered are Late. The deadline of the context counts as well; the
// earlier of the two wins. The default is [DefaultTimeout].
//
// Given to a producer, it bounds each of its runs, from the start of the closure; the time
// that a run waits for its turn does not count. After d the member is Late with
// [ErrTimeout], and the call goes on without it. The context of the run ends then, with the
// cause [context.DeadlineExceeded], and its deadline says so. A value that comes later is
// offered to OnLate, and so is the rest of a stream, whose earlier results stay. A replica
// that takes too long counts as one that failed: the next one is asked. Relays cannot have
// this option. A run that goes on counts as abandoned 100 ms after the end of its call, as
// any other does; until it returns it keeps its slot under [WithConcurrency].
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
// [ReasonQuorumLost] once that is impossible. The other members are canceled. Members that
// declined do not count as answers. It takes the place of [WithMajority]. n must be
// positive.
func WithQuorum(n int) CallOption {
	return callOption(func(p *policy) error {
		p.Quorum, p.Majority = n, false
		return positive("WithQuorum", n)
	})
}

// WithMajority is [WithQuorum] with more than half of the members of the call: 2 of 2 or 3,
// 3 of 4 or 5. Members that decline, fail or are gone count among the members; so does a
// name of [WithTargets] or [WithRequired] that no producer has. Relays name members while
// the call goes on, so under this option a call with relays is not satisfied before all of
// them have returned. It takes the place of WithQuorum.
func WithMajority() CallOption {
	return callOption(func(p *policy) error {
		p.Quorum, p.Majority = 0, true
		return nil
	})
}

// WithRequired keeps a call from being satisfied by its quorum before the members of these
// names have ended, in whatever way. Without a quorum a call waits for all members anyway.
// The names are those of [WithTargets]; a name with several members waits for all of them.
// A name that no member has is a member that is Gone, with [ErrUnknownMember]; as long as
// a relay may name it, it is waited for. It does not ask a member that WithTargets leaves
// out. There must be at least one name, and none may be empty.
func WithRequired(names ...string) CallOption {
	names = slices.Clone(names)
	return callOption(func(p *policy) error {
		p.required = names
		return wantNames("WithRequired", names)
	})
}

// WithStall ends the call with [ReasonStalled] if no new result arrives within d of the
// last one. Before the first result only the deadline counts. d must be positive.
func WithStall(d time.Duration) CallOption {
	return callOption(func(p *policy) error {
		p.Stall = d
		return positive("WithStall", d)
	})
}

// WithParallelism runs at most n members of the call at the same time. A member
// that waits for the others is started only while the call goes on. n must be
// positive.
func WithParallelism(n int) CallOption {
	return callOption(func(p *policy) error {
		p.Parallelism = n
		return positive("WithParallelism", n)
	})
}

// WithFailFast ends the call, FailedFast, at the first member that is Failed,
// Panicked or Rejected. The rest are canceled.
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

// WithGrace ends the producers' contexts d before the call, so that producers that
// watch them can hand in what they have. A member that returns its context's
// error in that time is Late. d must be positive and less than the timeout; a
// context deadline sooner than d ends the producers' contexts at once.
func WithGrace(d time.Duration) CallOption {
	return callOption(func(p *policy) error {
		p.Grace = d
		return positive("WithGrace", d)
	})
}

// WithStagger spaces the starts of the members, in the order of registration: the next
// one starts d after the last start, or at once when one ends without an answer. Starts that
// [WithParallelism] has delayed do not accumulate. Under [Dispatcher.First] this is a hedged
// request, as Happy Eyeballs (RFC 8305) opens connections. d must be positive.
func WithStagger(d time.Duration) CallOption {
	return callOption(func(p *policy) error {
		p.Stagger = d
		return positive("WithStagger", d)
	})
}

// WithHedge asks the next replica of a group when no answer has come after d. The one
// before goes on, and the first answer is that of the group. The contexts of the other
// replicas end then, with the cause [ErrSatisfied], and what they have opened with these is
// closed; values that they return are offered to OnLate. No replica is asked that would
// have less than d left. It concerns members made by [WithGroup] only. d must be positive.
func WithHedge(d time.Duration) CallOption {
	return callOption(func(p *policy) error {
		p.Hedge = d
		return positive("WithHedge", d)
	})
}

// WithHedgeQuantile is [WithHedge] with a time that follows the latencies of each group: the
// next replica is asked when no answer has come after the time that this share of the group's
// recent answers has taken at most. With 0.95 about one call in twenty asks a second replica,
// however quick or slow the group is. Dean and Barroso recommend it in "The Tail at Scale"
// (Communications of the ACM 56, 2, 2013).
//
// What has been recent are the last 1,000 to 2,000 answers of the group in calls with this
// option. Each counts from when its first replica was asked, unless that has failed. As long
// as there are fewer than 20 of them, or than 1/(1-quantile), but at most 1,000, there is no
// hedge. If [WithHedge] is given as well, its d counts until then, and after that when the
// quantile is longer. A producer on several topics has the same latencies on all of them.
// The quantile must be greater than 0 and less than 1.
func WithHedgeQuantile(quantile float64) CallOption {
	return callOption(func(p *policy) error {
		p.hedgeQuantile = quantile
		if quantile > 0 && quantile < 1 { // which NaN is not
			return nil
		}
		return invalidOption("WithHedgeQuantile(%v): must be between 0 and 1", quantile)
	})
}

// WithMinProducers lets the call wait, within its deadline, until at least n
// producers are registered on the topic; those are asked. If they do not come, no producer
// is asked and the call ends with [ReasonDeadline] and [ErrTooFewProducers]. Relays and the
// members that they would name are not counted: those elsewhere are waited for by what brings them
// in, such as natsdispatch.Remote.Await. n must be positive.
func WithMinProducers(n int) CallOption {
	return callOption(func(p *policy) error {
		p.minProducers = n
		return positive("WithMinProducers", n)
	})
}

// WithDefaults forgets what has been set before it for the calls that it concerns: given to a
// call, the options of the topic and the bus; given to a topic, those of the bus. Options
// after it count. So it takes back what no other option can, such as [WithFailFast], [WithNoWait],
// [WithTargets] or [WithQuorum]. The timeout is then [DefaultTimeout]. Options that only a bus
// has, such as [WithMaxInFlight], remain.
func WithDefaults() CallOption {
	return callOption(func(p *policy) error {
		*p = defaults()
		return nil
	})
}

// WithTargets asks only the producers of these names. A name is that of a producer, or of a
// group for all its replicas, or what [Member.String] gives for a member in a report:
// group/name, node/name, node/group or node/group/name; node/* stands for all members of a
// node. See [Member.Matches].
//
// A name that no producer has is a member that is Gone, with [ErrUnknownMember]. If that is
// so of all names, the call ends at once, unless a relay may name them. There must be at
// least one name, and none may be empty.
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

// busConfig is what the options of a bus come to.
type busConfig struct {
	policy       policy
	logger       *slog.Logger
	maxAbandoned int
	maxInFlight  int // 0: no limit
	slowListener time.Duration
	panicCrash   bool
	pprofLabels  bool
	observing    []observerOption
}

func newBusConfig(opts []BusOption) (busConfig, error) {
	c := busConfig{
		policy:       defaults(),
		maxAbandoned: 64,
		slowListener: 5 * time.Second,
	}
	for i, o := range opts {
		if o == nil {
			return c, invalidOption("nil BusOption at index %d", i)
		}
		if err := o.applyBus(&c); err != nil {
			return c, err
		}
	}
	return c, c.policy.validate()
}

// WithLogger sets the logger for events that no caller sees: panics of user code
// at level Error; runs that outlive their call and slow listeners at level Warn, each once.
// The stack of a panic is logged once for each registration and minute; further panics are
// logged with their number instead. The default is [slog.Default] at the time of the
// event. The logger runs on a goroutine of its own. If it blocks, nothing waits for it, not
// even [Bus.Shutdown], and when 1,024 records wait further ones are dropped.
func WithLogger(l *slog.Logger) BusOption { return loggerOption{l} }

type loggerOption struct{ logger *slog.Logger }

func (o loggerOption) applyBus(c *busConfig) error {
	if o.logger == nil {
		return invalidOption("WithLogger(nil)")
	}
	c.logger = o.logger
	return nil
}

// WithObserver registers hooks for calls, members, results and listeners of the bus. It may
// be given several times: then the hooks of the first one are called first. See also
// [Bus.Observe].
func WithObserver(o Observer) BusOption { return observerOption{o, caller(1)} }

type observerOption struct {
	hooks Observer
	at    callsite
}

func (o observerOption) applyBus(c *busConfig) error {
	c.observing = append(c.observing, o)
	return nil
}

// WithMaxAbandoned bounds the runs of one producer that outlive their calls: as
// long as there are n of them, the producer is not asked and its members are Rejected with
// [ErrStuck]. The default is 64; n must be positive.
func WithMaxAbandoned(n int) BusOption { return maxAbandonedOption(n) }

type maxAbandonedOption int

func (o maxAbandonedOption) applyBus(c *busConfig) error {
	c.maxAbandoned = int(o)
	return positive("WithMaxAbandoned", int(o))
}

// WithSlowListener sets how long a listener's oldest result may wait, for its turn
// and for the callback to return, before the listener is logged, once. Observers
// and OnLate hooks are logged likewise, and so are senders that wait as long for a place
// under [WithMaxInFlight]. The default is 5 seconds; d must be positive.
func WithSlowListener(d time.Duration) BusOption { return slowListenerOption(d) }

type slowListenerOption time.Duration

func (o slowListenerOption) applyBus(c *busConfig) error {
	c.slowListener = time.Duration(o)
	return positive("WithSlowListener", time.Duration(o))
}

// WithPanicCrash disables panic recovery: a panic in a producer, listener or hook crashes
// the process.
func WithPanicCrash() BusOption { return panicCrashOption{} }

type panicCrashOption struct{}

func (panicCrashOption) applyBus(c *busConfig) error {
	c.panicCrash = true
	return nil
}

// WithPprofLabels gives the goroutines of producers and listeners the pprof labels
// dispatch.topic and dispatch.producer or dispatch.listener while their closures run, so
// that a profile shows which is which; see package [runtime/pprof]. Without this option no
// closure has labels of this package, also in calls that are observed. It costs about half
// a microsecond for each closure.
func WithPprofLabels() BusOption { return pprofLabelsOption{} }

type pprofLabelsOption struct{}

func (pprofLabelsOption) applyBus(c *busConfig) error {
	c.pprofLabels = true
	return nil
}

// registrationConfig is what producers and listeners have in common.
type registrationConfig struct {
	name        string
	concurrency int // 0: the default of the kind
}

// producerConfig is what the options of a producer come to.
type producerConfig struct {
	registrationConfig
	group    string
	timeout  time.Duration // of each run; 0: none
	maxQueue int           // 0: no limit
	shared   *semaphore.Weighted
}

func newProducerConfig(opts []ProducerOption) (producerConfig, error) {
	var c producerConfig
	for i, o := range opts {
		if o == nil {
			return c, invalidOption("nil ProducerOption at index %d", i)
		}
		if err := o.applyProducer(&c); err != nil {
			return c, err
		}
	}
	return c, nil
}

// listenerConfig is what the options of a listener come to.
type listenerConfig struct {
	registrationConfig
	mailbox   mailboxOption
	onOutcome func(Outcome)
	onDone    func(Report)
	retained  bool
}

func newListenerConfig(opts []ListenerOption) (listenerConfig, error) {
	var c listenerConfig
	for i, o := range opts {
		if o == nil {
			return c, invalidOption("nil ListenerOption at index %d", i)
		}
		if err := o.applyListener(&c); err != nil {
			return c, err
		}
	}
	return c, nil
}

// WithName names a producer or listener in reports, logs and snapshots. On one
// topic the names of producers are unique. The name must not be empty. Without
// this option the name is producer-N or listener-N.
func WithName(name string) RegistrationOption { return nameOption(name) }

type nameOption string

func (o nameOption) apply(c *registrationConfig) error {
	if o == "" {
		return invalidOption("WithName: empty name")
	}
	c.name = string(o)
	return nil
}
func (o nameOption) applyProducer(c *producerConfig) error { return o.apply(&c.registrationConfig) }
func (o nameOption) applyListener(c *listenerConfig) error { return o.apply(&c.registrationConfig) }

// WithConcurrency bounds how many calls one producer answers at the same time,
// across all topics of its registration: with 1 it is serial. Calls beyond that
// wait, in order, as long as their deadlines allow. Without this option the
// closure is called concurrently without bound, as an [net/http.Handler] is.
// n must be positive.
//
// The callbacks of a listener with n above 1 may overlap and follow no order; only
// OnDone still comes last.
func WithConcurrency(n int) RegistrationOption { return concurrencyOption(n) }

type concurrencyOption int

func (o concurrencyOption) apply(c *registrationConfig) error {
	c.concurrency = int(o)
	return positive("WithConcurrency", int(o))
}

func (o concurrencyOption) applyProducer(c *producerConfig) error {
	return o.apply(&c.registrationConfig)
}

func (o concurrencyOption) applyListener(c *listenerConfig) error {
	return o.apply(&c.registrationConfig)
}

// WithMaxQueue bounds how many calls wait for a producer under WithConcurrency or
// WithSemaphore: in those beyond n its member is Rejected at once, with
// [ErrQueueFull]. n must be positive, and one of the two must be there.
func WithMaxQueue(n int) ProducerOption { return maxQueueOption(n) }

type maxQueueOption int

func (o maxQueueOption) applyProducer(c *producerConfig) error {
	c.maxQueue = int(o)
	return positive("WithMaxQueue", int(o))
}

// Overflow says which result is dropped when a mailbox is full.
type Overflow uint8

// What a full mailbox drops.
const (
	DropOldest Overflow = iota // the oldest result of the call that is next in line
	DropNewest                 // the result that has just come
)

// String gives the constant's name.
func (o Overflow) String() string { return word([]string{"DropOldest", "DropNewest"}, o) }

// WithMailbox limits the listener's queue to n results, not counting the one being
// delivered. Dropped results are counted in the [Snapshot]. The bound is a count, which is
// brought up to date when the listener is called, at the end of a call, and at each result
// of a stream or relay; between these more results may wait. Outcomes and reports are never
// dropped. Without this option the mailbox is unbounded and no result is lost. n must be
// positive.
func WithMailbox(n int, overflow Overflow) ListenerOption { return mailboxOption{n, overflow} }

type mailboxOption struct {
	n        int
	overflow Overflow
}

func (o mailboxOption) applyListener(c *listenerConfig) error {
	c.mailbox = o
	if o.overflow > DropNewest {
		return invalidOption("WithMailbox(%d, %v): unknown Overflow", o.n, o.overflow)
	}
	return positive("WithMailbox", o.n)
}

// WithRetain keeps the last n results of the topic for listeners that come later and ask for
// them, see [WithRetained]. It concerns the results of calls that are made through this
// handle of the topic. If there are several handles of one name with different n, the largest
// counts. What is kept are results in time, in the order in which they were recorded, also of
// calls that go on. A result keeps its call in memory, with all results of that. All are let
// go of when nothing is registered on the topic any more, neither by name nor by a pattern,
// and at [Bus.Close]. n must be positive.
func WithRetain(n int) TopicOption { return retainOption(n) }

type retainOption int

func (o retainOption) applyTopic(s *topicSpec) error {
	s.retain = int(o)
	return positive("WithRetain", int(o))
}

// WithRetained calls the listener first with the results that its topics retain, see
// [WithRetain]: of each topic the last ones in order, with [Result.Retained] set. Those that
// are recorded after the listener was registered follow: there is no gap between the two, and
// no result comes twice. What is retained waits in the listener's mailbox as all results do,
// so [WithMailbox] and [WithConcurrency] concern it, too. Their calls have ended: what a
// listener sends while it is called with one needs a place under [WithMaxInFlight]. OnOutcome
// and OnDone are called only for what happens from then on.
func WithRetained() ListenerOption { return retainedOption{} }

type retainedOption struct{}

func (retainedOption) applyListener(c *listenerConfig) error {
	c.retained = true
	return nil
}

// WithMaxInFlight bounds the calls in flight on the bus: a call keeps its place until it
// has ended and every listener has come to the last of its results. So a slow listener holds
// back senders. [Dispatcher.Send] waits for a place until its context ends, and then returns
// [ErrOverloaded]. If a Send waits for longer than [WithSlowListener] says, that is logged,
// once, with the listener that keeps most places.
//
// Calls that are sent from producers or listeners, with their contexts, are not counted, to
// avoid deadlock, as long as the outer call is of the same bus and still under way. Do not
// wait for a place in a listener with any other context: all places can be those of calls
// whose results wait for that listener. Use [WithNoWait], or another goroutine. OnOutcome and
// OnDone hooks may send: if a Send begins to wait while one runs, calls do not keep their
// places for its listener until the hook has returned. n must be positive.
func WithMaxInFlight(n int) BusOption { return maxInFlightOption(n) }

type maxInFlightOption int

func (o maxInFlightOption) applyBus(c *busConfig) error {
	c.maxInFlight = int(o)
	return positive("WithMaxInFlight", int(o))
}

// WithNoWait has Send return [ErrOverloaded] at once where [WithMaxInFlight] would
// have it wait.
func WithNoWait() CallOption {
	return callOption(func(p *policy) error {
		p.noWait = true
		return nil
	})
}

// WithGroup makes the producer a replica: all producers of a topic with the same
// group stand in for each other and are one member of a call. Each call asks the least busy
// replica; ties are broken round-robin. If it ends without an answer the next one is asked,
// and under [WithHedge] also when it takes too long. Replicas that were never asked have no
// outcome. The group's name must not be empty.
func WithGroup(group string) ProducerOption { return groupOption(group) }

type groupOption string

func (o groupOption) applyProducer(c *producerConfig) error {
	if o == "" {
		return invalidOption("WithGroup: empty name")
	}
	c.group = string(o)
	return nil
}

// WithSemaphore lets each run of the producer hold a weight of one of s, which
// may be shared by several registrations: one instrument, many topics. A run
// waits for it as long as the deadline of its call allows.
func WithSemaphore(s *semaphore.Weighted) ProducerOption { return semaphoreOption{s} }

type semaphoreOption struct{ weighted *semaphore.Weighted }

func (o semaphoreOption) applyProducer(c *producerConfig) error {
	if o.weighted == nil {
		return invalidOption("WithSemaphore(nil)")
	}
	c.shared = o.weighted
	return nil
}

// OnOutcome calls f when a member of a call ends: after the results of the
// member, in line with the listener's callbacks and never at the same time as
// one of them. Members that have not ended when the call does follow at its end. f may send
// also under [WithMaxInFlight].
func OnOutcome(f func(Outcome)) ListenerOption { return onOutcomeOption{f} }

type onOutcomeOption struct{ f func(Outcome) }

func (o onOutcomeOption) applyListener(c *listenerConfig) error {
	if o.f == nil {
		return invalidOption("OnOutcome(nil)")
	}
	c.onOutcome = o.f
	return nil
}

// OnDone calls f once for each call that ends while the listener is registered, after all
// results and outcomes of the call, and never at the same time as another of the listener's
// callbacks. f may send also under [WithMaxInFlight].
func OnDone(f func(Report)) ListenerOption { return onDoneOption{f} }

type onDoneOption struct{ f func(Report) }

func (o onDoneOption) applyListener(c *listenerConfig) error {
	if o.f == nil {
		return invalidOption("OnDone(nil)")
	}
	c.onDone = o.f
	return nil
}

func positive[N int | time.Duration](option string, n N) error {
	if n > 0 {
		return nil
	}
	return invalidOption("%s(%v): must be positive", option, n)
}
