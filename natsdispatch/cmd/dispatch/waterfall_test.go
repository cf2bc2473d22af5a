package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestWaterfall(t *testing.T) {
	member := func(s string) dispatch.Member { return dispatch.Member{Node: "cell-7", Name: s} }
	r := dispatch.Report{Elapsed: 2 * time.Second, Outcomes: []dispatch.Outcome{
		{Member: member("quick"), State: dispatch.StateOK, Started: true, Elapsed: 3 * time.Millisecond},
		{Member: member("waits"), State: dispatch.StateOK, Started: true, Began: time.Second, Elapsed: 1500 * time.Millisecond},
		{Member: member("late"), State: dispatch.StateLate, Started: true, Elapsed: 2 * time.Second, Err: errors.New("time\nis up")},
		{Member: member("last moment"), State: dispatch.StateLate, Started: true, Began: 2 * time.Second, Elapsed: 2 * time.Second, Err: errors.New("x")},
	}}
	want := []string{
		"cell-7/quick        ok    3.0 ms  █",
		"cell-7/waits        ok     1.5 s              ██████",
		`cell-7/late         late   2.0 s  ████████████████████████ time\nis up`,
		"cell-7/last moment  late   2.0 s                         █ x",
	}
	if diff := cmp.Diff(want, waterfall(r, 60)); diff != "" {
		t.Error(diff)
	}
	for _, width := range []int{0, 1000} {
		for _, line := range waterfall(r, width) {
			if n := strings.Count(line, "█"); n == 0 || n > 40 {
				t.Errorf("width %d: %q", width, line)
			}
		}
	}
	if lines := waterfall(dispatch.Report{Outcomes: []dispatch.Outcome{{Member: member("m")}}}, 80); len(lines) != 1 {
		t.Errorf("a call without a length: %q", lines)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain ünïcode ✗": "plain ünïcode ✗",
		"a\nb\x1b[2J":     `a\nb\x1b[2J`,
		"\u009b\u202e":    `\u009b\u202e`,
		"\xff":            `\ufffd`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}
