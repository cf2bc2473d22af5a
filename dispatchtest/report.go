package dispatchtest

import (
	"maps"
	"slices"
	"testing"

	"github.com/seed-bb4b4d74/dispatch"
)

// WantStates compares the states of all members of the call with these states. The keys are
// the members, written like [dispatch.Member.String]: a producer of this process without a
// group is written as its name. If they differ, WantStates reports the difference and the
// errors of the members with Errorf, so the test goes on. It may be called from any
// goroutine.
func WantStates(t testing.TB, report dispatch.Report, want map[string]dispatch.State) {
	t.Helper()
	got := make(map[string]dispatch.State, len(report.Outcomes))
	for _, o := range report.Outcomes {
		name := o.Member.String()
		if other, again := got[name]; again && other != o.State {
			t.Errorf("call %v of %s: two members are written as %s; one is %v, and one is %v", report.Call, report.Topic, name, other, o.State)
		}
		got[name] = o.State
	}
	if maps.Equal(want, got) {
		return
	}
	t.Errorf("call %v of %s, %v after %v: states of the members (-want +got):\n%serror: %v",
		report.Call, report.Topic, report.Reason, report.Elapsed, diff(want, got), report.Err())
}

// WantMissing compares the missing members of the report, see [dispatch.Report.Missing],
// with these members, in any order. A member is written like [dispatch.Member.String].
// Without names, no member may be missing. If they differ, WantMissing reports the
// difference and the whole report with Errorf, so the test goes on. It may be called from
// any goroutine.
func WantMissing(t testing.TB, report dispatch.Report, members ...string) {
	t.Helper()
	var got []string
	for _, o := range report.Missing() {
		got = append(got, o.Member.String())
	}
	slices.Sort(got)
	if diff := diffSlices(slices.Sorted(slices.Values(members)), got); diff != "" {
		t.Errorf("missing members (-want +got):\n%s%v", diff, report)
	}
}
