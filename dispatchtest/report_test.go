package dispatchtest_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/dispatchtest"
)

func TestWantStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		call := send(t, newCell(t))
		if err := call.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		report := call.Report()
		right := map[string]dispatch.State{"a": dispatch.StateOK, "b": dispatch.StateOK, "c": dispatch.StateFailed}
		for name, want := range map[string]map[string]dispatch.State{
			"wrong state": {"a": dispatch.StateOK, "b": dispatch.StateOK, "c": dispatch.StateLate},
			"one missing": {"a": dispatch.StateOK, "b": dispatch.StateOK},
			"one more":    {"a": dispatch.StateOK, "b": dispatch.StateOK, "c": dispatch.StateFailed, "d": dispatch.StatePending},
			"no members":  nil,
		} {
			failed := failures(t, func(t testing.TB) {
				dispatchtest.WantStates(t, report, right)
				dispatchtest.WantStates(t, report, want)
				dispatchtest.WantStates(t, report, right)
			})
			if len(failed) != 1 {
				t.Errorf("%s: %d failures, want 1: %q", name, len(failed), failed)
				continue
			}
			for _, says := range []string{"call 1 of cell.measure, all ended after 300ms: states of the members (-want +got)", "c failed: broken"} {
				if !strings.Contains(failed[0], says) {
					t.Errorf("%s: the failure does not say %q:\n%s", name, says, failed[0])
				}
			}
		}
	})
}

// A call without members has the states of no member, whether that is said by nil or by an
// empty map, and no others.
func TestWantStatesOfACallWithoutMembers(t *testing.T) {
	report := send(t, dispatch.New[string, float64]()).Report()
	for name, test := range map[string]struct {
		want  map[string]dispatch.State
		fails int
	}{
		"nil":          {nil, 0},
		"an empty map": {map[string]dispatch.State{}, 0},
		"a member":     {map[string]dispatch.State{"a": dispatch.StateOK}, 1},
	} {
		if failed := failures(t, func(t testing.TB) { dispatchtest.WantStates(t, report, test.want) }); len(failed) != test.fails {
			t.Errorf("%s: it fails with %q", name, failed)
		}
	}
}

// A member of another machine or of a group is not mistaken for a local producer
// of its name.
func TestWantStatesTellsNodesApart(t *testing.T) {
	report := dispatch.Report{Outcomes: []dispatch.Outcome{
		{Member: dispatch.Member{Name: "site"}, State: dispatch.StateOK},
		{Member: dispatch.Member{Node: "b", Name: "site"}, State: dispatch.StateLate},
		{Member: dispatch.Member{Node: "b", Group: "sites", Name: "site"}, State: dispatch.StateFailed},
	}}
	dispatchtest.WantStates(t, report, map[string]dispatch.State{
		"site": dispatch.StateOK, "b/site": dispatch.StateLate, "b/sites/site": dispatch.StateFailed,
	})
}

func TestWantMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cell := newCell(t)
		dispatchtest.Produce(t, cell, measure, dispatchtest.Declining[string, float64](), dispatch.WithName("d"))
		dispatchtest.Produce(t, cell, measure, dispatchtest.Failing[string, float64](dispatchtest.ErrFlaky), dispatch.WithName("e"))
		call := send(t, cell)
		if err := call.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, test := range map[string]struct {
			want  []string
			fails int
		}{
			"those who are":   {[]string{"c", "e"}, 0},
			"in any order":    {[]string{"e", "c"}, 0},
			"one too few":     {[]string{"c"}, 1},
			"one that is not": {[]string{"a", "c", "e"}, 1},
			"nobody":          {nil, 1},
		} {
			failed := failures(t, func(t testing.TB) { dispatchtest.WantMissing(t, call.Report(), test.want...) })
			if len(failed) != test.fails {
				t.Errorf("%s: it fails with %q", name, failed)
			}
			for _, text := range failed {
				if !strings.HasPrefix(text, "missing members (-want +got):") || !strings.HasSuffix(text, call.Report().String()) {
					t.Errorf("%s: it says %s", name, text)
				}
			}
		}
		dispatchtest.WantMissing(t, dispatch.Report{})
	})
}

// Two members may be written alike: one on a node, and one in a group or with a slash in its
// name.
func TestWantStatesComparesMembersThatAreWrittenAlike(t *testing.T) {
	failed, ok := dispatch.Member{Node: "g", Name: "x"}, dispatch.Member{Group: "g", Name: "x"}
	report := dispatch.Report{Outcomes: []dispatch.Outcome{
		{Member: failed, State: dispatch.StateFailed, Err: dispatch.ErrLost},
		{Member: ok, State: dispatch.StateOK},
	}}
	want := map[string]dispatch.State{"g/x": dispatch.StateOK}
	if len(failures(t, func(t testing.TB) { dispatchtest.WantStates(t, report, want) })) == 0 {
		t.Errorf("WantStates passes, although one of two members has failed:\n%v", report)
	}
}
