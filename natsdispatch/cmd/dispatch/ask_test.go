package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// line has the fields of all lines that ask prints as JSON.
type line struct {
	Type     string
	Verdict  string
	Member   dispatch.Member
	State    string
	Results  int
	Value    json.RawMessage
	Reason   string
	Answered int
	Members  int
	Error    string
}

// brief writes each line as a short text, and sorts the texts of each type.
func brief(lines []line) (all []string) {
	for _, l := range lines {
		switch l.Type {
		case "result":
			all = append(all, fmt.Sprintf("1 %s %s", l.Member, l.Value))
		case "outcome":
			all = append(all, fmt.Sprintf("2 %s %s %d", l.Member, l.State, l.Results))
		default:
			all = append(all, fmt.Sprintf("3 %s: %s, %d of %d, %d results", l.Verdict, l.Reason, l.Answered, l.Members, l.Results))
		}
	}
	slices.Sort(all)
	return all
}

func TestAsk(t *testing.T) {
	url := startServer(t, "")
	nc := connect(t, url)
	cell(t, nc, "cell-7", sites{
		"site-1": volts(3.31),
		"site-2": func(context.Context, request) (reading, error) { return reading{}, errors.New("probe\nis open") },
	})
	cell(t, nc, "cell 8", sites{
		"pin": func(_ context.Context, r request) (reading, error) { return reading{float64(len(r.Pin))}, nil },
	})
	for _, c := range []struct {
		name   string
		args   []string
		status int
		want   []string
	}{
		{"partial", []string{"--timeout", "40s"}, exitPartial, []string{
			`1 cell 8/pin {"Volts":3}`,
			`1 cell-7/site-1 {"Volts":3.31}`,
			`2 cell 8/pin ok 1`,
			`2 cell-7/site-1 ok 1`,
			`2 cell-7/site-2 failed 0`,
			`3 partial: all ended, 2 of 3, 2 results`,
		}},
		{"complete", []string{"--target", "site-1", "--target=pin"}, exitComplete, []string{
			`1 cell 8/pin {"Volts":3}`,
			`1 cell-7/site-1 {"Volts":3.31}`,
			`2 cell 8/pin ok 1`,
			`2 cell-7/site-1 ok 1`,
			`3 complete: all ended, 2 of 2, 2 results`,
		}},
		{"nothing", []string{"--target", "site-2"}, exitNothing, []string{
			`2 cell-7/site-2 failed 0`,
			`3 nothing: all ended, 0 of 1, 0 results`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"ask", "--json", "cell.measure"}, c.args...)
			p := run(t, c.status, url, append(args, `{"Pin":"vdd"}`)...)
			if diff := cmp.Diff(c.want, brief(jsonLines[line](t, p.stdout()))); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("quorum", func(t *testing.T) {
		p := run(t, exitComplete, url, "ask", "cell.measure", "--quorum", "1", "--json")
		lines := jsonLines[line](t, p.stdout())
		if last := lines[len(lines)-1]; last.Verdict != "complete" || last.Reason != "satisfied" {
			t.Errorf("%+v", last)
		}
	})
	t.Run("from the input", func(t *testing.T) {
		p := start(t, `{"Pin":"four"}`, nil, "ask", "cell.measure", "-", "-s", url, "--target", "pin").ends(exitComplete)
		if want := "cell 8/pin {\"Volts\":4}\n"; !strings.HasPrefix(p.stdout(), want) {
			t.Errorf("printed %q", p.stdout())
		}
	})
	t.Run("for people", func(t *testing.T) {
		p := run(t, exitPartial, url, "ask", "cell.measure")
		for _, want := range []string{"cell-7/site-2  failed  ", `probe\nis open`, "partial: 2 of 3 members answered; all ended after "} {
			if !strings.Contains(p.stdout(), want) {
				t.Errorf("printed %q, without %q", p.stdout(), want)
			}
		}
	})
	t.Run("no node serves it", func(t *testing.T) {
		p := run(t, exitNothing, url, "ask", "cell.other")
		if want := "nothing: no node serves cell.other\n"; p.stdout() != want {
			t.Errorf("printed %q, want %q", p.stdout(), want)
		}
	})
	t.Run("another space", func(t *testing.T) {
		run(t, exitNothing, url, "ask", "cell.measure", "--space", "other")
		run(t, exitUsage, url, "ask", "cell.measure", "--space", "o.t")
		run(t, exitUsage, url, "ask", "cell.measure", "--prefix", "o..t")
	})
}

// The report names the members that do not answer by the deadline. If the command is interrupted, the
// report names all members that have not answered.
func TestAskNamesTheSilent(t *testing.T) {
	url := startServer(t, "")
	cell(t, connect(t, url), "cell-7", sites{"site-1": volts(1), "site-2": hangs})
	p := run(t, exitPartial, url, "ask", "cell.measure", "--timeout", "2s", "--json")
	want := []string{`1 cell-7/site-1 {"Volts":1}`, `2 cell-7/site-1 ok 1`, `2 cell-7/site-2 late 0`, `3 partial: deadline, 1 of 2, 1 results`}
	if diff := cmp.Diff(want, brief(jsonLines[line](t, p.stdout()))); diff != "" {
		t.Error(diff)
	}

	p = start(t, "", []string{"NATS_URL=" + url}, "ask", "cell.measure", "--timeout", "60s")
	p.says(`cell-7/site-1 {"Volts":1}`)
	p.interrupt()
	p.ends(exitPartial)
	for _, want := range []string{"cell-7/site-2  canceled", "partial: 1 of 2 members answered; canceled after"} {
		if !strings.Contains(p.stdout(), want) {
			t.Errorf("printed %q, without %q", p.stdout(), want)
		}
	}
}
