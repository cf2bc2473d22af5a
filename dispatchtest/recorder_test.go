package dispatchtest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/dispatchtest"
)

// newCell returns a dispatcher with three sites: b answers 1.2 after 200 ms, a
// 1.1 after 300 ms, c fails at once.
func newCell(t testing.TB) *cell {
	t.Helper()
	d := dispatch.New[string, float64]()
	dispatchtest.Produce(t, d, measure, dispatchtest.Slow[string](300*time.Millisecond, 1.1), dispatch.WithName("a"))
	dispatchtest.Produce(t, d, measure, dispatchtest.Slow[string](200*time.Millisecond, 1.2), dispatch.WithName("b"))
	dispatchtest.Produce(t, d, measure, dispatchtest.Failing[string, float64](errors.New("broken")), dispatch.WithName("c"))
	return d
}

func send(t testing.TB, d *cell, opts ...dispatch.CallOption) *dispatch.Call[string, float64] {
	t.Helper()
	call, err := d.Send(t.Context(), measure, "vdd", opts...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return call
}

func TestRecorderRecordsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCell(t)
		rec := dispatchtest.Listen(t, d, measure, dispatch.WithName("recorder"))
		if rec.Name() != "recorder" {
			t.Errorf("the listener is named %q, want recorder", rec.Name())
		}
		rec.Want()
		rec.Want([]float64{}...)
		rec.WantFrom()

		began := time.Now()
		first := send(t, d)
		for n, want := range []time.Duration{0, 200 * time.Millisecond, 300 * time.Millisecond} {
			rec.Wait(n)
			if got := time.Since(began); got != want {
				t.Errorf("Wait(%d) returned after %v, want %v", n, got, want)
			}
		}
		rec.WaitDone(1)
		rec.Want(1.2, 1.1)
		rec.WantInAnyOrder(1.1, 1.2)
		rec.WantFrom("b", "a")

		second := send(t, d)
		rec.WaitDone(2)
		rec.Wait(4)
		rec.Wait(2) // two results have been there since the first call
		rec.Want(1.2, 1.1, 1.2, 1.1)

		var outcomes []string
		for _, o := range rec.Outcomes() {
			outcomes = append(outcomes, o.Member.Name+" "+o.State.String())
		}
		if diff := cmp.Diff([]string{"c failed", "b ok", "a ok", "c failed", "b ok", "a ok"}, outcomes); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
		for i, r := range rec.Results() {
			if want := []*dispatch.Call[string, float64]{first, first, second, second}[i]; r.Call != want || r.Seq != i%2 {
				t.Errorf("result %d is number %d of call %v, want number %d of call %v", i, r.Seq, r.Call.ID(), i%2, want.ID())
			}
		}
		if got := rec.Reports(); len(got) != 2 || got[0].Call != first.ID() || got[1].Call != second.ID() {
			t.Errorf("reports: %v", got)
		}
		dispatchtest.WantStates(t, rec.Reports()[1], map[string]dispatch.State{
			"a": dispatch.StateOK, "b": dispatch.StateOK, "c": dispatch.StateFailed,
		})
	})
}

func TestRecorderGivesCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCell(t)
		rec := dispatchtest.Listen(t, d, measure)
		send(t, d)
		rec.WaitDone(1)
		clear(rec.Results())
		clear(rec.Outcomes())
		clear(rec.Reports())
		rec.WantFrom("b", "a")
		if rec.Outcomes()[0].Member.Name != "c" || rec.Reports()[0].Call != 1 {
			t.Error("what a caller did to its copy has changed what is recorded")
		}
	})
}

func TestRecorderWaitsOutsideABubble(t *testing.T) {
	d := dispatch.New[string, float64]()
	dispatchtest.Produce(t, d, measure, dispatchtest.Answer[string](1.1), dispatch.WithName("a"))
	dispatchtest.Produce(t, d, measure, dispatchtest.Slow[string](time.Millisecond, 1.2), dispatch.WithName("b"))
	rec := dispatchtest.Listen(t, d, measure)
	send(t, d)
	rec.Wait(2)
	rec.WantInAnyOrder(1.2, 1.1)
	rec.WaitDone(1)
	dispatchtest.WantStates(t, rec.Reports()[0], map[string]dispatch.State{"a": dispatch.StateOK, "b": dispatch.StateOK})
}

func TestRecorderCanBeRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCell(t)
		rec := dispatchtest.Listen(t, d, measure)
		send(t, d)
		rec.Wait(1)
		rec.Remove()
		time.Sleep(time.Minute)
		rec.WantFrom("b")
		if n := len(rec.Reports()); n != 0 {
			t.Errorf("%d reports, want none", n)
		}
	})
}

// The recorder has its own hooks, and does not modify the options.
func TestRecorderPutsItsHooksInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCell(t)
		opts := make([]dispatch.ListenerOption, 0, 8)
		opts = append(opts, dispatch.OnDone(func(dispatch.Report) { t.Error("called") }))
		rec := dispatchtest.Listen(t, d, measure, opts...)
		if opts[:2][1] != nil {
			t.Error("Listen has written behind the options")
		}
		send(t, d)
		rec.WaitDone(1)
	})
}

func TestListenLastsAsLongAsTheTest(t *testing.T) {
	d := dispatch.New[string, float64]()
	failed := failures(t, func(t testing.TB) {
		rec := dispatchtest.Listen(t, d, measure)
		send(t, d)
		rec.WaitDone(1) // there is no producer to ask
		if n := len(d.Bus().Snapshot().Topics); n != 1 {
			t.Errorf("%d topics in use, want 1", n)
		}
	})
	if len(failed) > 0 {
		t.Error(failed)
	}
	if topics := d.Bus().Snapshot().Topics; len(topics) != 0 {
		t.Errorf("the listener is still there: %v", topics)
	}
}

func TestListenFailsTheTest(t *testing.T) {
	failed := failures(t, func(t testing.TB) {
		dispatchtest.Listen(t, dispatch.New[string, float64](), dispatch.Topic[string, float64]{})
		t.Errorf("the test went on")
	})
	if len(failed) != 1 || !strings.HasPrefix(failed[0], "fatal: dispatchtest.Listen: ") || !strings.Contains(failed[0], "zero Topic") {
		t.Errorf("the test failed with %q", failed)
	}
}

func TestWaitGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		wait func(*dispatchtest.Recorder[string, float64])
		want string
	}{
		"Wait":     {func(r *dispatchtest.Recorder[string, float64]) { r.Wait(3) }, "fatal: recorder: waited for 3 results, got 2: gave up after 1h0m0s"},
		"WaitDone": {func(r *dispatchtest.Recorder[string, float64]) { r.WaitDone(2) }, "fatal: recorder: waited for 2 ended calls, got 1: gave up after 1h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				failed := failures(t, func(t testing.TB) {
					d := newCell(t)
					rec := dispatchtest.Listen(t, d, measure, dispatch.WithName("recorder"))
					send(t, d)
					c.wait(rec)
					t.Errorf("the test went on")
				})
				if diff := cmp.Diff([]string{c.want}, failed); diff != "" {
					t.Errorf("failures (-want +got):\n%s", diff)
				}
				if took := time.Since(began); took != time.Hour {
					t.Errorf("it took %v, want 1h0m0s", took)
				}
			})
		})
	}
}

// endingTB is a test whose context ends.
type endingTB struct {
	testing.TB
	ctx context.Context
}

func (e endingTB) Context() context.Context { return e.ctx }

func TestWaitEndsWithTheTest(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := failures(t, func(t testing.TB) {
		rec := dispatchtest.Listen(endingTB{t, ctx}, dispatch.New[string, float64](), measure)
		cancel(errors.New("the test is over"))
		rec.Wait(0) // there is nothing to wait for
		rec.Wait(1)
		t.Errorf("the test went on")
	})
	if len(failed) != 1 || !strings.HasSuffix(failed[0], "waited for 1 results, got 0: the test is over") {
		t.Errorf("the test failed with %q", failed)
	}
}

func TestWantFails(t *testing.T) {
	type recorder = *dispatchtest.Recorder[string, float64]
	for name, c := range map[string]struct {
		want func(recorder)
		says []string // texts that the failure contains; none: no failure
	}{
		"too few":              {func(r recorder) { r.Want(1.2) }, []string{"recorder: values of the results (-want +got)", "1.1"}},
		"too many":             {func(r recorder) { r.Want(1.2, 1.1, 1.25) }, []string{"1.25"}},
		"none":                 {func(r recorder) { r.Want() }, []string{"1.2", "1.1"}},
		"another order":        {func(r recorder) { r.Want(1.1, 1.2) }, []string{"1.1"}},
		"in any order":         {func(r recorder) { r.WantInAnyOrder(1.1, 1.2) }, nil},
		"too few, any order":   {func(r recorder) { r.WantInAnyOrder(1.1) }, []string{"recorder: values of the results, in any order (-want +got)", "1.2"}},
		"too many, any order":  {func(r recorder) { r.WantInAnyOrder(1.1, 1.2, 1.1) }, []string{"1.1"}},
		"another, any order":   {func(r recorder) { r.WantInAnyOrder(1.1, 1.25) }, []string{"1.25", "1.2"}},
		"not from them":        {func(r recorder) { r.WantFrom("b", "c") }, []string{"recorder: members that gave the results (-want +got)", `"c"`, `"a"`}},
		"another order of who": {func(r recorder) { r.WantFrom("a", "b") }, []string{`"a"`}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wentOn := false
				failed := failures(t, func(t testing.TB) {
					d := newCell(t)
					rec := dispatchtest.Listen(t, d, measure, dispatch.WithName("recorder"))
					send(t, d)
					rec.WaitDone(1)
					c.want(rec)
					rec.Want(1.2, 1.1) // the comparison has changed nothing
					wentOn = true
				})
				if !wentOn {
					t.Error("the test did not go on")
				}
				if want := min(1, len(c.says)); len(failed) != want {
					t.Fatalf("failures: %q, want %d", failed, want)
				}
				for _, says := range c.says {
					if !strings.Contains(failed[0], says) {
						t.Errorf("the failure does not say %q:\n%s", says, failed[0])
					}
				}
			})
		})
	}
}

// reading has fields that package cmp does not look at by itself.
type reading struct {
	volts float64
	at    *time.Time
	err   error
}

func TestWantLooksAtUnexportedFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topic := dispatch.NewTopic[string, *reading]("cell.reading")
		d := dispatch.New[string, *reading]()
		now, again := time.Now(), time.Now().UTC()
		dispatchtest.Produce(t, d, topic, dispatchtest.Answer[string](&reading{1.2, &now, errors.New("noisy")}))
		failed := failures(t, func(t testing.TB) {
			rec := dispatchtest.Listen(t, d, topic)
			if _, err := d.Gather(t.Context(), topic, "vdd"); err != nil {
				t.Errorf("%v", err)
			}
			rec.WaitDone(1)
			rec.Want(&reading{1.2, &again, errors.New("noisy")})
			rec.WantInAnyOrder(&reading{1.2, &again, errors.New("noisy")})
			rec.Want(&reading{1.3, &again, errors.New("noisy")})
		})
		if len(failed) != 1 || !strings.Contains(failed[0], "volts") {
			t.Errorf("failures: %q", failed)
		}
	})
}
