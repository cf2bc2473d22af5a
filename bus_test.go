package dispatch_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// Under WithPanicCrash every closure of the user's ends the process with its panic.
func TestPanicCrashEndsTheProcess(t *testing.T) {
	boom := func() { panic("boom and crash") }
	cases := map[string]func(d *dispatcher){
		"producer": func(d *dispatcher) {
			produce(t, d, "a", func(context.Context, int) (int, error) { boom(); return 0, nil })
		},
		"relay": func(d *dispatcher) {
			_, _ = d.AddRelay(ask, func(context.Context, int, *dispatch.Roster[int]) error { boom(); return nil })
		},
		"replica": func(d *dispatcher) {
			produce(t, d, "a", func(context.Context, int) (int, error) { boom(); return 0, nil }, dispatch.WithGroup("g"))
		},
		"listener": func(d *dispatcher) {
			produce(t, d, "a", quick(1))
			listen(t, d, func(context.Context, result) { boom() })
		},
		"OnOutcome": func(d *dispatcher) {
			produce(t, d, "a", quick(1))
			listen(t, d, ignore, dispatch.OnOutcome(func(dispatch.Outcome) { boom() }))
		},
		"OnDone": func(d *dispatcher) {
			produce(t, d, "a", quick(1))
			listen(t, d, ignore, dispatch.OnDone(func(dispatch.Report) { boom() }))
		},
		"CallEnd": func(d *dispatcher) {
			produce(t, d, "a", quick(1))
			_, _ = d.Bus().Observe(dispatch.Observer{CallEnd: func(context.Context, dispatch.Report) { boom() }})
		},
		"CallStart": func(d *dispatcher) {
			produce(t, d, "a", quick(1))
			_, _ = d.Bus().Observe(dispatch.Observer{CallStart: func(ctx context.Context, _ dispatch.CallStarted) context.Context { boom(); return ctx }})
		},
		"MemberStart": func(d *dispatcher) {
			produce(t, d, "a", quick(1))
			_, _ = d.Bus().Observe(dispatch.Observer{MemberStart: func(ctx context.Context, _ dispatch.MemberInfo) context.Context { boom(); return ctx }})
		},
		"ListenerStart": func(d *dispatcher) {
			produce(t, d, "a", quick(1))
			listen(t, d, ignore)
			_, _ = d.Bus().Observe(dispatch.Observer{ListenerStart: func(ctx context.Context, _ dispatch.ListenerInfo) context.Context { boom(); return ctx }})
		},
	}
	if name := os.Getenv("CRASH"); name != "" {
		d := dispatch.New[int, int](dispatch.WithPanicCrash())
		cases[name](d)
		_, _ = d.Send(context.Background(), ask, 0)
		time.Sleep(time.Second)
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := exec.Command(exe, "-test.run=^TestPanicCrashEndsTheProcess$")
			c.Env = append(os.Environ(), "CRASH="+name)
			out, err := c.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "panic: boom and crash") {
				t.Errorf("%v\n%.500s", err, out)
			}
		})
	}
}
