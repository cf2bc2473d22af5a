package agent

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// floor is an asker, with the agent that it asks.
type floor struct {
	*dispatch.Dispatcher[Request, Reading]
	t      *testing.T
	nc     *nats.Conn
	remote *natsdispatch.Remote
	agent  *process
}

func newFloor(t *testing.T, url string) *floor {
	t.Helper()
	f := &floor{t: t, nc: connect(t, url), Dispatcher: dispatch.New[Request, Reading]()}
	var err error
	f.remote, err = natsdispatch.Join(f.nc, f.Dispatcher, measure, natsdispatch.WithAcceptWindow(10*time.Second), natsdispatch.WithWindow(64<<10), loud(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.remote.Close() })
	return f
}

func connect(t *testing.T, url string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, natsdispatch.Robust)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func loud(t *testing.T) natsdispatch.Option {
	return natsdispatch.WithErrorHandler(func(err error) { t.Errorf("error handler: %v", err) })
}

func (f *floor) await(nodes ...string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	if err := f.remote.Await(ctx, nodes...); err != nil {
		f.t.Fatal(err)
	}
}

func (f *floor) send(req Request, opts ...dispatch.CallOption) *dispatch.Call[Request, Reading] {
	f.t.Helper()
	call, err := f.Send(f.t.Context(), measure, req, opts...)
	if err != nil {
		f.t.Fatal(err)
	}
	return call
}

// want checks how the members ended. A member is written as "node/name state results", in any order.
func (f *floor) want(call *dispatch.Call[Request, Reading], members ...string) dispatch.Report {
	f.t.Helper()
	select {
	case <-call.Done():
	case <-time.After(patience):
		f.t.Fatal("the call does not end")
	}
	report := call.Report()
	var got []string
	for _, o := range report.Outcomes {
		got = append(got, fmt.Sprint(o.Member, " ", o.State, " ", o.Results))
	}
	slices.Sort(got)
	slices.Sort(members)
	if !slices.Equal(got, members) {
		f.t.Errorf("the members ended as %q, want %q; %v", got, members, report.Err())
	}
	if n := f.Bus().Snapshot().Misuse; n != 0 {
		f.t.Errorf("the roster was misused %d times", n)
	}
	if s := f.remote.Stats(); s.Malformed > 0 || s.Duplicates > 0 && s.Resumed == 0 {
		f.t.Errorf("malformed or duplicate: %+v", s)
	}
	return report
}
