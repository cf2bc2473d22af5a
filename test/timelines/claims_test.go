package timelines_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// The statements of the documents about the loop written by hand, and about dispatch.

func answering(name string, d time.Duration) site { return site{name, answersAfter(d)} }

func deaf(name string, d time.Duration) site { return site{name, deafFor(d)} }

func failing(name string, d time.Duration) site { return site{name, failsAfter(d)} }

func panicking(name string) site {
	return site{name, func(context.Context, string) (float64, error) { panic("no reference") }}
}

func exiting(name string) site {
	return site{name, func(context.Context, string) (float64, error) {
		runtime.Goexit()
		return 0, nil
	}}
}

// took runs f and compares how long it takes with want.
func took(t *testing.T, want time.Duration, f func()) {
	t.Helper()
	began := time.Now()
	f()
	if got := time.Since(began); got != want {
		t.Errorf("it took %v, want %v", got, want)
	}
}

func TestTheLoopCancelsAllAtAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &loop{sites: []site{failing("site-1", second), answering("site-2", 2*second), failing("site-3", 3*second)}}
		took(t, 3*second, func() {
			all, err := c.measure(t.Context(), "vdd")
			if all[1] != (reading{}) {
				t.Errorf("site-2 has %v, want it to be canceled", all[1])
			}
			if err == nil || strings.Contains(err.Error(), "site-3") {
				t.Errorf("error is %v, want that of site-1 alone", err)
			}
		})
	})
}

func TestTheLoopWaitsForTheDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &loop{sites: []site{answering("site-1", second), deaf("site-2", time.Minute)}}
		took(t, time.Minute, func() {
			if all, err := c.measure(t.Context(), "vdd"); err != nil || all[1].site != "site-2" {
				t.Errorf("the late answer is %v, %v; want it to be handed out like any other", all[1], err)
			}
		})
	})
}

func TestTheLoopTakesGoexitForSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &loop{sites: []site{exiting("site-1")}}
		if all, err := c.measure(t.Context(), "vdd"); err != nil || all[0] != (reading{}) {
			t.Errorf("got %v, %v; want nothing and no error", all, err)
		}
	})
}

func TestTheLoopWaitsForASlowListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := make(chan reading)
		go func() {
			for range heard {
				time.Sleep(time.Minute)
			}
		}()
		c := &loop{sites: []site{answering("site-1", second), answering("site-2", 2*second)}, listeners: []chan<- reading{heard}}
		took(t, time.Minute+second, func() {
			if _, err := c.measure(t.Context(), "vdd"); err != nil {
				t.Error(err)
			}
		})
		close(heard)
		time.Sleep(time.Hour)
	})
}

var badSites = []site{
	answering("site-1", second), failing("site-2", second), deaf("site-3", time.Minute), panicking("site-4"), exiting("site-5"),
}

func TestTheMendedLoopEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &mended{sites: badSites}
		took(t, 4*second, func() {
			all := c.measure(t.Context(), "vdd")
			if all[0].volts != 3.3 || all[0].err != nil {
				t.Errorf("site-1 has %v, want an answer", all[0])
			}
			for i, want := range []string{"", "probe is open", "late", "panic: no reference", "ended its goroutine"} {
				if i > 0 && !strings.HasPrefix(all[i].err.Error(), want) {
					t.Errorf("%s: error is %v, want %q", all[i].site, all[i].err, want)
				}
			}
		})
		time.Sleep(time.Hour)
	})
}

func TestDispatchNamesEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cell, err := newCell(badSites)
		if err != nil {
			t.Fatal(err)
		}
		shown := make(chan reading, len(badSites))
		display, err := listen(cell, func(r reading) { shown <- r })
		if err != nil {
			t.Fatal(err)
		}
		took(t, 4*second, func() {
			all, err := readings(t.Context(), cell, "vdd")
			var partial *dispatch.PartialError
			if len(all) != 1 || !errors.As(err, &partial) {
				t.Errorf("got %v, %v; want one reading and a PartialError", all, err)
			}
		})
		want := map[string]dispatch.State{
			"site-1": dispatch.StateOK, "site-2": dispatch.StateFailed, "site-3": dispatch.StateLate,
			"site-4": dispatch.StatePanicked, "site-5": dispatch.StateFailed,
		}
		took(t, 4*second, func() {
			got, err := states(t.Context(), cell, "vdd")
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("error is %v; states (-want +got):\n%s", err, diff)
			}
		})
		synctest.Wait()
		if len(shown) != 2 {
			t.Errorf("the display has shown %d readings, want one of each call", len(shown))
		}
		display.Remove()
		time.Sleep(time.Hour)
	})
}

// The statement of the page about WithGrace on the picture without site-4.
func TestTheCallDoesNotWaitForThoseWhoGaveUpInTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cell, err := newCell([]site{answering("site-1", at(5)), {"site-2", averages(at(3))}, answering("site-3", time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		took(t, at(33), func() {
			if volts, err := grace(t.Context(), cell); err != nil || len(volts) != 2 {
				t.Errorf("got %v, %v; want two values", volts, err)
			}
		})
	})
}
