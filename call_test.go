package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// Each value is where it belongs in the listeners, the readers and the report.
func TestResultSaysWhereItComesFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		delays := []time.Duration{3 * time.Second, 0, 2 * time.Second, time.Second}
		for i, delay := range delays {
			produce(t, d, fmt.Sprint("p", i), slow(delay, 10*i))
		}
		var heard []result
		listen(t, d, func(_ context.Context, r result) { heard = append(heard, r) })
		c := send(t, d)
		read := slices.Collect(c.Results())
		synctest.Wait()
		for seq, i := range []int{1, 3, 2, 0} {
			want := result{Call: c, From: dispatch.Member{Name: fmt.Sprint("p", i)}, Value: 10 * i, Seq: seq, Elapsed: delays[i]}
			if read[seq] != want || heard[seq] != want {
				t.Errorf("result %d: read %+v, heard %+v, want %+v", seq, read[seq], heard[seq], want)
			}
			if o := c.Report().Outcomes[i]; o.Member != want.From || o.Elapsed != delays[i] {
				t.Errorf("the report says %+v", o)
			}
		}
	})
}

func TestResultsOfAnEndedCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		for i := range 5 {
			produce(t, d, fmt.Sprint(i), quick(i))
		}
		produce(t, d, "patient", patient)
		c := send(t, d)
		results := c.Results()
		<-c.Done()
		for range 2 {
			n := 0
			for range results {
				if n++; n == 3 {
					break
				}
			}
			if got := len(slices.Collect(results)); got != 5 || n != 3 {
				t.Errorf("%d, then %d results", n, got)
			}
		}
	})
}

func TestWaitBoundsTheWaitAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", slow(3*time.Second, 1))
		c := send(t, d)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := c.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait = %v", err)
		}
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		if err := c.Wait(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("Wait = %v", err)
		}
		var none context.Context
		if err := c.Wait(none); !errors.Is(err, dispatch.ErrInvalidArgument) {
			t.Errorf("Wait(nil) = %v", err)
		}
		expect(t, c.Report(), "pending: a pending")
		if err := c.Wait(context.Background()); err != nil {
			t.Errorf("Wait = %v", err)
		}
		// Failures are not the wait's, and an end that has come is not waited for.
		if err := c.Wait(gone); err != nil {
			t.Errorf("Wait after the end = %v", err)
		}
		expect(t, c.Report(), "all ended: a ok")
		c.Cancel(errBroken)
		expect(t, c.Report(), "all ended: a ok")
	})
}

// Results that are not read hold up nothing and leak nothing: the bubble ends.
func TestResultsMayBeIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		for i := range 100 {
			produce(t, d, fmt.Sprint(i), quick(i))
		}
		for range 100 {
			send(t, d)
		}
		if err := d.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// A reader that begins before there are enough producers sees all results.
func TestResultsOfACallThatWaitsForProducers(t *testing.T) {
	const n = 20 // more than a log has room for at first
	d, _ := newDispatcher()
	c := send(t, d, dispatch.WithMinProducers(n), dispatch.WithTimeout(time.Minute))
	got := make(chan int)
	for range 4 {
		go func() { got <- len(slices.Collect(c.Results())) }()
	}
	for i := range n {
		produce(t, d, fmt.Sprint(i), quick(i))
	}
	for range 4 {
		if results := <-got; results != n {
			t.Errorf("%d results", results)
		}
	}
}

func TestHugeResultsAreSharedAndLetGoOf(t *testing.T) {
	t.Run("one copy for all listeners", func(t *testing.T) {
		type huge [1 << 16]byte
		const producers, listeners = 8, 100
		topic := dispatch.NewTopic[int, huge]("kit.huge")
		synctest.Test(t, func(t *testing.T) {
			d := quiet[int, huge]()
			release := make(chan struct{})
			for range producers {
				if _, err := d.AddProducer(topic, func(context.Context, int) (v huge, err error) { return v, nil }); err != nil {
					t.Fatal(err)
				}
			}
			var heard atomic.Int32
			for range listeners {
				if _, err := d.AddListener(topic, func(context.Context, dispatch.Result[int, huge]) {
					heard.Add(1)
					<-release
				}); err != nil {
					t.Fatal(err)
				}
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c, err := d.Send(context.Background(), topic, 0)
			if err != nil {
				t.Fatal(err)
			}
			<-c.Done()
			synctest.Wait()
			close(release)
			synctest.Wait()
			runtime.ReadMemStats(&after)
			if got := heard.Load(); got != producers*listeners {
				t.Errorf("%d results delivered", got)
			}
			// Results wait for each listener. One slab of 8 values is 512 KiB;
			// a copy for each listener would be 51 MB.
			if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
				t.Errorf("%d bytes allocated", got)
			}
		})
	})
	t.Run("not kept", func(t *testing.T) {
		topic := dispatch.NewTopic[*big, *big]("kit.big")
		synctest.Test(t, func(t *testing.T) {
			const n = 20
			d := quiet[*big, *big]()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var values [n]weak.Pointer[big]
			for i := range n {
				if _, err := d.AddProducer(topic, func(context.Context, *big) (*big, error) {
					v := new(big)
					values[i] = weak.Make(v)
					return v, nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if _, err := d.AddListener(topic, func(context.Context, dispatch.Result[*big, *big]) { time.Sleep(time.Second) }); err != nil {
					t.Fatal(err)
				}
			}
			d.OnLate(func(dispatch.Result[*big, *big], time.Duration) {})
			// In a function of its own, so that nothing is left on our stack.
			request := func() weak.Pointer[big] {
				req := new(big)
				c, err := d.Send(ctx, topic, req)
				if err != nil {
					t.Fatal(err)
				}
				for range c.Results() {
				}
				return weak.Make(req)
			}()
			time.Sleep(time.Hour)
			synctest.Wait()
			runtime.GC()
			for i, v := range values {
				if v.Value() != nil {
					t.Errorf("result %d is still there", i)
				}
			}
			if request.Value() != nil {
				t.Error("the request is still there")
			}
			runtime.KeepAlive(d)
		})
	})
}

func TestOutcomesComeAsMembersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(10 * time.Second))
		produce(t, d, "slow", slow(3*time.Second, 1))
		produce(t, d, "broken", failing(errBroken))
		produce(t, d, "late", slow(time.Hour, 1))
		produce(t, d, "quick", quick(1))
		addStream(t, d, "stream", func(context.Context, int) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				_ = yield(1, nil) && yield(2, nil)
				time.Sleep(2 * time.Second)
			}
		})

		c := send(t, d)
		began := time.Now()
		var early []dispatch.Outcome
		for o := range c.Outcomes() {
			early = append(early, o)
			// This does not wait, for all results of the member are there.
			missing := o.Results
			for r := range c.Results() {
				if r.From == o.Member {
					missing--
				}
				if missing <= 0 {
					break
				}
			}
			if at := time.Since(began); at != o.Elapsed {
				t.Errorf("%v ended after %v and was told after %v", o.Member, o.Elapsed, at)
			}
		}
		names := []string{}
		for _, o := range early {
			names = append(names, o.Member.Name+" "+o.State.String())
		}
		slices.Sort(names[:2]) // at the same moment
		if want := []string{"broken failed", "quick ok", "stream ok", "slow ok", "late late"}; !slices.Equal(names, want) {
			t.Errorf("outcomes %q, want %q", names, want)
		}

		// Who comes later sees the same, and may leave at any time.
		again := slices.Collect(c.Outcomes())
		if len(again) != len(early) {
			t.Errorf("%d outcomes the second time, want %d", len(again), len(early))
		}
		for n := range early {
			got := 0
			for range c.Outcomes() {
				if got++; got == n+1 {
					break
				}
			}
			if got != n+1 {
				t.Errorf("left after %d outcomes, want %d", got, n+1)
			}
		}
		time.Sleep(time.Hour)
	})
}

func TestOutcomesOfACallWithoutMembers(t *testing.T) {
	d, _ := newDispatcher()
	if all := slices.Collect(send(t, d).Outcomes()); len(all) > 0 {
		t.Errorf("outcomes %v, want none", all)
	}
}

func TestReadersSeeAllResultsAndHoldUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10
		d, _ := newDispatcher()
		for i := range n {
			produce(t, d, fmt.Sprint("p", i), slow(time.Duration(i)*100*time.Millisecond, i))
		}
		c := send(t, d)
		all := func(pause time.Duration) (got []int) {
			for r := range c.Results() {
				if r.Seq != len(got) {
					t.Errorf("Seq %d in place %d", r.Seq, len(got))
				}
				got = append(got, r.Value)
				time.Sleep(pause)
			}
			return got
		}
		var readers sync.WaitGroup
		var quickest, slowest []int
		readers.Go(func() { quickest = all(0) })
		readers.Go(func() { slowest = all(time.Second) })
		readers.Go(func() {
			for r := range c.Results() {
				if r.Value == 3 {
					if at := time.Since(c.Report().Started); at != 300*time.Millisecond {
						t.Errorf("the reader that stops was held up until %v", at)
					}
					break
				}
			}
		})
		<-c.Done()
		if got := c.Report().Elapsed; got != 900*time.Millisecond {
			t.Errorf("the call took %v, so something waited for a reader", got)
		}
		readers.Wait()
		want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
		for who, got := range map[string][]int{"quick": quickest, "slow": slowest, "after the end": all(0), "once more": all(0)} {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s reader (-want +got):\n%s", who, diff)
			}
		}
	})
}

// Without a listener it is the reader alone who has to be told, also if it waits
// before the first result.
func TestReaderAloneIsTold(t *testing.T) {
	onProcessors(t, func(t *testing.T) {
		for _, n := range []int{2, 3, 10, 100} {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				gate := make(chan struct{})
				for i := range n {
					p := quick(i)
					switch i {
					case 0:
						p = deaf(gate, i)
					case n - 1:
						p = patient
					}
					produce(t, d, fmt.Sprint(i), p)
				}
				c := send(t, d)
				var read atomic.Int32
				go func() {
					for range c.Results() {
						read.Add(1)
					}
				}()
				synctest.Wait()
				close(gate)
				synctest.Wait()
				if got := int(read.Load()); got != n-1 {
					t.Errorf("%d of %d results were read while the last one blocks", got, n-1)
				}
				<-c.Done()
			})
		}
	})
}
