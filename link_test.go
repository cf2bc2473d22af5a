package dispatch_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/seed-bb4b4d74/dispatch"
)

// A Snapshot asks each link, and counts the calls that wait for each of its nodes.
func TestLinksInTheSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
		must(d.AddRelay(dispatch.Topics[int, int]{ask, other}, func(ctx context.Context, _ int, to *dispatch.Roster[int]) error {
			for _, m := range []dispatch.Member{{Node: "a", Name: "1"}, {Node: "a", Name: "2"}, {Node: "b", Name: "*"}} {
				to.Expect(m)
			}
			to.End(dispatch.Member{Node: "b", Name: "*"}, dispatch.ErrGone)
			<-ctx.Done()
			return nil
		}))
		nodes := []dispatch.NodeSnapshot{
			{Name: "a", State: "present", Topics: []string{ask.Name()}, InFlight: 99},
			{Name: "a", State: "silent", Topics: []string{ask.Name(), other.Name()}},
			{Name: "b", State: "present", Topics: []string{ask.Name()}},
		}
		bus := d.Bus()
		added := must(bus.AddLink(func() dispatch.LinkSnapshot {
			return dispatch.LinkSnapshot{Name: "far", State: "connected", Nodes: nodes}
		}))
		must(bus.AddLink(func() dispatch.LinkSnapshot { return dispatch.LinkSnapshot{Name: "served", Serves: "here"} }))
		send(t, d)
		send(t, d)
		must(d.Send(t.Context(), other, 1))
		synctest.Wait()
		got := bus.Snapshot().Links
		for i := range got {
			if !strings.Contains(got[i].AddedAt, "link_test.go:") {
				t.Errorf("added at %s", got[i].AddedAt)
			}
		}
		nodes[0].InFlight, nodes[1].InFlight = 2, 3
		want := []dispatch.LinkSnapshot{
			{Name: "far", State: "connected", Nodes: nodes},
			{Name: "served", Serves: "here", Nodes: []dispatch.NodeSnapshot{}},
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(dispatch.LinkSnapshot{}, "AddedAt")); diff != "" {
			t.Error(diff)
		}
		added.Remove()
		added.Remove()
		if got := bus.Snapshot().Links; len(got) != 1 || got[0].Name != "served" {
			t.Errorf("after Remove there are %v", got)
		}
		bus.Close()
	})
}

// A link that panics costs a Snapshot no more than its own entry.
func TestALinkThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		must(d.Bus().AddLink(func() dispatch.LinkSnapshot { panic(errBroken) }))
		must(d.Bus().AddLink(func() dispatch.LinkSnapshot { return dispatch.LinkSnapshot{State: "connected"} }))
		links := d.Bus().Snapshot().Links
		if len(links) != 2 || links[0].State != "unknown" || links[1].State != "connected" {
			t.Errorf("links are %+v", links)
		}
		synctest.Wait()
		if n := logged.count("link panicked"); n != 1 {
			t.Errorf("the panic is logged %d times", n)
		}
		d.Bus().Close()
	})
}

func TestAddLinkRefuses(t *testing.T) {
	d, _ := newDispatcher()
	var none *dispatch.Bus
	describe := func() dispatch.LinkSnapshot { return dispatch.LinkSnapshot{} }
	for want, add := range map[error]func() (*dispatch.Registration, error){
		dispatch.ErrInvalidArgument: func() (*dispatch.Registration, error) { return none.AddLink(describe) },
		dispatch.ErrClosed: func() (*dispatch.Registration, error) {
			d.Bus().Close()
			return d.Bus().AddLink(describe)
		},
	} {
		if _, err := add(); !errors.Is(err, want) {
			t.Errorf("the error is %v, want %v", err, want)
		}
	}
	if _, err := d.Bus().AddLink(nil); !errors.Is(err, dispatch.ErrInvalidArgument) {
		t.Errorf("for a nil func the error is %v", err)
	}
}

// A panic with nil in describe is a panic, also under the old rule.
func TestLinkThatPanicsWithNil(t *testing.T) {
	t.Setenv("GODEBUG", "panicnil=1")
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		must(d.Bus().AddLink(func() dispatch.LinkSnapshot { panic(nil) }))
		s := d.Bus().Snapshot()
		synctest.Wait()
		if s.Links[0].State != "unknown" || logged.count("link panicked") != 1 {
			t.Errorf("the link has the state %q, and the journal %q", s.Links[0].State, logged.all())
		}
	})
}
