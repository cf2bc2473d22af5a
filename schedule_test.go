package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// FuzzSchedule makes schedules out of bytes: who is registered when, what each
// producer and listener does, which calls are sent under which options and what
// ends them. It runs them in virtual time and then checks the books: who was
// asked, what was answered, heard, read, late and reported has to add up.
func FuzzSchedule(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for size := range 120 {
		tape := make([]byte, 20+2*size)
		for i := range tape {
			tape[i] = byte(random.Uint32())
		}
		f.Add(tape)
	}
	f.Fuzz(func(t *testing.T, tape []byte) {
		// A schedule that hangs would hang in silence: virtual time has no timeout.
		watchdog := time.AfterFunc(time.Minute, func() {
			stacks := make([]byte, 1<<20)
			panic(fmt.Sprintf("the schedule hangs:\n%s", stacks[:runtime.Stack(stacks, true)]))
		})
		defer watchdog.Stop()
		synctest.Test(t, func(t *testing.T) {
			s := &schedule{T: t, tape: tape[:min(len(tape), 600)]}
			s.play()
			s.audit()
		})
	})
}

// tick is the unit of a schedule's delays. Many things happen at the same tick.
const tick = time.Millisecond

// schedule is one run and the account of it.
type schedule struct {
	*testing.T
	tape []byte

	d         *dispatcher
	places    int           // of WithMaxInFlight; 0: no limit
	release   chan struct{} // what the deaf wait for
	producers []*part       // in the order of registration
	listeners []*hearer
	calls     []*asked
	closed    atomic.Bool // the bus is closed, and everything has come to rest since
	closing   atomic.Bool // it is closed, or about to be
	cut       bool        // it was closed while calls may have been under way

	mu    sync.Mutex // guards calls, too: producers look there
	runs  map[dispatch.CallID]map[string]*run
	lates map[dispatch.CallID]map[string]int
}

// part is a producer.
type part struct {
	name    string
	kind    int
	d       time.Duration
	reg     *dispatch.Registration
	removed atomic.Bool // and everything has come to rest since
	leaving bool        // removed, or being drained
	running atomic.Int32
}

// run is one time that a producer was asked.
type run struct{ asked, returned int }

// hearer is a listener and what it was called with, by call.
type hearer struct {
	reg     *dispatch.Registration
	d       time.Duration
	panics  int // every how many results; 0: never
	left    atomic.Bool
	leaving bool
	inside  atomic.Int32

	mu    sync.Mutex
	heard map[dispatch.CallID][]result
	told  map[dispatch.CallID][]dispatch.Outcome
	ends  map[dispatch.CallID][]dispatch.Report
}

// asked is a call and what was done with it.
type asked struct {
	c         *inFlight
	members   []string // who was registered
	witnesses []*hearer
	timeout   time.Duration
	quorum    int
	stall     time.Duration
	grace     time.Duration
	failFast  bool
	parallel  int
	canceled  bool // or its context ended
	early     []result
	readEarly chan struct{}
	running   atomic.Int32
}

func (a *asked) String() string {
	return fmt.Sprintf("timeout %v, quorum %d, stall %v, grace %v, fail fast %v, parallelism %d, canceled %v",
		a.timeout, a.quorum, a.stall, a.grace, a.failFast, a.parallel, a.canceled)
}

func (s *schedule) next(n int) int {
	if len(s.tape) == 0 {
		return 0
	}
	b := s.tape[0]
	s.tape = s.tape[1:]
	return int(b) % n
}

func (s *schedule) ticks(n int) time.Duration { return time.Duration(s.next(n)) * tick }

// What producers do.
const (
	isQuick = iota
	isSlow
	isFailing
	isPanicking
	isExiting
	isDeclining
	isLate
	isDeaf
	isSerial
	isAsking
	isYielding
	kinds
)

// mayEndAs says in which states producers of a kind may end by themselves.
var mayEndAs = [kinds][]dispatch.State{
	isQuick:     {dispatch.StateOK},
	isSlow:      {dispatch.StateOK},
	isFailing:   {dispatch.StateFailed},
	isPanicking: {dispatch.StatePanicked},
	isExiting:   {dispatch.StateFailed},
	isDeclining: {dispatch.StateDeclined},
	isLate:      {dispatch.StateOK},
	isDeaf:      {dispatch.StateOK},
	isSerial:    {dispatch.StateOK},
	isAsking:    {dispatch.StateOK, dispatch.StateFailed},
	isYielding:  {dispatch.StateOK},
}

func (s *schedule) play() {
	s.release = make(chan struct{})
	s.runs = map[dispatch.CallID]map[string]*run{}
	s.lates = map[dispatch.CallID]map[string]int{}
	opts := []dispatch.BusOption{dispatch.WithLogger(slog.New(slog.DiscardHandler)), dispatch.WithTimeout(20 * tick)}
	if n := s.next(8); n > 0 {
		opts = append(opts, dispatch.WithMaxAbandoned(n))
	}
	if s.next(4) == 0 {
		s.places = s.next(6) + 1
		opts = append(opts, dispatch.WithMaxInFlight(s.places))
	}
	s.d = dispatch.New[int, int](opts...)
	s.d.OnLate(s.late)
	if _, err := s.d.AddProducer(other, slow(tick, 1)); err != nil {
		s.Fatal(err)
	}
	for range s.next(12) {
		s.addProducer()
	}
	for range s.next(4) {
		s.addListener()
	}
	for len(s.tape) > 0 {
		s.act()
	}

	// Now let everything come to its end.
	for _, a := range s.calls {
		<-a.c.Done()
	}
	close(s.release)
	time.Sleep(time.Second)
	synctest.Wait()
	s.probe()
	if err := s.d.Shutdown(context.Background()); err != nil {
		s.Errorf("at rest, Shutdown: %v", err)
	}
	synctest.Wait()
	if snapshot := s.d.Bus().Snapshot(); len(snapshot.Calls)+len(snapshot.Abandoned) > 0 {
		s.Errorf("at rest: calls %v, abandoned %v", snapshot.Calls, snapshot.Abandoned)
	}
}

// probe checks that nothing was lost on the way: no slot of a producer, no place
// of a call.
func (s *schedule) probe() {
	if s.closing.Load() {
		return
	}
	for range s.places {
		if _, err := s.d.Send(context.Background(), other, 0, dispatch.WithNoWait()); err != nil {
			s.Errorf("at rest, of %d places: %v", s.places, err)
		}
	}
	time.Sleep(time.Second)
	synctest.Wait()
	a := &asked{timeout: time.Minute, readEarly: make(chan struct{})}
	if s.transmit(context.Background(), a, dispatch.WithTimeout(a.timeout)); a.c == nil {
		return
	}
	<-a.c.Done()
	time.Sleep(time.Second)
	synctest.Wait()
	r := a.c.Report()
	for _, o := range r.Outcomes {
		switch o.State {
		case dispatch.StateLate, dispatch.StateRejected, dispatch.StateCanceled, dispatch.StateGone:
			s.Errorf("at rest: %s", told(r))
		}
	}
}

func (s *schedule) act() {
	switch action := s.next(32); {
	case action < 14:
		s.send()
	case action < 20:
		time.Sleep(s.ticks(6))
	case action < 22:
		s.addProducer()
	case action < 24:
		s.addListener()
	case action < 26:
		if n := len(s.producers); n > 0 {
			p := s.producers[s.next(n)]
			s.leave(p.reg, &p.removed, &p.leaving)
		}
	case action < 28:
		if n := len(s.listeners); n > 0 {
			h := s.listeners[s.next(n)]
			s.leave(h.reg, &h.left, &h.leaving)
		}
	case action < 30:
		if n := len(s.calls); n > 0 {
			a := s.calls[s.next(n)]
			a.canceled = true
			a.c.Cancel(errBroken)
		}
	case action == 30:
		if s.next(4) == 0 { // else most schedules would be short
			s.close()
		}
	default:
		synctest.Wait()
	}
}

// leave takes a registration away in one of the ways there are.
func (s *schedule) leave(r *dispatch.Registration, left *atomic.Bool, leaving *bool) {
	*leaving = true
	switch s.next(4) {
	case 0:
		ctx, cancel := context.WithTimeout(context.Background(), s.ticks(8))
		defer cancel()
		_ = r.Drain(ctx) // whether there was time enough is not known here
	case 1:
		go r.Remove()
		r.Remove()
	default:
		r.Remove()
	}
	if s.next(2) == 0 {
		// What was in the act of starting has started when all is at rest.
		synctest.Wait()
		left.Store(true)
	}
}

func (s *schedule) close() {
	s.closing.Store(true)
	s.cut = true
	switch s.next(3) {
	case 0:
		ctx, cancel := context.WithTimeout(context.Background(), s.ticks(8))
		defer cancel()
		_ = s.d.Shutdown(ctx)
	case 1:
		go s.d.Close()
		s.d.Close()
	default:
		s.d.Close()
	}
	synctest.Wait()
	s.closed.Store(true)
}

func (s *schedule) addProducer() {
	p := &part{name: fmt.Sprint("p", len(s.producers)), kind: s.next(kinds), d: s.ticks(8)}
	yields := s.next(4)
	opts := []dispatch.ProducerOption{dispatch.WithName(p.name)}
	if p.kind == isSerial {
		opts = append(opts, dispatch.WithConcurrency(1))
	}
	reg, err := s.d.AddProducer(ask, func(ctx context.Context, req int) (int, error) {
		info, ok := dispatch.CallFrom(ctx)
		if !ok || info.Member.Name != p.name || info.Topic != ask.Name() {
			s.Errorf("CallFrom = %+v, %v in %s", info, ok, p.name)
		}
		r := s.begins(info.ID, p)
		if n := p.running.Add(1); n > 1 && p.kind == isSerial {
			s.Errorf("%d runs of a serial producer at once", n)
		}
		defer p.running.Add(-1)
		s.mu.Lock()
		limits := s.calls[req]
		s.mu.Unlock()
		if n := limits.running.Add(1); limits.parallel > 0 && int(n) > limits.parallel {
			s.Errorf("%d members of a call at once, not %d", n, limits.parallel)
		}
		defer limits.running.Add(-1)
		switch p.kind {
		case isSlow, isSerial:
			if _, err := slow(p.d, 0)(ctx, 0); err != nil {
				return 0, err
			}
		case isFailing:
			time.Sleep(p.d)
			return 0, errBroken
		case isPanicking:
			time.Sleep(p.d)
			panic(errBroken)
		case isExiting:
			time.Sleep(p.d)
			runtime.Goexit()
		case isDeclining:
			time.Sleep(p.d)
			return 0, dispatch.ErrDecline
		case isLate:
			time.Sleep(3 * p.d)
		case isDeaf:
			<-s.release
		case isAsking:
			if _, err := s.d.Gather(ctx, other, 0); err != nil {
				return 0, err
			}
		case isYielding:
			for range yields {
				runtime.Gosched()
			}
		}
		s.mu.Lock()
		r.returned++
		s.mu.Unlock()
		return valueOf(req, p.name), nil
	}, opts...)
	if err != nil {
		if !s.closing.Load() || !errors.Is(err, dispatch.ErrClosed) {
			s.Errorf("AddProducer: %v", err)
		}
		return
	}
	p.reg = reg
	s.producers = append(s.producers, p)
}

// valueOf tells by its value which call and which producer a result is of.
func valueOf(req int, name string) int {
	var i int
	fmt.Sscanf(name, "p%d", &i)
	return 1000*req + i
}

func (s *schedule) begins(id dispatch.CallID, p *part) *run {
	if s.closed.Load() {
		s.Errorf("a run of %s began after Close", p.name)
	}
	if p.removed.Load() {
		s.Errorf("a run of %s began after Remove", p.name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs[id] == nil {
		s.runs[id] = map[string]*run{}
	}
	r := s.runs[id][p.name]
	if r == nil {
		r = new(run)
		s.runs[id][p.name] = r
	}
	r.asked++
	return r
}

func (s *schedule) late(r result, by time.Duration) {
	if r.Call.Topic() == other {
		return // of a nested call, which is not in the books
	}
	if s.closed.Load() {
		s.Errorf("OnLate was called after Close")
	}
	if r.Seq != -1 || by < 0 || r.Value != valueOf(r.Call.Request(), r.From.Name) {
		s.Errorf("late by %v: %+v", by, r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lates[r.Call.ID()] == nil {
		s.lates[r.Call.ID()] = map[string]int{}
	}
	s.lates[r.Call.ID()][r.From.Name]++
}

func (s *schedule) addListener() {
	h := &hearer{
		d: s.ticks(3), panics: s.next(5),
		heard: map[dispatch.CallID][]result{}, told: map[dispatch.CallID][]dispatch.Outcome{}, ends: map[dispatch.CallID][]dispatch.Report{},
	}
	inside := func(what string, f func()) {
		if h.left.Load() {
			s.Errorf("%s was called after Remove", what)
		}
		if h.inside.Add(1) > 1 {
			s.Error("two callbacks of one listener at once")
		}
		defer h.inside.Add(-1)
		h.mu.Lock()
		f()
		h.mu.Unlock()
		time.Sleep(h.d)
	}
	reg, err := s.d.AddListener(ask, func(ctx context.Context, r result) {
		if s.closed.Load() {
			s.Error("a listener was called with a result after Close")
		}
		id := r.Call.ID()
		inside("a listener", func() {
			if len(h.ends[id]) > 0 {
				s.Errorf("result %+v came after OnDone", r)
			}
			h.heard[id] = append(h.heard[id], r)
		})
		if h.panics > 0 && r.Seq%h.panics == 0 {
			if h.panics == 1 {
				runtime.Goexit()
			}
			panic(errBroken)
		}
	}, dispatch.OnOutcome(func(o dispatch.Outcome) {
		// An outcome does not say which call it is of. It says when it came.
		inside("OnOutcome", func() { h.told[0] = append(h.told[0], o) })
	}), dispatch.OnDone(func(r dispatch.Report) {
		inside("OnDone", func() { h.ends[r.Call] = append(h.ends[r.Call], r) })
	}))
	if err != nil {
		if !s.closing.Load() || !errors.Is(err, dispatch.ErrClosed) {
			s.Errorf("AddListener: %v", err)
		}
		return
	}
	h.reg = reg
	s.listeners = append(s.listeners, h)
}

func (s *schedule) send() {
	a := &asked{timeout: 20 * tick, readEarly: make(chan struct{})}
	opts := []dispatch.CallOption{dispatch.WithNoWait()} // who plays must not wait
	has := s.next(256)
	if has&1 != 0 {
		a.timeout = s.ticks(12) + tick
		opts = append(opts, dispatch.WithTimeout(a.timeout))
	}
	if has&2 != 0 {
		a.quorum = s.next(6) + 1
		opts = append(opts, dispatch.WithQuorum(a.quorum))
	}
	if has&4 != 0 {
		a.stall = s.ticks(6) + tick
		opts = append(opts, dispatch.WithStall(a.stall))
	}
	if has&(8|16) == 8|16 {
		a.failFast = true
		opts = append(opts, dispatch.WithFailFast())
	}
	if has&32 != 0 {
		a.parallel = s.next(4) + 1
		opts = append(opts, dispatch.WithParallelism(a.parallel))
	}
	if has&64 != 0 {
		opts = append(opts, dispatch.WithStagger(s.ticks(4)+tick))
	}
	if has&(64|128) == 128 && a.timeout > 2*tick {
		a.grace = s.ticks(int(a.timeout/tick)-2) + tick
		opts = append(opts, dispatch.WithGrace(a.grace))
	}
	ctx := context.Background()
	switch s.next(8) {
	case 0:
		a.canceled = true
		canceled, cancel := context.WithCancelCause(ctx)
		time.AfterFunc(s.ticks(10), func() { cancel(errBroken) })
		ctx = canceled
	case 1:
		d := s.ticks(12)
		until, cancel := context.WithTimeout(ctx, d)
		context.AfterFunc(until, cancel)
		ctx = until
		a.timeout = min(a.timeout, d)
	}
	s.transmit(ctx, a, opts...)
}

// transmit sends a request and puts the call into the books.
func (s *schedule) transmit(ctx context.Context, a *asked, opts ...dispatch.CallOption) {
	for _, p := range s.producers {
		if !p.leaving {
			a.members = append(a.members, p.name)
		}
	}
	for _, h := range s.listeners {
		if !h.leaving {
			a.witnesses = append(a.witnesses, h)
		}
	}
	s.mu.Lock()
	s.calls = append(s.calls, a)
	s.mu.Unlock()
	c, err := s.d.Send(ctx, ask, len(s.calls)-1, opts...)
	if err != nil {
		refused := s.places > 0 && errors.Is(err, dispatch.ErrOverloaded)
		if !refused && (!s.closing.Load() || !errors.Is(err, dispatch.ErrClosed)) {
			s.Errorf("Send: %v", err)
		}
		s.mu.Lock()
		s.calls = s.calls[:len(s.calls)-1]
		s.mu.Unlock()
		return
	}
	a.c = c
	go func() {
		defer close(a.readEarly)
		for r := range c.Results() {
			a.early = append(a.early, r)
		}
	}()
}

// audit checks the books.
func (s *schedule) audit() {
	for i, a := range s.calls {
		<-a.readEarly
		r := a.c.Report()
		if problem := s.verdict(a, r); problem != "" {
			s.Errorf("call %d, %v\n\t%s after %v: %s", i, a, told(r), r.Elapsed, problem)
		}
		if problem := s.deliveries(a, r); problem != "" {
			s.Errorf("call %d\n\t%s: %s", i, told(r), problem)
		}
		for _, h := range s.listeners {
			if problem := s.hearing(a, r, h); problem != "" {
				s.Errorf("call %d\n\t%s: %s", i, told(r), problem)
			}
		}
	}
	for i, h := range s.listeners {
		if problem := s.outcomes(h); problem != "" {
			s.Errorf("listener %d: %s", i, problem)
		}
	}
}

// verdict checks that the members are those that were there, that each ended as
// it can, and that the reason fits.
func (s *schedule) verdict(a *asked, r dispatch.Report) string {
	names := make([]string, len(r.Outcomes))
	count := map[dispatch.State]int{}
	var lastResult time.Duration
	for i, o := range r.Outcomes {
		names[i] = o.Member.Name
		count[o.State]++
		if (o.Err == nil) != (o.State == dispatch.StateOK) {
			return fmt.Sprintf("%v is %v with error %v", o.Member, o.State, o.Err)
		}
		if o.Elapsed > r.Elapsed {
			return fmt.Sprintf("%v ended after its call", o.Member)
		}
		if o.State == dispatch.StateOK {
			lastResult = max(lastResult, o.Elapsed)
		}
		var p *part
		for _, p = range s.producers {
			if p.name == o.Member.Name {
				break
			}
		}
		own := slices.Contains(mayEndAs[p.kind], o.State)
		switch o.State {
		case dispatch.StateLate:
			own = r.Reason == dispatch.ReasonDeadline || a.grace > 0
		case dispatch.StateCanceled:
			own = r.Reason != dispatch.ReasonDeadline && r.Reason != dispatch.ReasonAllEnded
		case dispatch.StateRejected:
			own = errors.Is(o.Err, dispatch.ErrStuck) && !o.Started
		case dispatch.StateGone:
			own = p.leaving && !o.Started
		}
		if !own {
			return fmt.Sprintf("%v, of kind %d, is %v", o.Member, p.kind, o.State)
		}
		asked := s.runs[r.Call][o.Member.Name]
		switch times := 0; {
		case asked != nil && asked.asked > 1:
			return fmt.Sprintf("%v was asked %d times", o.Member, asked.asked)
		default:
			if asked != nil {
				times = asked.asked
			}
			if o.Started != (times == 1) {
				return fmt.Sprintf("%v: Started is %v, it was asked %d times", o.Member, o.Started, times)
			}
		}
	}
	if !slices.Equal(names, a.members) {
		return fmt.Sprintf("the members are %v, want %v", names, a.members)
	}
	if r.Elapsed > a.timeout {
		return fmt.Sprintf("it took %v of %v", r.Elapsed, a.timeout)
	}
	failed := count[dispatch.StateFailed] + count[dispatch.StatePanicked] + count[dispatch.StateRejected]
	ok, n := count[dispatch.StateOK], len(r.Outcomes)
	unfinished := count[dispatch.StateCanceled]
	if a.grace == 0 {
		unfinished += count[dispatch.StateLate]
	}
	if a.failFast && failed > 1 || a.failFast && failed == 1 && r.Reason != dispatch.ReasonFailedFast && r.Reason != dispatch.ReasonSatisfied {
		return "it went on after a failure"
	}
	if a.quorum > 0 && ok > a.quorum {
		return "it went on after its quorum"
	}
	if a.quorum > 0 && ok == a.quorum && r.Reason != dispatch.ReasonSatisfied {
		return "its quorum was reached"
	}
	fits := false
	switch r.Reason {
	case dispatch.ReasonAllEnded:
		fits = n > 0 && unfinished == 0 && a.quorum == 0
	case dispatch.ReasonSatisfied:
		fits = a.quorum > 0 && ok == a.quorum
	case dispatch.ReasonQuorumLost:
		fits = a.quorum > 0 && ok+count[dispatch.StateCanceled] < a.quorum
	case dispatch.ReasonFailedFast:
		fits = a.failFast && failed == 1
	case dispatch.ReasonStalled:
		fits = a.stall > 0 && ok > 0 && r.Elapsed == lastResult+a.stall
	case dispatch.ReasonDeadline:
		fits = r.Elapsed == a.timeout && (a.timeout == 0 || count[dispatch.StateLate] > 0)
	case dispatch.ReasonCanceled:
		fits = a.canceled
	case dispatch.ReasonClosed:
		fits = s.cut
	case dispatch.ReasonNoProducers:
		fits = n == 0
	}
	if !fits {
		return "that does not fit its reason"
	}
	return ""
}

// deliveries checks that readers agree with the report, early and late, and that
// a value that came after the end was late once.
func (s *schedule) deliveries(a *asked, r dispatch.Report) string {
	if again := slices.Collect(a.c.Results()); !slices.Equal(again, a.early) {
		return fmt.Sprintf("an early reader got %v, a late one %v", words(a.early), words(again))
	}
	got := map[string]result{}
	for i, res := range a.early {
		if res.Seq != i || res.Call != a.c || res.Value != valueOf(a.c.Request(), res.From.Name) {
			return fmt.Sprintf("result %d is %v of %v, Seq %d", i, res.Value, res.From, res.Seq)
		}
		if i > 0 && res.Elapsed < a.early[i-1].Elapsed {
			return fmt.Sprintf("results out of order: %v", words(a.early))
		}
		if _, twice := got[res.From.Name]; twice {
			return fmt.Sprintf("two results of %v", res.From)
		}
		got[res.From.Name] = res
	}
	for _, o := range r.Outcomes {
		name := o.Member.Name
		res, ok := got[name]
		if ok != (o.State == dispatch.StateOK) || ok && res.Elapsed != o.Elapsed {
			return fmt.Sprintf("%s: result %+v does not fit its outcome", name, res)
		}
		delete(got, name)
		late, answered := s.lates[r.Call][name], 0
		if asked := s.runs[r.Call][name]; asked != nil {
			answered = asked.returned
		}
		want := answered
		if ok {
			want = 0
		}
		if late > want || late < want && !s.cut {
			return fmt.Sprintf("%s answered %d times, is %v and was late %d times", name, answered, o.State, late)
		}
	}
	if len(got) > 0 {
		return fmt.Sprintf("results of strangers: %v", got)
	}
	return ""
}

// hearing checks what a listener got of a call: all of it, in order, if it was
// there all the time; one uninterrupted part if it came or left meanwhile, and
// the beginning if the bus was closed.
func (s *schedule) hearing(a *asked, r dispatch.Report, h *hearer) string {
	heard, ends := h.heard[r.Call], h.ends[r.Call]
	if len(ends) > 1 {
		return fmt.Sprintf("OnDone was called %d times", len(ends))
	}
	if len(ends) == 1 && told(ends[0]) != told(r) {
		return fmt.Sprintf("OnDone was told %s", told(ends[0]))
	}
	if len(heard) > 0 {
		first := heard[0].Seq
		if first+len(heard) > len(a.early) || !slices.Equal(heard, a.early[first:first+len(heard)]) {
			return fmt.Sprintf("a listener got %v, a reader %v", words(heard), words(a.early))
		}
	}
	if !slices.Contains(a.witnesses, h) || h.leaving {
		return ""
	}
	if len(ends) != 1 {
		return "OnDone was not called"
	}
	if len(heard) > 0 && heard[0].Seq != 0 || len(heard) < len(a.early) && !s.cut {
		return fmt.Sprintf("a listener that was there all the time got %v, a reader %v", words(heard), words(a.early))
	}
	return ""
}

// outcomes checks that a listener that was there all the time was told of each
// member of each call once.
func (s *schedule) outcomes(h *hearer) string {
	want := map[string]int{}
	always := !h.leaving
	for _, a := range s.calls {
		always = always && slices.Contains(a.witnesses, h)
		for _, o := range a.c.Report().Outcomes {
			want[fmt.Sprint(o)]++
		}
	}
	for _, o := range h.told[0] {
		if want[fmt.Sprint(o)]--; want[fmt.Sprint(o)] < 0 {
			return fmt.Sprintf("OnOutcome was told %+v, which is in no report, or once too often", o)
		}
	}
	for o, n := range want {
		if n > 0 && always {
			return fmt.Sprintf("OnOutcome was not told %s", o)
		}
	}
	return ""
}

func words(results []result) string {
	var w []string
	for _, r := range results {
		w = append(w, fmt.Sprintf("%d:%v", r.Seq, r.From))
	}
	return strings.Join(w, " ")
}
