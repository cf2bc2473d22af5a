package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// table is a table in Markdown that can also be read as it is.
type table struct{ rows [][]string }

// newTable returns a table with these heads and nothing below them.
func newTable(heads ...string) *table { return &table{[][]string{heads}} }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// print writes the table. The cells of the first column begin, all others end,
// where their columns do.
func (t *table) print(w io.Writer) {
	widths := t.widths()
	fmt.Fprintln(w)
	for i, row := range t.rows {
		for j, cell := range row {
			space := strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell))
			if j == 0 {
				fmt.Fprintf(w, "| %s%s ", cell, space)
			} else {
				fmt.Fprintf(w, "| %s%s ", space, cell)
			}
		}
		fmt.Fprintln(w, "|")
		if i == 0 {
			printRule(w, widths)
		}
	}
}

func (t *table) widths() []int {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for j, cell := range row {
			widths[j] = max(widths[j], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

func printRule(w io.Writer, widths []int) {
	for j, width := range widths {
		if j == 0 {
			fmt.Fprintf(w, "|:%s", strings.Repeat("-", width+1))
		} else {
			fmt.Fprintf(w, "|%s:", strings.Repeat("-", width+1))
		}
	}
	fmt.Fprintln(w, "|")
}

// none is the bar where there is none.
var none = math.Inf(1)

// atMost is the cell that says whether a measure is within its bar.
func atMost(measure, bar float64) string {
	switch {
	case bar == none:
		return ""
	case measure <= bar:
		return fmt.Sprintf("≤ %v ok", bar)
	default:
		return fmt.Sprintf("≤ %v MISSED", bar)
	}
}

// newComparisons returns a table with a row for each comparison of two sides.
func newComparisons(base, other string) *table {
	return newTable("case", base, other, "ratio", "bar",
		base+" median", other+" median", "ratio", "allocs "+base, "allocs "+other, "bar")
}

// bars are what a comparison must not exceed.
type bars struct{ ratio, mallocs float64 }

// comparison adds the row of one comparison.
func (t *table) comparison(name string, c comparison, b bars) {
	base, other := slices.Min(c.base.mallocs), slices.Min(c.other.mallocs)
	t.row(
		name,
		micros(slices.Min(c.base.times)), micros(slices.Min(c.other.times)),
		fmt.Sprintf("%.3f", c.ratio()), atMost(c.ratio(), b.ratio),
		micros(median(c.base.times)), micros(median(c.other.times)),
		fmt.Sprintf("%.3f", c.medianRatio()),
		fmt.Sprintf("%.1f", base), fmt.Sprintf("%.1f", other),
		// What a call allocates is a whole number; what there is beyond, the
		// runtime allocated now and then.
		atMost(math.Round(other), b.mallocs),
	)
}

func micros(d time.Duration) string { return fmt.Sprintf("%.2f µs", float64(d)/1e3) }
