package dispatchtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/dispatchtest"
)

var measure = dispatch.NewTopic[string, float64]("cell.measure")

// A meter measures the voltage of one rail. The voltage needs time to settle.
type meter struct {
	rail    string
	settles time.Duration
	volts   float64
}

func (m *meter) Measure(ctx context.Context, rail string) (float64, error) {
	if rail != m.rail {
		return 0, dispatch.ErrDecline
	}
	select {
	case <-time.After(m.settles):
		return m.volts, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// To test a producer, add others with a known behavior.
func TestMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cell := dispatch.New[string, float64](dispatch.WithTimeout(2 * time.Second))
		ours := &meter{rail: "vdd", settles: 300 * time.Millisecond, volts: 1.21}
		dispatchtest.Produce(t, cell, measure, ours.Measure, dispatch.WithName("meter"))
		dispatchtest.Produce(t, cell, measure, dispatchtest.Answer[string](1.19), dispatch.WithName("quick"))
		dispatchtest.Produce(t, cell, measure, dispatchtest.Slow[string](time.Minute, 1.2), dispatch.WithName("slow"))
		heard := dispatchtest.Listen(t, cell, measure)

		call, err := cell.Send(t.Context(), measure, "vdd")
		if err != nil {
			t.Fatal(err)
		}
		heard.Wait(2)
		heard.Want(1.19, 1.21)
		heard.WantFrom("quick", "meter")
		if got := heard.Results()[1].Elapsed; got != ours.settles {
			t.Errorf("the meter took %v, want %v", got, ours.settles)
		}

		heard.WaitDone(1)
		dispatchtest.WantStates(t, call.Report(), map[string]dispatch.State{
			"meter": dispatch.StateOK,
			"quick": dispatch.StateOK,
			"slow":  dispatch.StateLate,
		})
	})
}

// Test a producer whose context ends, and one that has to decline.
func TestMeterWithoutAResult(t *testing.T) {
	for _, c := range []struct {
		name    string
		rail    string
		settles time.Duration
		state   dispatch.State
	}{
		{"in time", "vdd", time.Second, dispatch.StateOK},
		{"too slow", "vdd", time.Minute, dispatch.StateLate},
		{"another rail", "vcc", time.Second, dispatch.StateDeclined},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cell := dispatch.New[string, float64](dispatch.WithTimeout(2 * time.Second))
				ours := &meter{rail: "vdd", settles: c.settles, volts: 1.21}
				dispatchtest.Produce(t, cell, measure, ours.Measure, dispatch.WithName("meter"))
				heard := dispatchtest.Listen(t, cell, measure)

				if _, err := cell.Send(t.Context(), measure, c.rail); err != nil {
					t.Fatal(err)
				}
				heard.WaitDone(1)
				dispatchtest.WantStates(t, heard.Reports()[0], map[string]dispatch.State{"meter": c.state})
			})
		})
	}
}

// An alarm records the members that measured too low a voltage, and the number of calls in
// which a member did not answer.
type alarm struct {
	below      float64
	low        []string
	incomplete int
}

func (a *alarm) Hear(_ context.Context, r dispatch.Result[string, float64]) {
	if r.Value < a.below {
		a.low = append(a.low, r.From.Name)
	}
}

func (a *alarm) Done(r dispatch.Report) {
	if !r.Complete() {
		a.incomplete++
	}
}

// To test a listener, add producers whose results it gets.
func TestAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cell := dispatch.New[string, float64]()
		ours := &alarm{below: 1.15}
		if _, err := cell.AddListener(measure, ours.Hear, dispatch.OnDone(ours.Done)); err != nil {
			t.Fatal(err)
		}
		dispatchtest.Produce(t, cell, measure, dispatchtest.Answer[string](1.2), dispatch.WithName("fine"))
		dispatchtest.Produce(t, cell, measure, dispatchtest.Slow[string](2*time.Second, 1.1), dispatch.WithName("low"))
		dispatchtest.Produce(t, cell, measure, dispatchtest.Slow[string](time.Second, 0.9), dispatch.WithName("lower"))

		if _, err := cell.Gather(t.Context(), measure, "vdd"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if diff := cmp.Diff([]string{"lower", "low"}, ours.low); diff != "" {
			t.Errorf("too low (-want +got):\n%s", diff)
		}
		if ours.incomplete != 0 {
			t.Errorf("%d calls incomplete, want none", ours.incomplete)
		}

		dispatchtest.Produce(t, cell, measure, dispatchtest.Failing[string, float64](errors.New("unplugged")), dispatch.WithName("broken"))
		if _, err := cell.Gather(t.Context(), measure, "vdd"); err == nil {
			t.Error("no error, want that of the broken producer")
		}
		synctest.Wait()
		if ours.incomplete != 1 {
			t.Errorf("%d calls incomplete, want 1", ours.incomplete)
		}
	})
}

// Test how a program handles an instrument that hangs.
func TestHangingInstrument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cell := dispatch.New[string, float64](dispatch.WithTimeout(2 * time.Second))
		release := make(chan struct{})
		defer close(release) // otherwise the bubble would never end
		dispatchtest.Produce(t, cell, measure, dispatchtest.Deaf[string](release, 1.2), dispatch.WithName("hangs"))
		dispatchtest.Produce(t, cell, measure, dispatchtest.Answer[string](1.21), dispatch.WithName("works"))

		values, err := cell.Gather(t.Context(), measure, "vdd")
		if diff := cmp.Diff([]float64{1.21}, values); diff != "" {
			t.Errorf("values (-want +got):\n%s", diff)
		}
		var partial *dispatch.PartialError
		if !errors.As(err, &partial) {
			t.Fatalf("error is %v, want a PartialError", err)
		}
		dispatchtest.WantStates(t, partial.Report, map[string]dispatch.State{
			"hangs": dispatch.StateLate,
			"works": dispatch.StateOK,
		})
	})
}

// The same requests fail on every run.
func ExampleFlaky() {
	flaky := dispatchtest.Flaky(1, 0.25, dispatchtest.Answer[string]("pong"))
	for range 4 {
		answer, err := flaky(context.Background(), "ping")
		fmt.Printf("%q, %v\n", answer, err)
	}
	// Output:
	// "", dispatchtest: flaky producer failed
	// "pong", <nil>
	// "", dispatchtest: flaky producer failed
	// "pong", <nil>
}

// The code in the package documentation is that of this file, in the same order.
func TestDocumentationIsUpToDate(t *testing.T) {
	documentation, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	rest := string(source)
	blocks := 0
	var block strings.Builder
	for line := range strings.Lines(string(documentation)) {
		code, ok := strings.CutPrefix(line, "//\t")
		switch {
		case ok:
			block.WriteString(code)
			continue
		case block.Len() == 0:
			continue
		case line == "//\n":
			block.WriteString("\n") // within the code or behind it
			continue
		}
		blocks++
		want := strings.TrimRight(block.String(), "\n") + "\n"
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Errorf("this file has no such code:\n%s", want)
		}
		rest = after
		block.Reset()
	}
	if blocks != 2 {
		t.Errorf("%d blocks of code in the documentation, want 2", blocks)
	}
}
