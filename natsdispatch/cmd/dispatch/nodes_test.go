package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

func TestNodes(t *testing.T) {
	url := startServer(t, "")
	nc := connect(t, url)
	p := run(t, exitNothing, url, "nodes")
	if p.stdout() != "" || p.stderr() != "no node serves >\n" {
		t.Errorf("printed %q and %q", p.stdout(), p.stderr())
	}
	cell(t, nc, "cell-7", sites{"site-1": volts(1), "site-2": volts(2)}, natsdispatch.WithPublish())
	cell(t, nc, "twin", sites{"a": volts(1)})
	cell(t, connect(t, url), "twin", sites{"b": volts(1)})
	// This node implements only what the protocol requires.
	old := &fake{t: t, nc: connect(t, url), name: "oven 2", topic: "oven.heat"}
	old.start()
	p = run(t, exitComplete, url, "nodes", "--wait", "1s")
	heard := regexp.MustCompile(`\d+(\.\d)? m?s ago +`)
	want := `NODE    TOPIC         STATE    VERSION  HEARD IN FLIGHT  MEMBERS
cell-7  cell.measure  present  1,2      N 0          2: site-1, site-2
oven 2  oven.heat     present  1        N ?          ?
twin    cell.measure  twin     1,2      N 0          1: a
twin    cell.measure  twin     1,2      N 0          1: b
`
	got := regexp.MustCompile(`HEARD +`).ReplaceAllString(heard.ReplaceAllString(p.stdout(), "N "), "HEARD ")
	if got != want && got != swapLast(want) {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
	p = run(t, exitComplete, url, "nodes", "cell.*", "--json", "--wait", "1s")
	for i, r := range jsonLines[row](t, p.stdout()) {
		if i == 0 && (r.Node != "cell-7" || r.State != "present" || !cmp.Equal(r.Members, []string{"site-1", "site-2"}) || *r.Count != 2 || *r.InFlight != 0 || !r.Publishes || r.Beat != 2*time.Second || r.Heard <= 0) {
			t.Errorf("row %+v", r)
		}
		if i > 2 || i > 0 && r.State != "twin" {
			t.Errorf("row %d %+v", i, r)
		}
	}
}

// swapLast swaps the last two lines. The boot ids of the twins decide the order of these lines.
func swapLast(s string) string {
	lines := strings.SplitAfter(s, "\n")
	lines[3], lines[4] = lines[4], lines[3]
	return strings.Join(lines, "")
}

// The table has the number of requests that are in flight now.
func TestNodesInFlight(t *testing.T) {
	url := startServer(t, "")
	cell(t, connect(t, url), "cell-7", sites{"site-1": volts(1), "site-2": hangs})
	ask := start(t, "", []string{"NATS_URL=" + url}, "ask", "cell.measure", "--timeout", "60s")
	ask.says("cell-7/site-1")
	p := run(t, exitComplete, url, "nodes", "--json", "--wait", "1s")
	if rows := jsonLines[row](t, p.stdout()); len(rows) != 1 || *rows[0].InFlight != 1 {
		t.Errorf("printed %s", p.stdout())
	}
	ask.interrupt()
	ask.ends(exitPartial)
}

func TestWatch(t *testing.T) {
	url := startServer(t, "")
	cell(t, connect(t, url), "first", sites{"a": volts(1)})
	p := start(t, "", []string{"NATS_URL=" + url}, "nodes", "--watch", "--json")
	event := func(what, node string) string { return fmt.Sprintf(`{"event":"%s","node":"%s"`, what, node) }
	p.says(event("came", "first"))
	leaves := cell(t, connect(t, url), "leaves", sites{"a": volts(1)})
	p.says(event("came", "leaves"))
	if err := leaves.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.says(event("changed", "leaves"))
	p.says(event("left", "leaves"))
	dies := connect(t, url)
	cell(t, dies, "dies", sites{"a": volts(1)}, natsdispatch.WithBeat(50*time.Millisecond))
	p.says(event("came", "dies"))
	dies.Close() // without a bye
	p.says(event("gone", "dies"))
	cell(t, connect(t, url), "dies", sites{"a": volts(1)})
	p.says(event("started again", "dies"))
	p.interrupt()
	p.ends(exitComplete)
	for line := range strings.Lines(p.stdout()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %q", line)
		}
	}

	p = start(t, "", []string{"NATS_URL=" + url}, "nodes", "--watch", "cell.measure")
	p.says(" first cell.measure came\n")
	p.interrupt()
	p.ends(exitComplete)
}

// On a terminal, each table replaces the previous one.
func TestWatchOnATerminal(t *testing.T) {
	url := startServer(t, "")
	cell(t, connect(t, url), "cell-7", sites{"a": volts(1)})
	var mu sync.Mutex
	var out strings.Builder
	ctx, cancel := context.WithCancel(t.Context())
	status := make(chan int, 1)
	p := &program{stdout: lockedWriter{&mu, &out}, stderr: io.Discard, getenv: func(string) string { return "" }, terminal: true, width: 120}
	go func() { status <- p.run(ctx, []string{"nodes", "--watch", "--no-context", "-s", url}) }()
	until(t, "the table to be drawn", func() bool {
		mu.Lock()
		defer mu.Unlock()
		drawn := strings.Split(out.String(), "\x1b[H\x1b[2J")
		return strings.Contains(drawn[len(drawn)-1], "\ncell-7  cell.measure  present  1,2 ")
	})
	cancel()
	if got := <-status; got != exitComplete {
		t.Errorf("ended with %d", got)
	}
}
