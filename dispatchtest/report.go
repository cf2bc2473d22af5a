package dispatchtest

import (
	"maps"
	"slices"
	"testing"

	"github.com/seed-bb4b4d74/dispatch"
)

// WantStates compares the states of all members of the call with these. The keys
// are the members as written by [dispatch.Member.String]: for a producer of this
// process and without a group that is its name. If they differ the test fails,
// goes on, and shows how, together with the errors of the members. It may be
// called from any goroutine.
func WantStates(t testing.TB, report dispatch.Report, want map[string]dispatch.State) {
	t.Helper()
	got := make(map[string]dispatch.State, len(report.Outcomes))
	for _, o := range report.Outcomes {
		got[o.Member.String()] = o.State
	}
	if maps.Equal(want, got) {
		return
	}
	t.Errorf("call %v of %s, %v after %v: states of the members (-want +got):\n%serror: %v",
		report.Call, report.Topic, report.Reason, report.Elapsed, diff(want, got), report.Err())
}

// WantMissing compares who is missing from the report, see [dispatch.Report.Missing], with
// these members, in any order. A member is written as by [dispatch.Member.String]; without
// names no member may be missing. If they differ the test fails, goes on, and shows how,
// together with the whole report. It may be called from any goroutine.
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
