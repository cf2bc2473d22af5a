package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// table is a table in Markdown, of measures, that can also be read as it is.
type table struct{ rows [][3]string }

func newTable() *table {
	return &table{[][3]string{{"measure", "value", "as before"}}}
}

// row adds a measure that nothing is expected of.
func (t *table) row(measure, format string, values ...any) {
	t.rows = append(t.rows, [3]string{measure, fmt.Sprintf(format, values...), ""})
}

// back adds the rows of what has to be back where it was.
func (t *table) back(before, during, after usage) {
	t.rows = append(
		t.rows,
		[3]string{"goroutines before, during, after", fmt.Sprintf("%d, %d, %d", before.goroutines, during.goroutines, after.goroutines), grown(after.moreGoroutines(before))},
		[3]string{"heap before, during, after", fmt.Sprintf("%s, %s, %s", megabytes(before.heap), megabytes(during.heap), megabytes(after.heap)), grown(after.moreHeap(before))},
	)
}

// grown is the word for whether something has grown that should not have.
func grown(yes bool) string {
	if yes {
		return "GREW"
	}
	return "ok"
}

// print writes the table. The cells of the first column begin, all others end,
// where their columns do.
func (t *table) print(w io.Writer) {
	var widths [3]int
	for _, row := range t.rows {
		for j, cell := range row {
			widths[j] = max(widths[j], utf8.RuneCountInString(cell))
		}
	}
	fmt.Fprintln(w)
	for i, row := range t.rows {
		fmt.Fprintf(w, "| %s | %s | %s |\n", row[0]+fill(row[0], widths[0]), fill(row[1], widths[1])+row[1], fill(row[2], widths[2])+row[2])
		if i == 0 {
			fmt.Fprintf(w, "|:%s|%s:|%s:|\n", rule(widths[0]), rule(widths[1]), rule(widths[2]))
		}
	}
}

func fill(cell string, width int) string {
	return strings.Repeat(" ", width-utf8.RuneCountInString(cell))
}

func rule(width int) string { return strings.Repeat("-", width+1) }

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// each returns how long each of n took, in nanoseconds.
func each(d time.Duration, n int) float64 { return float64(d) / float64(n) }
