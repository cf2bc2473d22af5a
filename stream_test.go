package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// then lets a stream that is at its end do something more.
func (notes *notes) then(p streamer, do func(yield func(int, error) bool)) streamer {
	return func(ctx context.Context, req int) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for v, err := range p(ctx, req) {
				if !yield(v, err) {
					notes.add("left at %d", v)
					return
				}
			}
			do(yield)
		}
	}
}

func TestStreamProducerEnds(t *testing.T) {
	const s = time.Second
	var told notes
	for name, test := range map[string]struct {
		opts    []dispatch.CallOption
		p       streamer
		want    string
		err     error
		results int
		after   time.Duration
	}{
		"with its sequence":  {nil, ticking(s, 1, 2, 3), "all ended: a ok", nil, 3, 3 * s},
		"without results":    {nil, yielding(), "all ended: a ok", nil, 0, 0},
		"with an error":      {nil, told.then(ticking(s, 1, 2), func(yield func(int, error) bool) { yield(3, errBroken) }), "all ended: a failed", errBroken, 2, 2 * s},
		"with a decline":     {nil, told.then(yielding(), func(yield func(int, error) bool) { yield(0, dispatch.ErrDecline) }), "all ended: a declined", dispatch.ErrDecline, 0, 0},
		"with a panic":       {nil, told.then(ticking(s, 1, 2), func(func(int, error) bool) { panic(errBroken) }), "all ended: a panicked", errBroken, 2, 2 * s},
		"with Goexit":        {nil, told.then(ticking(s, 1, 2), func(func(int, error) bool) { runtime.Goexit() }), "all ended: a failed", dispatch.ErrGoexit, 2, 2 * s},
		"at the deadline":    {nil, ticking(2*s, 1, 2, 3), "deadline: a late", context.DeadlineExceeded, 2, 5 * s},
		"in a stall":         {opts(dispatch.WithStall(2 * s)), told.then(ticking(s, 1, 2), func(func(int, error) bool) { time.Sleep(4 * s) }), "stalled: a canceled", dispatch.ErrStalled, 2, 4 * s},
		"with a quorum":      {opts(dispatch.WithQuorum(1)), ticking(s, 1, 2, 3), "satisfied: a ok", nil, 3, 3 * s},
		"quorum lost":        {opts(dispatch.WithQuorum(1)), told.then(yielding(1), func(yield func(int, error) bool) { yield(0, errBroken) }), "quorum lost: a failed", errBroken, 1, 0},
		"failing fast":       {opts(dispatch.WithFailFast()), told.then(yielding(1), func(func(int, error) bool) { panic(errBroken) }), "failed fast: a panicked", errBroken, 1, 0},
		"no sequence at all": {nil, func(context.Context, int) iter.Seq2[int, error] { return nil }, "all ended: a panicked", nil, 0, 0},
		"before it began":    {nil, func(context.Context, int) iter.Seq2[int, error] { panic(errBroken) }, "all ended: a panicked", errBroken, 0, 0},
		"in the grace": {
			opts(dispatch.WithGrace(s)), func(ctx context.Context, _ int) iter.Seq2[int, error] {
				return func(yield func(int, error) bool) {
					yield(1, nil)
					<-ctx.Done()
					yield(0, ctx.Err())
				}
			},
			"all ended: a late", context.DeadlineExceeded, 1, 4 * s,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				addStream(t, d, "a", test.p)
				diary := keepDiary(t, d)
				c := send(t, d, test.opts...)
				var read []int
				for r := range c.Results() {
					if r.Seq != len(read) || r.From != (dispatch.Member{Name: "a"}) || r.Elapsed > test.after {
						t.Errorf("result %+v", r)
					}
					read = append(read, r.Value)
				}
				r := c.Report()
				expect(t, r, test.want)
				o := r.Outcomes[0]
				if o.Results != test.results || len(read) != test.results || r.Elapsed != test.after || o.Elapsed != test.after || !o.Started || o.Tried != 1 {
					t.Errorf("read %v, ended after %v: %+v", read, r.Elapsed, o)
				}
				if !slices.Equal(read, []int{1, 2, 3}[:test.results]) {
					t.Errorf("read %v", read)
				}
				if test.err != nil && !errors.Is(o.Err, test.err) {
					t.Errorf("error %v", o.Err)
				}
				time.Sleep(10 * s)
				synctest.Wait()
				var want []string
				for _, v := range read {
					want = append(want, fmt.Sprintf("result a=%d", v))
				}
				want = append(want, "outcome a "+o.State.String(), "done "+r.Reason.String())
				if diff := cmp.Diff(want, diary.all()); diff != "" {
					t.Errorf("the listener was told (-want +got):\n%s", diff)
				}
				sameReport(t, r, c.Report())
			})
		})
	}
}

// Results are there as they are yielded, not at the end of the sequence.
func TestStreamResultsComeAsTheyAreYielded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		step := make(chan struct{})
		addStream(t, d, "a", func(context.Context, int) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				for i := 0; yield(i, nil); i++ {
					<-step
				}
			}
		})
		diary := keepDiary(t, d)
		c := send(t, d)
		var read notes
		for range 3 {
			go func() {
				for r := range c.Results() {
					read.add("%d", r.Value)
				}
			}()
		}
		for i := range 40 { // which is more than a page of the log
			synctest.Wait()
			if n, m := len(read.all()), diary.count("result"); n != 3*(i+1) || m != i+1 {
				t.Fatalf("after %d results: %d read, %d listened to", i+1, n, m)
			}
			if o := c.Report().Outcomes[0]; o.State != dispatch.StatePending || o.Results != i+1 {
				t.Fatalf("after %d results: %+v", i+1, o)
			}
			step <- struct{}{}
		}
		c.Cancel(nil)
		close(step)
	})
}

// What a stream does after the end touches nothing but OnLate.
func TestStreamAfterTheEndReachesOnlyOnLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithTimeout(time.Second))
		var after, late notes
		release := make(chan struct{})
		addStream(t, d, "ends", after.then(ticking(600*time.Millisecond, 1, 2, 3), func(func(int, error) bool) { after.add("went on") }))
		addStream(t, d, "goes on", func(context.Context, int) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				defer func() { panic(recover()) }()
				yield(4, nil)
				time.Sleep(1100 * time.Millisecond)
				after.add("yield returns %t", yield(5, nil))
				yield(6, nil) // panics
			}
		})
		addStream(t, d, "deaf", func(context.Context, int) iter.Seq2[int, error] {
			return func(func(int, error) bool) { <-release }
		})
		d.OnLate(func(r result, by time.Duration) { late.add("%v=%d by %v, seq %d", r.From, r.Value, by, r.Seq) })
		diary := keepDiary(t, d)
		c := send(t, d)
		<-c.Done()
		before := c.Report()
		expect(t, before, "deadline: ends late, goes on late, deaf late")
		time.Sleep(5 * time.Second)
		if n := len(d.Bus().Snapshot().Abandoned); n != 1 {
			t.Errorf("%d abandoned runs", n)
		}
		close(release)
		synctest.Wait()
		sameReport(t, before, c.Report())
		if diff := cmp.Diff([]string{"yield returns false", "left at 2"}, after.all()); diff != "" {
			t.Errorf("the producers saw (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"goes on=5 by 100ms, seq -1", "ends=2 by 200ms, seq -1"}, late.all()); diff != "" {
			t.Errorf("OnLate (-want +got):\n%s", diff)
		}
		if diary.count("result") != 2 || diary.count("outcome") != 3 {
			t.Errorf("the listener was told %q", diary.all())
		}
		if logged.count("producer panicked") != 1 || logged.count("outlived") == 0 {
			t.Errorf("logged %.300q", logged.all())
		}
	})
}

// A sequence that never ends is no reason for the call not to.
func TestStreamWithoutEndEndsWithItsCall(t *testing.T) {
	d, _ := newDispatcher()
	left := make(chan struct{})
	addStream(t, d, "a", func(context.Context, int) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			defer close(left)
			for i := 0; yield(i, nil); i++ {
			}
		}
	})
	c := send(t, d, dispatch.WithTimeout(20*time.Millisecond))
	<-c.Done()
	r := c.Report()
	expect(t, r, "deadline: a late")
	<-left
	n := 0
	for r := range c.Results() {
		if r.Value != n || r.Seq != n {
			t.Fatalf("result %d is %+v", n, r)
		}
		n++
	}
	if n != r.Outcomes[0].Results || n != c.Report().Outcomes[0].Results || n == 0 {
		t.Errorf("%d results, %+v", n, r.Outcomes[0])
	}
}

func TestStreamsAmongOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		addStream(t, d, "s", ticking(time.Second, 10, 11, 12))
		produce(t, d, "p", quick(20))
		addStream(t, d, "u", ticking(800*time.Millisecond, 30, 31))
		produce(t, d, "q", slow(2500*time.Millisecond, 40))
		values, err := d.Gather(context.Background(), ask, 0)
		if diff := cmp.Diff([]int{10, 11, 12, 20, 30, 31, 40}, values); diff != "" || err != nil {
			t.Errorf("Gather: %v (-want +got):\n%s", err, diff)
		}
		var arrived []int
		for r, err := range d.Stream(context.Background(), ask, 0) {
			if err != nil {
				t.Error(err)
			}
			arrived = append(arrived, r.Value)
		}
		if diff := cmp.Diff([]int{20, 30, 10, 31, 11, 40, 12}, arrived); diff != "" {
			t.Errorf("Stream (-want +got):\n%s", diff)
		}
		// What counts for a quorum is the member's end.
		c := send(t, d, dispatch.WithQuorum(2))
		<-c.Done()
		r := c.Report()
		expect(t, r, "satisfied: s canceled, p ok, u ok, q canceled")
		if s := outcomeOf(t, r, "s"); r.Elapsed != 1600*time.Millisecond || s.Results != 1 {
			t.Errorf("after %v: %+v", r.Elapsed, s)
		}
		values, err = d.Gather(context.Background(), ask, 0, dispatch.WithQuorum(2))
		if diff := cmp.Diff([]int{10, 20, 30, 31}, values); diff != "" || err != nil {
			t.Errorf("Gather with a quorum: %v (-want +got):\n%s", err, diff)
		}
		time.Sleep(5 * time.Second)
		for _, line := range logged.all() {
			if !strings.Contains(line, "outlived") {
				t.Errorf("logged %s", line)
			}
		}
	})
}

func TestSerialStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		running := 0
		addStream(t, d, "a", func(context.Context, int) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				if running++; running > 1 {
					t.Error("two at once")
				}
				defer func() { running-- }()
				for range 2 {
					if time.Sleep(time.Second); !yield(1, nil) {
						return
					}
				}
			}
		}, dispatch.WithConcurrency(1))
		var calls []*inFlight
		for range 3 {
			calls = append(calls, send(t, d))
			synctest.Wait()
		}
		for i, want := range []string{"all ended: a ok", "all ended: a ok", "deadline: a late"} {
			<-calls[i].Done()
			if expect(t, calls[i].Report(), want); calls[i].Report().Outcomes[0].Results != []int{2, 2, 0}[i] && i < 2 {
				t.Errorf("outcome %+v", calls[i].Report().Outcomes[0])
			}
		}
		time.Sleep(5 * time.Second)
		expect(t, ended(t, d), "all ended: a ok")
	})
}

// On real processors: several streams, several readers and listeners, one order.
func TestStreamsAreSeenInOneOrder(t *testing.T) {
	const streams, each = 5, 300
	d, logged := newDispatcher()
	values := make([]int, each)
	for i := range values {
		values[i] = i
	}
	for i := range streams {
		addStream(t, d, fmt.Sprint(i), yielding(values...))
	}
	var listened [3][]string
	var done sync.WaitGroup
	for i := range listened {
		done.Add(1)
		listen(t, d, func(_ context.Context, r result) {
			listened[i] = append(listened[i], fmt.Sprintf("%d %v=%d", r.Seq, r.From, r.Value))
		}, dispatch.OnDone(func(dispatch.Report) { done.Done() }))
	}
	c := send(t, d, dispatch.WithTimeout(time.Minute))
	var read [3][]string
	for i := range read {
		done.Go(func() {
			for r := range c.Results() {
				read[i] = append(read[i], fmt.Sprintf("%d %v=%d", r.Seq, r.From, r.Value))
			}
		})
	}
	done.Wait()
	if len(read[0]) != streams*each {
		t.Fatalf("%d results", len(read[0]))
	}
	for _, other := range slices.Concat(listened[:], read[1:]) {
		if diff := cmp.Diff(read[0], other); diff != "" {
			t.Fatalf("the orders differ:\n%s", diff)
		}
	}
	next := make(map[string]int)
	for i, line := range read[0] {
		seq, rest, _ := strings.Cut(line, " ")
		from, value, _ := strings.Cut(rest, "=")
		if seq != fmt.Sprint(i) || value != fmt.Sprint(next[from]) {
			t.Fatalf("result %d is %s", i, line)
		}
		next[from]++
	}
	for _, o := range c.Report().Outcomes {
		if o.Results != each || o.State != dispatch.StateOK {
			t.Errorf("outcome %+v", o)
		}
	}
	logged.nothing(t)
}

// Stream lets go of what it has yielded: at no time is more reachable than a page
// of the log and what the reader holds.
func TestStreamLetsGo(t *testing.T) {
	const n = 6000
	topic := dispatch.NewTopic[int, *big]("kit.big")
	add := map[string]func(*dispatch.Dispatcher[int, *big], func() *big) error{
		"stream producer": func(d *dispatch.Dispatcher[int, *big], make func() *big) error {
			_, err := d.AddStreamProducer(topic, func(context.Context, int) iter.Seq2[*big, error] {
				return func(yield func(*big, error) bool) {
					for range n {
						if !yield(make(), nil) {
							return
						}
					}
				}
			})
			return err
		},
		"producers": func(d *dispatch.Dispatcher[int, *big], make func() *big) error {
			for range n {
				if _, err := d.AddProducer(topic, func(context.Context, int) (*big, error) { return make(), nil }); err != nil {
					return err
				}
			}
			return nil
		},
		"relay": func(d *dispatch.Dispatcher[int, *big], make func() *big) error {
			_, err := d.AddRelay(topic, func(_ context.Context, _ int, to *dispatch.Roster[*big]) error {
				m := dispatch.Member{Node: "far", Name: "a"}
				to.Name(m)
				for range n {
					to.Result(m, make())
				}
				to.End(m, nil)
				return nil
			})
			return err
		},
	}
	for name, add := range add {
		for _, listening := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, listener %t", name, listening), func(t *testing.T) {
				d := quiet[int, *big](dispatch.WithTimeout(time.Minute))
				var mu sync.Mutex
				var made []weak.Pointer[big]
				if err := add(d, func() *big {
					v := new(big)
					mu.Lock()
					defer mu.Unlock()
					made = append(made, weak.Make(v))
					return v
				}); err != nil {
					t.Fatal(err)
				}
				heard := 0
				if listening {
					if _, err := d.AddListener(topic, func(context.Context, dispatch.Result[int, *big]) { heard++ }); err != nil {
						t.Fatal(err)
					}
				}
				yielded := 0
				var c *dispatch.Call[int, *big]
				for r, err := range d.Stream(context.Background(), topic, 0) {
					if err != nil {
						t.Fatal(err)
					}
					c = r.Call
					if yielded++; yielded < n {
						continue
					}
					// All are made, and the call is still in our hands.
					if err := d.Shutdown(context.Background()); err != nil && listening {
						t.Fatal(err)
					}
				}
				kept := reachable(made, 2100)
				if yielded != n || len(made) != n || kept > 2100 {
					t.Errorf("%d results of %d are still reachable", kept, yielded)
				}
				runtime.KeepAlive(c)
			})
		}
	}
}

// A Stream that has waited for its producers lets go of what it has yielded, too.
func TestStreamThatWaitedLetsGo(t *testing.T) {
	topic := dispatch.NewTopic[int, *big]("kit.big")
	const n = 6000
	d := dispatch.New[int, *big](dispatch.WithTimeout(time.Minute))
	var mu sync.Mutex
	var made []weak.Pointer[big]
	go func() {
		for range n {
			d.AddProducer(topic, func(context.Context, int) (*big, error) {
				v := new(big)
				mu.Lock()
				defer mu.Unlock()
				made = append(made, weak.Make(v))
				return v, nil
			})
		}
	}()
	var c *dispatch.Call[int, *big]
	yielded := 0
	for r, err := range d.Stream(context.Background(), topic, 0, dispatch.WithMinProducers(n)) {
		if err != nil {
			t.Fatal(err)
		}
		c = r.Call
		yielded++
	}
	kept := reachable(made, 2100)
	if kept > 2100 {
		t.Errorf("%d results of %d are still reachable", kept, yielded)
	}
	runtime.KeepAlive(c)
}

// A listener that has left must not hold what came after it.
func TestStreamLetsGoAfterAListenerLeft(t *testing.T) {
	topic := dispatch.NewTopic[int, *big]("kit.big")
	const n = 6000
	d := dispatch.New[int, *big](dispatch.WithTimeout(time.Minute))
	var made []weak.Pointer[big]
	d.AddStreamProducer(topic, func(context.Context, int) iter.Seq2[*big, error] {
		return func(yield func(*big, error) bool) {
			for range n {
				v := new(big)
				made = append(made, weak.Make(v))
				if !yield(v, nil) {
					return
				}
			}
		}
	})
	l, _ := d.AddListener(topic, func(context.Context, dispatch.Result[int, *big]) {})
	i, kept := 0, 0
	for r, err := range d.Stream(context.Background(), topic, 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch i++; i {
		case 10:
			l.Remove()
		case n:
			for len(made) < n || r.Call.Report().Reason == dispatch.ReasonPending {
				runtime.Gosched()
			}
			kept = reachable(made, 2100)
			runtime.KeepAlive(r)
		}
	}
	if kept > 2100 {
		t.Errorf("%d results of %d are still reachable", kept, i)
	}
}

// An observer that is told nothing but the ends of calls keeps no results while it is behind.
func TestStreamLetsGoOfWhatAnObserverDoesNotWant(t *testing.T) {
	topic := dispatch.NewTopic[int, *big]("kit.big")
	const n = 6000
	release := make(chan struct{})
	d := dispatch.New[int, *big](dispatch.WithTimeout(time.Minute), dispatch.WithObserver(dispatch.Observer{
		CallEnd: func(context.Context, dispatch.Report) { <-release },
	}))
	var made []weak.Pointer[big]
	d.AddStreamProducer(topic, func(_ context.Context, few int) iter.Seq2[*big, error] {
		return func(yield func(*big, error) bool) {
			for range n - few {
				v := new(big)
				made = append(made, weak.Make(v))
				if !yield(v, nil) {
					return
				}
			}
		}
	})
	if _, err := d.Gather(context.Background(), topic, n); err != nil { // the observer is busy with its end
		t.Fatal(err)
	}
	i, kept := 0, 0
	for r, err := range d.Stream(context.Background(), topic, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if i++; i == n {
			for len(made) < n || r.Call.Report().Reason == dispatch.ReasonPending {
				runtime.Gosched()
			}
			kept = reachable(made, 2100)
			runtime.KeepAlive(r)
		}
	}
	if kept > 2100 {
		t.Errorf("%d of %d results are kept", kept, n)
	}
	close(release)
}
