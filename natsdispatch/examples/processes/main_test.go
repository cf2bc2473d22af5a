package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMain runs a worker if the arguments are those of a worker, so that the test program can start itself
// as workers.
func TestMain(m *testing.M) {
	if !isWorker(os.Args) {
		os.Exit(m.Run())
	}
	if err := start(os.Args); err != nil {
		log.Fatal(err)
	}
}

// The test starts real processes, and kills one with SIGKILL.
func TestKilledWorkerIsNamed(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	const want = `Three workers are asked. cell-2 is killed as soon as its meter has answered.
  cell-1/meter has ended
  cell-1/oven has ended
  cell-2/meter has ended
  cell-2/oven has ended
  cell-3/meter has ended
  cell-3/oven has ended
The call ends (all ended) after …:
  cell-1/meter   ok: 1.21 V
  cell-1/oven    ok: 85 °C
  cell-2/meter   ok: 1.21 V
  cell-2/oven    gone: dispatch: gone: cell-2 was last heard … ago
  cell-3/meter   ok: 1.21 V
  cell-3/oven    ok: 85 °C

The next call names it as well: it has not said bye.
  cell-1/meter has ended
  cell-1/oven has ended
  cell-2/* has ended
  cell-3/meter has ended
  cell-3/oven has ended
The call ends (all ended) after …:
  cell-1/meter   ok: 1.21 V
  cell-1/oven    ok: 85 °C
  cell-2/*       gone: dispatch: gone: cell-2 was last heard … ago
  cell-3/meter   ok: 1.21 V
  cell-3/oven    ok: 85 °C
`
	if diff := cmp.Diff(want, ordered(out.String())); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

// ordered sorts the lines of members that have ended, because members end in any order, and replaces
// durations.
func ordered(out string) string {
	lines := strings.SplitAfter(regexp.MustCompile(`\d[\d.]* ?m?s\b`).ReplaceAllString(out, "…"), "\n")
	live := func(line string) bool { return strings.Contains(line, "has ended") }
	for i := 0; i < len(lines); i++ {
		first := i
		for i < len(lines) && live(lines[i]) {
			i++
		}
		slices.Sort(lines[first:i])
	}
	return strings.Join(lines, "")
}

// If run is interrupted, it waits until all workers have ended.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v, want that of the context", err)
	}
}
