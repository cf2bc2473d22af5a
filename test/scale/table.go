package main

import (
	"fmt"
	"time"

	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// table is a table of measures. Some of them must be back at the values before.
type table struct{ *measure.Table }

func newTable() table { return table{measure.NewTable("measure", "value", "as before")} }

// row adds a measure without an expected value.
func (t table) row(measure, format string, values ...any) {
	t.Row(measure, fmt.Sprintf(format, values...), "")
}

// back adds the rows of measures that must be back at the values before.
func (t table) back(before, during, after usage) {
	t.Row(
		"goroutines before, during, after",
		fmt.Sprintf("%d, %d, %d", before.goroutines, during.goroutines, after.goroutines),
		grown(after.moreGoroutines(before)),
	)
	t.Row(
		"heap before, during, after",
		fmt.Sprintf("%s, %s, %s", megabytes(before.heap), megabytes(during.heap), megabytes(after.heap)),
		grown(after.moreHeap(before)),
	)
}

// grown returns the word for whether a measure has grown that should not have.
func grown(yes bool) string {
	if yes {
		return "GREW"
	}
	return "ok"
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// each returns the time for each of n, in nanoseconds.
func each(d time.Duration, n int) float64 { return float64(d) / float64(n) }
