package dispatch_test

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"golang.org/x/sync/semaphore"

	"github.com/seed-bb4b4d74/dispatch"
)

var (
	firstSeed     = flag.Int("everything.first", 0, "the first seed of TestEverythingAtOnce")
	numberOfSeeds = flag.Int("everything.seeds", 0, "how many seeds TestEverythingAtOnce runs; 0 means as many as take about three seconds")
)

// TestEverythingAtOnce combines, at random, all that a bus can have: producers, streams, groups, a
// relay, listeners of every kind, observers, retained results, bounds, and all options of calls. All
// callbacks may panic, exit, send, cancel, remove registrations and close the bus. The checks, most of
// them in everything_checks_test.go, are about these promises of docs/contract.md:
//
//   - All that are told of a call are told the same, in one order, the end last (8, 26, 27, 56), and
//     the call and its report agree with themselves (4, 8, 16, 18, 25, 50).
//   - Each value is one result or is late once (21). A full mailbox counts what it drops (37).
//   - A listener or observer that comes in the middle is told what happens from then on. If it is
//     drained it is told all until then, and after it has left it is not called (9, 10, 54, 56).
//   - No call keeps a place for nothing, and no sender waits for ever (41, 42).
//   - What must not overlap does not (27, 31).
//   - At rest nothing is left, in counts or in memory (60, 62).
func TestEverythingAtOnce(t *testing.T) {
	n := *numberOfSeeds
	switch {
	case n > 0:
	case raced:
		n = 160
	default:
		n = 1600
	}
	for seed := *firstSeed; seed < *firstSeed+n; seed++ {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) {
			var sent []weak.Pointer[inFlight]
			synctest.Test(t, func(t *testing.T) { sent = everythingAtOnce(t, uint64(seed)) })
			if seed%16 == 0 {
				if kept := reachable(sent, 0); kept > 0 {
					t.Errorf("seed %d: %d of %d calls are still in memory, not 0", seed, kept, len(sent))
				}
			}
		}) {
			t.Fatalf("again: go test -run '^TestEverythingAtOnce$' . -args -everything.first=%d -everything.seeds=1", seed)
		}
	}
}

func everythingAtOnce(t *testing.T, seed uint64) (sent []weak.Pointer[inFlight]) {
	s := newScenario(t, seed)
	s.addProducers()
	s.addRelay()
	s.addWitness()
	for i := range s.below(3) {
		s.addBounded(fmt.Sprint("bounded", i))
	}
	for range s.below(4) {
		s.addVisitor()
	}
	s.addVisitingObserver()
	s.addSenders()
	s.addLeavers()
	s.watch()
	s.comeToRest()
	s.check()
	for _, c := range s.sent.take() {
		sent = append(sent, weak.Make(c))
	}
	return sent
}

// dice is a random source that may be used from anywhere.
type dice struct {
	mu  sync.Mutex
	rnd *rand.Rand
}

func newDice(seed uint64) *dice { return &dice{rnd: rand.New(rand.NewPCG(seed, 77))} }

// fork returns another source. What has a source of its own does not depend on how others are scheduled.
func (d *dice) fork() *dice {
	d.mu.Lock()
	defer d.mu.Unlock()
	return newDice(d.rnd.Uint64())
}

func (d *dice) below(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rnd.IntN(n)
}

func (d *dice) oneIn(n int) bool { return d.below(n) == 0 }

// All happens at multiples of a step, see stay.
const step = 10 * time.Millisecond

func (d *dice) steps(n int) time.Duration { return time.Duration(d.below(n)) * step }

func oneOf[T any](d *dice, all ...T) T { return all[d.below(len(all))] }

// odds is an option that is chosen one time in so many.
type odds[Option any] struct {
	oneIn  int
	option Option
}

func some[Option any](d *dice, of []odds[Option]) (chosen []Option) {
	for _, o := range of {
		if d.oneIn(o.oneIn) {
			chosen = append(chosen, o.option)
		}
	}
	return chosen
}

// scenario is a bus with everything on it.
type scenario struct {
	*dice
	t     *testing.T
	seed  uint64
	d     *dispatcher
	topic dispatch.Topic[int, int]
	quiet bool     // callbacks make no trouble
	names []string // of members, there or not

	tasks     sync.WaitGroup
	sends     atomic.Int64
	moments   atomic.Int64
	closed    atomic.Bool // by force: what was on its way is lost
	removable events[*dispatch.Registration]
	sent      events[*inFlight]
	checks    events[func()] // those at the end

	observed                   bool
	observer, listener, reader accounts
	outcomes, reported         notes // outcomes that the listener was told, one by one and in reports
	dropped                    notes // names of listeners that the observer was told
	values                     values
}

func newScenario(t *testing.T, seed uint64) *scenario {
	s := &scenario{dice: newDice(seed), t: t, seed: seed, topic: ask}
	s.quiet, s.observed = s.oneIn(3), s.oneIn(2)
	if s.oneIn(2) {
		s.topic = dispatch.NewTopic[int, int]("kit.ask", dispatch.WithRetain(1+s.below(4)))
	}
	opts := some(s.dice, []odds[dispatch.BusOption]{
		{1, dispatch.WithMaxAbandoned(1 + s.below(4))},
		{2, dispatch.WithMaxInFlight(1 + s.below(3))},
		{4, dispatch.WithPprofLabels()},
		{3, dispatch.WithObserver(s.meddler())},
	})
	if s.observed {
		opts = append(opts, dispatch.WithObserver(s.witness(&s.observer)))
	}
	s.d, _ = newDispatcher(opts...)
	x := s.trouble()
	s.d.OnLate(func(r result, by time.Duration) {
		if by < 0 || r.Seq != -1 || r.Elapsed < by {
			s.failf("the late value %d has Seq %d, not -1, and Elapsed %v, late by %v", r.Value, r.Seq, r.Elapsed, by)
		}
		s.values.count(&s.values.late, r.Value)
		x.happen(context.Background(), deepest)
	})
	return s
}

func (s *scenario) failf(format string, args ...any) {
	s.t.Helper()
	s.t.Errorf("seed %d: %s", s.seed, fmt.Sprintf(format, args...))
}

// stay returns when something comes and when it leaves, since the start, at moments when nothing else
// happens: all else happens at multiples of a step, or of a step after another such moment.
func (s *scenario) stay() (come, leave time.Duration) {
	moment := func() time.Duration { return s.steps(40) + time.Microsecond<<s.moments.Add(1) }
	come = moment()
	return come, come.Truncate(step) + step + moment()
}

// once makes sure that what must not overlap does not. Without running it may.
func (s *scenario) once(running *atomic.Int32, who string) (leave func()) {
	if running == nil {
		return func() {}
	}
	if n := running.Add(1); n != 1 {
		s.failf("%s runs %d times at once, not once", who, n)
	}
	return func() { running.Add(-1) }
}

// trouble is what the callbacks of one registration do besides their work.
type trouble struct {
	*dice
	s *scenario
}

func (s *scenario) trouble() trouble { return trouble{s.fork(), s} }

// deepest is the depth of calls from which no other one is sent.
const deepest = 2

// happen may do anything that a callback may do, and may not return.
func (x trouble) happen(ctx context.Context, depth int) {
	if !x.s.quiet && x.oneIn(24) {
		runtime.Goexit()
	}
	x.meddle(ctx, depth)
}

// meddle uses the bus or panics, but does not end the goroutine.
func (x trouble) meddle(ctx context.Context, depth int) {
	if x.s.quiet {
		return
	}
	sent := x.s.sent.all()
	switch x.below(24) {
	case 0:
		panic(errBroken)
	case 1:
		panic("trouble")
	case 2:
		_ = x.s.d.Bus().Snapshot()
	case 3:
		if len(sent) > 0 {
			oneOf(x.dice, sent...).Cancel(errBroken)
		}
	case 4:
		info, _ := dispatch.CallFrom(ctx)
		for _, c := range sent {
			if c.ID() == info.ID {
				c.Cancel(nil)
				_ = c.Report().String()
			}
		}
	case 5:
		if all := x.s.removable.all(); len(all) > 0 && x.oneIn(4) {
			oneOf(x.dice, all...).Remove()
		}
	case 6:
		if x.oneIn(40) {
			x.s.close()
		}
	case 7:
		if depth < deepest {
			x.send(ctx, depth+1)
		}
	}
}

// unsteady is a producer that takes its time, fails, declines and makes trouble.
type unsteady struct {
	trouble
	name    string
	deaf    bool
	running *atomic.Int32 // nil if its runs may overlap
}

func (u *unsteady) answer(ctx context.Context, depth int) (int, error) {
	defer u.s.once(u.running, u.name)()
	return u.work(ctx, depth)
}

func (u *unsteady) stream(ctx context.Context, depth int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		defer u.s.once(u.running, u.name)()
		for range u.below(5) {
			if !yield(u.work(ctx, depth)) {
				return
			}
		}
	}
}

func (u *unsteady) work(ctx context.Context, depth int) (int, error) {
	if end, ok := ctx.Deadline(); !ok || ctx.Err() == nil && time.Now().After(end.Add(100*time.Millisecond)) {
		u.s.failf("the context of %s has the deadline %v and goes on at %v", u.name, end, time.Now())
	}
	u.happen(ctx, depth)
	takes := u.steps(40)
	if u.oneIn(4) {
		takes = 0
	}
	if u.deaf {
		time.Sleep(takes)
	} else {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			if u.oneIn(2) {
				return 0, oneOf(u.dice, ctx.Err(), context.Cause(ctx))
			}
		}
	}
	u.happen(ctx, depth)
	switch u.below(8) {
	case 0:
		return 0, errBroken
	case 1:
		return 0, dispatch.ErrDecline
	}
	return u.s.values.next(u.name), nil
}

func (s *scenario) addProducers() {
	s.names = []string{"missing", "n/*", "n/a", "n/g/b", "g0"}
	shared := semaphore.NewWeighted(1)
	for i := range 1 + s.below(6) {
		u := &unsteady{trouble: s.trouble(), name: fmt.Sprint("p", i), deaf: s.oneIn(3)}
		s.names = append(s.names, u.name)
		opts := some(s.dice, []odds[dispatch.ProducerOption]{
			{1, dispatch.WithName(u.name)},
			{2, dispatch.WithTimeout(step + s.steps(20))},
			{5, dispatch.WithSemaphore(shared)},
		})
		if s.oneIn(3) {
			u.running, opts = new(atomic.Int32), append(opts, dispatch.WithConcurrency(1), dispatch.WithMaxQueue(1+s.below(4)))
		}
		if s.oneIn(3) {
			s.removable.add(must(s.d.AddStreamProducer(ask, u.stream, opts...)))
			continue
		}
		if s.oneIn(2) {
			opts = append(opts, dispatch.WithGroup(fmt.Sprint("g", s.below(2))))
		}
		s.removable.add(must(s.d.AddProducer(ask, u.answer, opts...)))
	}
}

func (s *scenario) addRelay() {
	if s.oneIn(2) {
		return
	}
	x := s.trouble()
	all, a, b := dispatch.Member{Node: "n", Name: "*"}, dispatch.Member{Node: "n", Name: "a"}, dispatch.Member{Node: "n", Group: "g", Name: "b"}
	s.removable.add(must(s.d.AddRelay(ask, func(ctx context.Context, depth int, to roster) error {
		if x.oneIn(2) {
			to.Name(a)
			to.Name(b)
		} else {
			to.Expect(all)
			time.Sleep(x.steps(10))
			x.happen(ctx, depth)
			if x.oneIn(2) {
				to.Accept(all, a, b)
			} else {
				to.Answers(all, []dispatch.Answer[int]{
					{From: a, Value: s.values.next("a"), HasValue: true},
					{From: b},
					{From: a, Value: s.values.next("a"), HasValue: true, Ended: x.oneIn(3), Err: oneOf(x.dice, nil, errBroken)},
				})
			}
		}
		time.Sleep(x.steps(10))
		x.happen(ctx, depth)
		for range x.below(8) {
			to.Result(b, s.values.next("b"))
			time.Sleep(x.steps(3))
		}
		to.End(b, oneOf(x.dice, nil, errBroken, dispatch.ErrDecline, dispatch.ErrGone, dispatch.ErrTimeout))
		if x.oneIn(3) {
			return ctx.Err()
		}
		time.Sleep(x.steps(20))
		return nil
	})))
}

// addWitness adds a listener that is there from the beginning and misses nothing.
func (s *scenario) addWitness() {
	x, running := s.trouble(), new(atomic.Int32)
	once := func() func() { return s.once(running, "the witness") }
	listen(s.t, s.d, func(_ context.Context, r result) {
		defer once()()
		s.listener.add(r.Call.ID(), toldResult, resultText(r.Seq, r.From, r.Value, r.Elapsed))
		s.values.count(&s.values.heard, r.Value)
		if x.oneIn(10) {
			time.Sleep(x.steps(5))
		}
		x.happen(context.Background(), deepest)
	}, dispatch.OnOutcome(func(o dispatch.Outcome) {
		defer once()()
		s.outcomes.add("%s", outcomeText(o))
	}), dispatch.OnDone(func(r dispatch.Report) {
		defer once()()
		s.listener.add(r.Call, toldEnd, fullText(r))
		for _, o := range r.Outcomes {
			s.reported.add("%s", outcomeText(o))
		}
		x.inHook()
	}))
}

// inHook is what OnOutcome and OnDone hooks do: they may wait for places.
func (x trouble) inHook() {
	if x.oneIn(10) {
		time.Sleep(x.steps(30))
	}
	if !x.s.quiet && x.oneIn(8) {
		x.send(context.Background(), 1)
	}
	x.happen(context.Background(), deepest)
}

func (x trouble) mailbox(n int) dispatch.ListenerOption {
	return dispatch.WithMailbox(n, oneOf(x.dice, dispatch.DropNewest, dispatch.DropOldest))
}

// addBounded adds a listener that drops results, each of which is counted.
func (s *scenario) addBounded(name string) {
	x, heard, most, width := s.trouble(), new(atomic.Int64), 1+s.below(3), 1+s.below(3)
	opts := some(x.dice, []odds[dispatch.ListenerOption]{
		{1, dispatch.WithName(name)},
		{1, x.mailbox(most)},
		{1, dispatch.WithConcurrency(width)},
		{2, dispatch.OnOutcome(func(dispatch.Outcome) { x.happen(context.Background(), deepest) })},
		{2, dispatch.OnDone(func(dispatch.Report) { x.inHook() })},
	})
	var r *dispatch.Registration
	r = listen(s.t, s.d, func(context.Context, result) {
		heard.Add(1)
		if n := dispatch.Waiting(r); n < 0 || n > most+width {
			s.failf("%d results wait for %s, not 0 to %d", n, name, most+width)
		}
		time.Sleep(x.steps(12))
		x.happen(context.Background(), deepest)
	}, opts...)
	s.checks.add(func() { s.checkBounded(r, int(heard.Load())) })
}

// visitor is a listener that comes in the middle and leaves again.
type visitor struct {
	trouble
	told    accounts
	running *atomic.Int32 // nil if its callbacks may overlap
	depth   int           // of the calls that it sends others from
	left    atomic.Bool
}

func (v *visitor) enter(id dispatch.CallID) (leave func()) {
	if v.left.Load() {
		v.s.failf("call %v: a visitor is called after it has left", id)
	}
	return v.s.once(v.running, "a visitor")
}

func (v *visitor) hear(ctx context.Context, r result) {
	defer v.enter(r.Call.ID())()
	k := toldResult
	if r.Retained {
		k = toldRetained
	}
	v.told.add(r.Call.ID(), k, fmt.Sprintf("%03d", r.Seq))
	time.Sleep(v.steps(8))
	v.happen(ctx, v.depth)
}

func (v *visitor) done(r dispatch.Report) {
	defer v.enter(r.Call)()
	v.told.add(r.Call, toldEnd, fullText(r))
	v.inHook()
}

func (s *scenario) addVisitor() {
	v := &visitor{trouble: s.trouble(), running: new(atomic.Int32), depth: 1}
	opts := []dispatch.ListenerOption{dispatch.OnDone(v.done)}
	bounded, overlaps, drained := s.oneIn(3), s.oneIn(3), s.oneIn(2)
	if bounded {
		opts = append(opts, v.mailbox(1+s.below(3)))
	}
	if overlaps {
		v.running, opts = nil, append(opts, dispatch.WithConcurrency(3))
	}
	if s.oneIn(2) {
		v.depth, opts = deepest, append(opts, dispatch.WithRetained()) // the calls may have ended
	}
	on := oneOf[dispatch.Selector[int, int]](s.dice, ask, dispatch.NewPattern[int, int]("kit.>"), dispatch.AnyOf(ask, other, ask))
	come, leave := s.stay()
	s.tasks.Go(func() {
		time.Sleep(come)
		from := s.recorded()
		r, err := s.d.AddListener(on, v.hear, opts...)
		if err != nil {
			return // the bus is closed
		}
		time.Sleep(leave - come)
		to := s.recorded()
		if drained {
			s.drain(r)
		} else {
			r.Remove()
		}
		v.left.Store(true)
		s.checks.add(func() {
			for id, n := range to {
				all := drained && !bounded && !s.closed.Load()
				s.report(flawsOfVisit(v.told.get(id), from[id], n, all, overlaps), "call %v, a visitor", id)
			}
		})
	})
}

// recorded returns how many results each call has by now.
func (s *scenario) recorded() map[dispatch.CallID]int {
	n := make(map[dispatch.CallID]int)
	for _, c := range s.sent.all() {
		n[c.ID()] = 0
		for _, o := range c.Report().Outcomes {
			n[c.ID()] += o.Results
		}
	}
	return n
}

func (s *scenario) drain(r *dispatch.Registration) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour/2)
	defer cancel()
	if err := r.Drain(ctx); err != nil {
		s.failf("Drain of %s: %v, want nil", r.Name(), err)
	}
}

// witness returns an observer that notes all that it is told.
func (s *scenario) witness(all *accounts) dispatch.Observer {
	return dispatch.Observer{
		CallStart: func(ctx context.Context, c dispatch.CallStarted) context.Context {
			return context.WithValue(ctx, all, c.ID)
		},
		CallEnd: func(ctx context.Context, r dispatch.Report) {
			if ctx.Value(all) != r.Call {
				s.failf("CallEnd of call %v has the context of call %v", r.Call, ctx.Value(all))
			}
			all.add(r.Call, toldEnd, fullText(r))
		},
		MemberEnd: func(_ context.Context, m dispatch.MemberInfo, o dispatch.Outcome) {
			if m.Member != o.Member || m.Elapsed != o.Elapsed {
				s.failf("MemberEnd of call %v is about %v at %v with the outcome %+v", m.ID, m.Member, m.Elapsed, o)
			}
			all.add(m.ID, map[bool]kind{false: toldOutcome, true: toldReplica}[m.Replica], outcomeText(o))
		},
		Result: func(_ context.Context, m dispatch.MemberInfo, r dispatch.ResultInfo) {
			all.add(m.ID, toldResult, resultText(r.Seq, m.Member, r.Value.(int), m.Elapsed))
		},
		Dropped:      func(_ context.Context, l dispatch.ListenerInfo) { s.dropped.add("%s", l.Listener) },
		ReuseReports: s.oneIn(2),
	}
}

// meddler returns an observer whose hooks make trouble.
func (s *scenario) meddler() dispatch.Observer {
	x := s.trouble()
	o := dispatch.Observer{
		CallEnd:   func(ctx context.Context, _ dispatch.Report) { x.happen(ctx, deepest) },
		MemberEnd: func(ctx context.Context, _ dispatch.MemberInfo, _ dispatch.Outcome) { x.happen(ctx, deepest) },
		Late:      func(ctx context.Context, _ dispatch.MemberInfo, _ time.Duration, _ error) { x.happen(ctx, deepest) },
		ListenerStart: func(ctx context.Context, _ dispatch.ListenerInfo) context.Context {
			x.meddle(ctx, deepest)
			return ctx
		},
		MemberStart: func(ctx context.Context, m dispatch.MemberInfo) context.Context {
			if x.oneIn(4) {
				time.Sleep(x.steps(10))
			}
			x.happen(ctx, deepest)
			return context.WithValue(ctx, x, m.Member)
		},
		SampleEnds: s.oneIn(2),
	}
	if s.oneIn(2) {
		o.Sample = func(ctx context.Context) bool { x.meddle(ctx, deepest); return x.oneIn(2) }
	}
	return o
}

// addVisitingObserver adds an observer that comes in the middle, is slow, and leaves again.
func (s *scenario) addVisitingObserver() {
	x, all, left := s.trouble(), new(accounts), new(atomic.Bool)
	o := s.witness(all)
	o.Dropped = nil
	kinds := []kind{toldResult, toldOutcome, toldReplica, toldEnd, toldAfterEnd}
	if x.oneIn(2) {
		o.MemberEnd, o.Result, kinds = nil, nil, kinds[3:]
	}
	noteEnd := o.CallEnd
	o.CallEnd = func(ctx context.Context, r dispatch.Report) {
		if left.Load() {
			s.failf("an observer is told of the end of call %v after it has left", r.Call)
		}
		noteEnd(ctx, r)
		time.Sleep(x.steps(5))
	}
	come, leave := s.stay()
	s.tasks.Go(func() {
		time.Sleep(come)
		before := s.recorded()
		r, err := s.d.Bus().Observe(o)
		if err != nil {
			return
		}
		time.Sleep(leave - come)
		seen := make(map[*inFlight]bool) // and whether they have ended
		for _, c := range s.sent.all() {
			if _, ok := before[c.ID()]; !ok {
				seen[c] = c.Report().Reason != dispatch.ReasonPending
			}
		}
		s.drain(r)
		left.Store(true)
		s.checks.add(func() { s.checkObserverVisit(all, seen, kinds) })
	})
}

func (s *scenario) addSenders() {
	for range 2 + s.below(6) {
		x, when := s.trouble(), s.steps(60)
		s.tasks.Go(func() {
			time.Sleep(when)
			x.send(context.Background(), 0)
		})
	}
}

// addLeavers removes and drains some registrations, and may end the bus in the middle of everything.
func (s *scenario) addLeavers() {
	leave := func(gently func(context.Context) error, atOnce func()) {
		when, within, gentle := s.steps(70), s.steps(50), s.oneIn(2)
		s.tasks.Go(func() {
			time.Sleep(when)
			ctx, cancel := context.WithTimeout(context.Background(), within)
			defer cancel()
			if !gentle || gently(ctx) != nil {
				atOnce()
			}
		})
	}
	for range s.below(3) {
		r := oneOf(s.dice, s.removable.all()...)
		leave(r.Drain, r.Remove)
	}
	if s.oneIn(4) {
		leave(s.d.Shutdown, s.close)
	}
}

func (s *scenario) close() {
	s.closed.Store(true)
	s.d.Close()
}

// mostSends bounds the calls of a scenario, because calls send others.
const mostSends = 40

// send makes a call in one of the ways there are, and may wait for it and read it.
func (x trouble) send(parent context.Context, depth int) {
	if x.s.sends.Add(1) > mostSends {
		return
	}
	ctx, opts := x.contextIn(parent), x.callOptions()
	switch x.below(6) {
	case 0:
		_, _ = x.s.d.Gather(ctx, x.s.topic, depth, opts...)
	case 1:
		_, _ = x.s.d.First(ctx, x.s.topic, depth, opts...)
	case 2:
		next, leave := 0, x.below(10)
		for r, err := range x.s.d.Stream(ctx, x.s.topic, depth, opts...) {
			if err == nil && r.Seq != next {
				x.s.failf("call %v: Stream yields the result %d, not %d", r.Call.ID(), r.Seq, next)
			}
			if next++; next > leave {
				break
			}
		}
	default:
		if c, err := x.s.d.Send(ctx, x.s.topic, depth, opts...); err == nil {
			x.s.sent.add(c)
			x.read(ctx, c)
		}
	}
}

func (x trouble) read(ctx context.Context, c *inFlight) {
	if x.oneIn(3) {
		x.s.tasks.Go(func() {
			for r := range c.Results() {
				x.s.reader.add(c.ID(), toldResult, resultText(r.Seq, r.From, r.Value, r.Elapsed))
			}
		})
		x.s.tasks.Go(func() {
			for o := range c.Outcomes() {
				x.s.reader.add(c.ID(), toldOutcome, outcomeText(o))
			}
		})
	}
	if x.oneIn(2) && c.Wait(ctx) == nil && c.Report().Reason == dispatch.ReasonPending {
		x.s.failf("call %v is %v after Wait", c.ID(), dispatch.ReasonPending)
	}
}

// contextIn returns a context in which to send.
func (x trouble) contextIn(parent context.Context) context.Context {
	switch x.below(5) {
	case 0:
		ctx, cancel := context.WithTimeoutCause(parent, x.steps(40)+1, errBroken)
		time.AfterFunc(time.Minute, cancel)
		return ctx
	case 1:
		ctx, cancel := context.WithCancel(parent)
		time.AfterFunc(x.steps(60), cancel)
		return ctx
	case 2:
		return context.WithoutCancel(parent)
	}
	return parent
}

func (x trouble) callOptions() []dispatch.CallOption {
	names := func() (chosen []string) {
		for range 1 + x.below(3) {
			chosen = append(chosen, oneOf(x.dice, x.s.names...))
		}
		return chosen
	}
	return some(x.dice, []odds[dispatch.CallOption]{
		{1, dispatch.WithTimeout(11*step + x.steps(50))},
		{3, dispatch.WithGrace(10 * step)},
		{3, dispatch.WithHedge(step + x.steps(5))},
		{3, dispatch.WithHedgeQuantile(0.5)},
		{5, dispatch.WithMajority()},
		{6, dispatch.WithQuorum(1 + x.below(3))},
		{4, dispatch.WithRequired(names()...)},
		{4, dispatch.WithTargets(names()...)},
		{5, dispatch.WithParallelism(1 + x.below(2))},
		{5, dispatch.WithStagger(step + x.steps(5))},
		{6, dispatch.WithStall(step + x.steps(10))},
		{8, dispatch.WithFailFast()},
		{8, dispatch.WithMinProducers(1 + x.below(8))},
		{9, dispatch.WithNoWait()},
	})
}

// watch looks at the bus now and then, while nothing moves.
func (s *scenario) watch() {
	for range 60 {
		time.Sleep(step + 3137*time.Microsecond)
		synctest.Wait()
		if _, err := dispatch.PlacesKept(s.d.Bus()); err != nil {
			s.failf("after %v: %v", time.Since(s.d.Bus().Snapshot().Started), err)
		}
	}
}

// comeToRest waits until all has ended.
func (s *scenario) comeToRest() {
	time.Sleep(time.Hour)
	if n := s.d.Bus().Snapshot().SendersWaiting; n > 0 {
		s.failf("%d senders wait for ever, not 0", n)
		s.close()
	}
	s.tasks.Wait()
	s.report(leftovers(s.d.Bus().Snapshot()), "at rest")
	if err := dispatch.AtRest(s.d.Bus()); err != nil {
		s.failf("at rest: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := s.d.Shutdown(ctx); err != nil {
		s.failf("Shutdown: %v, want nil", err)
	}
}
