package inbox_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/inbox"
)

// event is one thing that a source has to deliver.
type event struct {
	value  int
	source *source
}

// source is a list of events, all of them results, for one inbox.
type source struct {
	inbox.Links
	to *owner

	mu        sync.Mutex
	name      string
	events    []int // that wait, and are not dropped
	counted   int   // the first of these are counted by the inbox
	queued    bool
	discarded bool
	whole     bool // no event comes any more
	spent     bool // it has been removed from the queue because of that
	released  int
	drops     int // calls of Drop
}

// add gives the source more events and does with its inbox what a call does.
func (s *source) add(values ...int) {
	s.mu.Lock()
	s.events = append(s.events, values...)
	put := !s.queued
	s.queued = true
	s.mu.Unlock()
	switch {
	case !put:
		s.to.Count(s)
	case s.to.Put(s):
		go s.to.Run()
	}
}

func (s *source) Take(n int) (inbox.Task, int, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(n, len(s.events))
	if n == 0 || s.discarded {
		s.queued = false
		return nil, 0, false
	}
	t := &task{source: s, values: s.events[:n]}
	s.events = s.events[n:]
	s.counted = max(0, s.counted-n)
	if !s.to.Single() {
		return t, 0, true // it is put back in any case, and out when it has nothing
	}
	s.queued = len(s.events) > 0
	return t, n, s.queued
}

func (s *source) Fresh() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := len(s.events) - s.counted
	s.counted = len(s.events)
	return fresh
}

func (s *source) Drop(n int, oldest bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drops++
	n = min(n, s.counted)
	if oldest {
		s.to.drop(s.events[:n])
		s.events = s.events[n:]
	} else {
		s.to.drop(s.events[s.counted-n : s.counted])
		s.events = slices.Delete(s.events, s.counted-n, s.counted)
	}
	s.counted -= n
	return n
}

func (s *source) Spent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spent = s.whole && len(s.events) == 0
	s.queued = s.queued && !s.spent
	return s.spent
}

func (s *source) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released++
}

func (s *source) Discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discarded = true
}

// task delivers some events, and goes on behind one that has unwound the stack.
type task struct {
	source *source
	values []int
}

func (t *task) Run() {
	for len(t.values) > 0 {
		v := t.values[0]
		t.values = t.values[1:]
		t.source.to.deliver(event{v, t.source})
	}
}

// owner is an inbox, and records what the inbox delivers and reports.
type owner struct {
	inbox.Inbox
	do func(event) // what it does with each event

	sources []*source // that a test looks at

	mu        sync.Mutex
	delivered []event
	dropped   []int
	active    []bool
	unwound   []any
	stacks    int
	crash     bool
}

func newOwner(c inbox.Config, do func(event)) *owner {
	o := &owner{do: do}
	o.Init(o, c)
	return o
}

func (o *owner) source(name string) *source { return &source{to: o, name: name} }

func (o *owner) deliver(e event) {
	o.mu.Lock()
	o.delivered = append(o.delivered, e)
	o.mu.Unlock()
	if o.do != nil {
		o.do(e)
	}
}

func (o *owner) drop(values []int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dropped = append(o.dropped, values...)
}

func (o *owner) Active(busy bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.active = append(o.active, busy)
}

func (o *owner) Unwound(value any, stack []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.unwound = append(o.unwound, value)
	if len(stack) > 0 {
		o.stacks++
	}
	return !o.crash
}

// told returns the events in the order of their delivery, as in "a1 a2 b1".
func (o *owner) told() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var words []string
	for _, e := range o.delivered {
		words = append(words, fmt.Sprint(e.source.name, e.value))
	}
	return strings.Join(words, " ")
}

func (o *owner) values() (values []int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.delivered {
		values = append(values, e.value)
	}
	return values
}

// atRest fails the test unless nothing is left, and the inbox became busy and idle in turn.
func (o *owner) atRest(t testing.TB) {
	t.Helper()
	synctest.Wait()
	if s := o.Stats(); !o.Idle() || s.Queued != 0 || o.Bounded() && s.Waiting != 0 {
		t.Errorf("idle: %t, %+v", o.Idle(), s)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, busy := range o.active {
		if busy != (i%2 == 0) {
			t.Fatalf("it became busy and idle as %v", o.active)
		}
	}
	if len(o.active)%2 != 0 {
		t.Errorf("it has not become idle: %v", o.active)
	}
}

func from(n, count int) (values []int) {
	for i := range count {
		values = append(values, n+i)
	}
	return values
}

// Preloaded events are delivered before all events that are put later, also if they are more
// than the events of one turn, and also if another source wakes the inbox.
func TestWhatIsPreloadedComesFirst(t *testing.T) {
	for _, c := range []inbox.Config{{}, {Bound: 10_000}, {Bound: 10_000, DropFirst: true}} {
		for _, before := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				o := newOwner(c, nil)
				old, live := o.source("old"), o.source("live")
				old.events, old.queued, old.whole = from(0, 200), true, true
				o.Preload(old)
				synctest.Wait()
				if o.told() != "" || !o.Idle() {
					t.Error("it has begun before it was woken")
				}
				if before {
					live.add(from(200, 100)...)
				}
				if o.Wake() {
					if before {
						t.Error("it has to be run twice")
					}
					go o.Run()
				}
				if !before {
					live.add(from(200, 100)...)
				}
				synctest.Wait()
				if got := o.values(); !slices.Equal(got, from(0, 300)) {
					t.Errorf("%+v: delivered %v", c, got)
				}
				if o.Wake() {
					t.Error("it has to be run when there is nothing")
				}
				live.add(300)
				o.atRest(t)
			})
		}
	}
}

// The oldest that are dropped are those that were preloaded.
func TestAFullInboxDropsWhatIsPreloadedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		o := newOwner(inbox.Config{Bound: 4, DropFirst: true}, func(event) { <-release })
		old, live := o.source("old"), o.source("live")
		old.events, old.queued, old.whole = from(0, 8), true, true
		o.Preload(old)
		if o.Wake() {
			go o.Run()
		}
		synctest.Wait()
		live.add(from(8, 3)...)
		close(release)
		o.atRest(t)
		if got := fmt.Sprint(o.values(), o.dropped); got != "[3 7 8 9 10] [0 1 2 4 5 6]" {
			t.Errorf("delivered and dropped: %v", got)
		}
	})
}

func TestEventsOfASourceKeepTheirOrder(t *testing.T) {
	for _, c := range []inbox.Config{{}, {Bound: 10_000}, {Bound: 10_000, DropFirst: true}} {
		synctest.Test(t, func(t *testing.T) {
			o := newOwner(c, func(event) { time.Sleep(time.Millisecond) })
			sources := []*source{o.source("a"), o.source("b"), o.source("c")}
			sent := make(map[*source][]int)
			for i := range 300 {
				s := sources[i*i%3]
				values := from(len(sent[s]), 1+i%3)
				sent[s] = append(sent[s], values...)
				s.add(values...)
				time.Sleep(time.Duration(i%5) * 500 * time.Microsecond)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			got := make(map[*source][]int)
			for _, e := range o.delivered {
				got[e.source] = append(got[e.source], e.value)
			}
			for s, want := range sent {
				if !slices.Equal(got[s], want) {
					t.Errorf("%s: %v, want %v", s.name, got[s], want)
				}
			}
			o.atRest(t)
		})
	}
}

func TestSourcesComeInTheOrderInWhichTheyWerePut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		o := newOwner(inbox.Config{}, func(e event) { <-hold })
		for _, name := range []string{"a", "b", "c"} {
			o.source(name).add(1, 2)
			synctest.Wait()
		}
		close(hold)
		synctest.Wait()
		if got, want := o.told(), "a1 a2 b1 b2 c1 c2"; got != want {
			t.Errorf("delivered %s, want %s", got, want)
		}
		o.atRest(t)
	})
}

// After 64 events of a source, the next source has its turn.
func TestSourcesTakeTurns(t *testing.T) {
	for _, c := range []inbox.Config{{}, {Bound: 10_000}} {
		synctest.Test(t, func(t *testing.T) {
			const turn = 64
			hold := make(chan struct{})
			o := newOwner(c, func(event) { <-hold })
			first := o.source("first")
			first.add(0)
			synctest.Wait()
			a, b := o.source("a"), o.source("b")
			a.add(from(0, 10*turn)...)
			b.add(from(0, 5*turn/2)...)
			close(hold)
			synctest.Wait()
			run, longest := 0, 0
			var who *source
			left := map[*source]int{a: len(from(0, 10*turn)), b: 5 * turn / 2}
			for _, e := range o.delivered {
				if e.source != who {
					who, run = e.source, 0
				}
				if run++; left[a] > 0 && left[b] > 0 {
					longest = max(longest, run)
				}
				left[e.source]--
			}
			want := turn
			if c.Bound > 0 {
				want = 1 // each is a task of its own
			}
			if longest != want || left[a]+left[b] != 0 {
				t.Errorf("%d events of one source in a row while the other waited, want %d; left: %d and %d", longest, want, left[a], left[b])
			}
			o.atRest(t)
		})
	}
}

// Events that a source gets while it is being delivered do not come before those of other
// sources.
func TestSourceThatGrowsDoesNotStarveOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fast *source
		grown := 0
		o := newOwner(inbox.Config{}, nil)
		o.do = func(e event) {
			if e.source == fast && grown < 10_000 {
				grown++
				fast.add(grown)
			}
		}
		fast = o.source("fast")
		hold := o.source("hold")
		release := make(chan struct{})
		grow := o.do
		o.do = func(e event) {
			if e.source == hold {
				<-release
			}
			grow(e)
		}
		hold.add(0)
		synctest.Wait()
		fast.add(from(0, 64)...)
		other := o.source("other")
		other.add(1)
		close(release)
		synctest.Wait()
		at := slices.IndexFunc(o.delivered, func(e event) bool { return e.source == other })
		if at != 1+64 {
			t.Errorf("the other source was number %d, want to be behind one turn", at)
		}
		o.atRest(t)
	})
}

func TestWidthIsReachedAndNotExceeded(t *testing.T) {
	for _, width := range []int{0, 1, 2, 3, 7} {
		t.Run(fmt.Sprint("width=", width), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var running, most atomic.Int32
				began, last := time.Now(), atomic.Int64{}
				o := newOwner(inbox.Config{Width: int32(width)}, func(event) {
					n := running.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					time.Sleep(time.Second)
					running.Add(-1)
					last.Store(int64(time.Since(began)))
				})
				for i := range 4 {
					o.source(fmt.Sprint(i)).add(from(0, 21)...)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				w := max(1, width)
				if took := time.Duration(last.Load()); int(most.Load()) != w || took != time.Duration((84+w-1)/w)*time.Second {
					t.Errorf("%d at once, in %v", most.Load(), took)
				}
				if o.Single() != (width > 1) {
					t.Errorf("Single = %t", o.Single())
				}
				o.atRest(t)
			})
		})
	}
}

// The dropped results are compared with a list: results in hand do not wait, at most Bound
// results wait, and the oldest or the newest results above the bound are dropped.
func TestBoundIsExact(t *testing.T) {
	for _, dropFirst := range []bool{false, true} {
		for _, width := range []int{1, 2, 3} {
			for _, bound := range []int{1, 2, 5, 17} {
				for _, oneEach := range []bool{false, true} {
					t.Run(fmt.Sprintf("first=%t/width=%d/bound=%d/one=%t", dropFirst, width, bound, oneEach), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { testBound(t, dropFirst, width, bound, oneEach) })
					})
				}
			}
		}
	}
}

func testBound(t *testing.T, dropFirst bool, width, bound int, oneEach bool) {
	release := make(chan struct{})
	o := newOwner(inbox.Config{Width: int32(width), Bound: int32(bound), DropFirst: dropFirst}, func(event) { <-release })
	var waiting, dropped []int
	inHand, started, next := 0, 0, 0
	take := func() {
		for inHand < width && len(waiting) > 0 {
			waiting = waiting[1:]
			inHand++
			started++
		}
	}
	random := rand.New(rand.NewPCG(uint64(width), uint64(bound)))
	only := o.source("only")
	for range 400 {
		if random.IntN(3) > 0 {
			n := random.IntN(bound + 3)
			if oneEach {
				n = 1
			}
			values := from(next, n)
			next += n
			waiting = append(waiting, values...)
			// Results that come at the same time are counted before some of them are taken into
			// the hand.
			if excess := len(waiting) - bound - (width - inHand); excess > 0 && dropFirst {
				dropped = append(dropped, waiting[:excess]...)
				waiting = waiting[excess:]
			} else if excess > 0 {
				dropped = append(dropped, waiting[len(waiting)-excess:]...)
				waiting = waiting[:len(waiting)-excess]
			}
			take()
			if oneEach {
				o.source(fmt.Sprint(next)).add(values...)
			} else if n > 0 {
				only.add(values...)
			}
		} else if inHand > 0 {
			release <- struct{}{}
			inHand--
			take()
		}
		synctest.Wait()
		s := o.Stats()
		if s.Waiting != len(waiting) || s.Dropped != uint64(len(dropped)) || len(o.values()) != started || !slices.Equal(o.dropped, dropped) {
			t.Fatalf("%d wait, want %d; %d dropped, want %d (%v, want %v); %d delivered, want %d", s.Waiting, len(waiting), s.Dropped, len(dropped), o.dropped, dropped, len(o.values()), started)
		}
	}
	close(release)
	o.atRest(t)
	all := slices.Sorted(slices.Values(slices.Concat(o.values(), o.dropped)))
	if !slices.Equal(all, from(0, next)) {
		t.Errorf("%d of %d results were delivered or dropped", len(all), next)
	}
	if !o.Bounded() || !o.Single() {
		t.Error("it says that it is not bounded")
	}
	if width == 1 && !slices.IsSorted(o.values()) {
		t.Errorf("delivered out of order: %v", o.values())
	}
}

// A task that unwinds the stack is run again. Only the event that has unwound the stack is
// lost.
func TestTasksMayUnwindTheStack(t *testing.T) {
	for name, test := range map[string]struct {
		unwind func()
		godebug,
		value string
		stacks bool
	}{
		"panic":                         {func() { panic("boom") }, "", "boom", true},
		"Goexit":                        {runtime.Goexit, "", "<nil>", false},
		"panic during Goexit":           {func() { defer func() { panic("boom") }(); runtime.Goexit() }, "", "boom", true},
		"panic(nil)":                    {func() { panic(nil) }, "", "panic called with nil argument", true},
		"panic(nil) under the old rule": {func() { panic(nil) }, "panicnil=1", "", false},
	} {
		for _, c := range []inbox.Config{{}, {Width: 2}, {Bound: 100}} {
			t.Run(fmt.Sprintf("%s/%+v", name, c), func(t *testing.T) {
				if test.godebug != "" {
					t.Setenv("GODEBUG", test.godebug)
				}
				synctest.Test(t, func(t *testing.T) {
					o := newOwner(c, func(e event) {
						if e.value%3 != 1 {
							test.unwind()
						}
					})
					a, b := o.source("a"), o.source("b")
					a.add(from(0, 9)...)
					b.add(from(0, 9)...)
					synctest.Wait()
					a.add(from(9, 3)...)
					o.atRest(t)
					if got := slices.Sorted(slices.Values(o.values())); len(got) != 21 {
						t.Errorf("delivered %v", got)
					}
					if s := o.Stats(); s.Unwound != 14 || len(o.unwound) != 14 {
						t.Errorf("%d have unwound the stack, and %d were told, want 14", s.Unwound, len(o.unwound))
					}
					for _, v := range o.unwound {
						if !strings.HasPrefix(fmt.Sprint(v), test.value) {
							t.Errorf("the value is %v, want %s", v, test.value)
						}
					}
					if want := map[bool]int{true: 14}[test.stacks]; test.godebug == "" && o.stacks != want {
						t.Errorf("%d stacks, want %d", o.stacks, want)
					}
				})
			})
		}
	}
}

// A panic that is not contained goes on.
func TestPanicIsNotContainedIfTheOwnerSaysSo(t *testing.T) {
	o := newOwner(inbox.Config{}, func(event) { panic("boom") })
	o.crash = true
	s := o.source("a")
	s.events, s.queued = []int{1}, true
	if !o.Put(s) {
		t.Fatal("Run has not to be called")
	}
	defer func() {
		if value := recover(); value != "boom" {
			t.Errorf("recovered %v", value)
		}
	}()
	o.Run()
	t.Error("Run has returned")
}

func TestDiscardDropsWhatWaits(t *testing.T) {
	for _, c := range []inbox.Config{{}, {Width: 2}, {Bound: 100}} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			o := newOwner(c, func(event) { <-release })
			var sources []*source
			for i := range 5 {
				s := o.source(fmt.Sprint(i))
				sources = append(sources, s)
				s.add(1)
				synctest.Wait()
			}
			running := len(o.values())
			o.Discard()
			if s := o.Stats(); s.Waiting != 0 || s.Queued != running || o.Idle() {
				t.Errorf("%+v after Discard, and %d in hand", s, running)
			}
			for i, s := range sources {
				// A source whose task runs would be put back afterwards; a single event is not.
				if s.discarded != (i >= running || !o.Single()) {
					t.Errorf("source %d: discarded %t", i, s.discarded)
				}
			}
			close(release)
			o.atRest(t)
			if got := len(o.values()); got != running {
				t.Errorf("%d events were delivered, want the %d that were in hand", got, running)
			}
			o.source("later").add(1)
			o.atRest(t)
			if got := len(o.values()); got != running+1 {
				t.Error("an inbox does not work any more after Discard")
			}
		})
	}
}

// RunOne runs the first task where it is called, and leaves the others to a goroutine.
func TestRunOneRunsTheFirstTaskHere(t *testing.T) {
	for _, unwinds := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			returned := false
			o := newOwner(inbox.Config{}, nil)
			o.do = func(e event) {
				if e.source.name == "b" {
					<-release
				}
				if unwinds {
					panic("boom")
				}
			}
			a, b := o.source("a"), o.source("b")
			a.events, a.queued = []int{1}, true
			b.events, b.queued = []int{1}, true
			if !o.Put(a) || o.Put(b) {
				t.Error("one runner is wanted")
			}
			o.RunOne()
			returned = true
			if got := o.told(); !strings.HasPrefix(got, "a1") {
				t.Errorf("delivered %s", got)
			}
			synctest.Wait()
			if got := o.told(); got != "a1 b1" || !returned {
				t.Errorf("delivered %s", got)
			}
			close(release)
			o.atRest(t)
		})
	}
	// There may be nothing left to run.
	o := newOwner(inbox.Config{}, nil)
	s := o.source("a")
	s.queued = true
	o.Put(s)
	o.RunOne()
	if !o.Idle() {
		t.Error("it is not idle")
	}
}

// An idle inbox has no goroutine: otherwise the bubble would not end. With many owners and
// senders on real processors, no event is lost or delivered twice.
func TestConcurrentUse(t *testing.T) {
	for _, c := range []inbox.Config{{}, {Width: 3}, {Bound: 5}, {Width: 2, Bound: 5, DropFirst: true}} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			const senders, each = 8, 500
			o := newOwner(c, nil)
			var all sync.WaitGroup
			for i := range senders {
				all.Go(func() {
					s := o.source(fmt.Sprint(i))
					for k := range each {
						s.add(i*each + k)
						if s.to.Stats(); k%50 == 0 {
							runtime.Gosched()
						}
					}
				})
			}
			all.Wait()
			for !o.Idle() {
				runtime.Gosched()
			}
			got := slices.Sorted(slices.Values(slices.Concat(o.values(), o.dropped)))
			if !slices.Equal(got, from(0, senders*each)) {
				t.Errorf("%d events delivered or dropped of %d", len(got), senders*each)
			}
			if c.Bound == 0 && len(o.dropped) > 0 || int(o.Stats().Dropped) != len(o.dropped) {
				t.Errorf("%d dropped, %+v", len(o.dropped), o.Stats())
			}
		})
	}
}

// If it is loosened while a task is in Away, all sources are released, each once: the one
// whose task that is, those that wait, and those that come later.
func TestLoosenReleasesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := make(chan struct{}), make(chan struct{})
		var o *owner
		o = newOwner(inbox.Config{}, func(e event) {
			if e.value == 1 {
				<-first
				o.Away(func() { <-second })
			}
		})
		released := func() string {
			synctest.Wait()
			var list []int
			for _, s := range o.sources {
				s.mu.Lock()
				list = append(list, s.released)
				s.mu.Unlock()
			}
			return fmt.Sprint(list)
		}
		a, b, c, d := o.source("a"), o.source("b"), o.source("c"), o.source("d")
		o.sources = []*source{a, b, c, d}
		a.add(1)
		b.add(2)
		o.Loosen()
		want(t, "not away", released(), "[0 0 0 0]")
		close(first)
		want(t, "away", released(), "[0 0 0 0]")
		o.Loosen()
		want(t, "loosened", released(), "[1 1 0 0]")
		c.add(3)
		want(t, "put while loose", released(), "[1 1 1 0]")
		close(second)
		synctest.Wait()
		d.add(4)
		want(t, "put later", released(), "[1 1 1 0]")
		o.atRest(t)
	})
}

// A source of which nothing more comes leaves the queue when its last result is dropped.
func TestSpentSourcesLeaveTheQueue(t *testing.T) {
	for _, dropFirst := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			o := newOwner(inbox.Config{Bound: 3, DropFirst: dropFirst}, func(event) { <-release })
			o.source("busy").add(0)
			synctest.Wait()
			var sources []*source
			for i := range 100 {
				s := o.source("")
				s.whole = i%2 == 0
				sources = append(sources, s)
				s.add(i)
			}
			spent := 0
			for _, s := range sources {
				if s.spent {
					spent++
				}
			}
			// Of the three that wait one or two are whole.
			if got := o.Stats(); got.Waiting != 3 || got.Queued != 1+100-spent || spent < 48 || spent > 49 {
				t.Errorf("%d are spent: %+v", spent, got)
			}
			close(release)
			synctest.Wait()
			o.atRest(t)
		})
	}
}

func want[T comparable](t *testing.T, what string, got, expected T) {
	t.Helper()
	if got != expected {
		t.Errorf("%s: got %v, want %v", what, got, expected)
	}
}
