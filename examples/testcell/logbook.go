package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// writing is the time to write a verdict, as if to a remote disk. The sites do not wait for
// it, because a listener has its own mailbox.
const writing = 20 * time.Millisecond

// logbook writes a line for each touchdown. Its callbacks never overlap, so it
// needs no lock.
type logbook struct {
	out   io.Writer
	title string // of the line in hand; empty if no site has given a verdict
	bins  map[dispatch.Member]Bin
}

// addLogbook registers a listener that writes to out.
func addLogbook(bus *dispatch.Bus, out io.Writer, sites []string) error {
	l := &logbook{out: out, bins: make(map[dispatch.Member]Bin)}
	_, err := dispatch.On[Touchdown, Verdict](bus).AddListener(testDies, l.note, dispatch.WithName("logbook"), dispatch.OnDone(l.write))
	fmt.Fprintf(out, "%-13s ", "touchdown")
	for _, s := range sites {
		fmt.Fprintf(out, " %-10s", s)
	}
	fmt.Fprintln(out, "      took")
	return err
}

func (l *logbook) note(_ context.Context, r dispatch.Result[Touchdown, Verdict]) {
	time.Sleep(writing)
	l.title = r.Call.Request().String()
	l.bins[r.From] = r.Value.Bin
}

// write writes the line. The report has the outcomes of sites without a verdict.
func (l *logbook) write(r dispatch.Report) {
	var line strings.Builder
	fmt.Fprintf(&line, "%-13s ", cmp.Or(l.title, "call "+r.Call.String()))
	for _, o := range r.Outcomes {
		word := o.State.String()
		if o.State == dispatch.StateOK {
			word = l.bins[o.Member].String()
		}
		fmt.Fprintf(&line, " %-10s", word)
	}
	fmt.Fprintf(l.out, "%s %7.2f s\n", &line, r.Elapsed.Seconds())
	l.title = ""
	clear(l.bins)
}
