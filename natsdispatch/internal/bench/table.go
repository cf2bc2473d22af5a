package main

import (
	"fmt"
	"io"
	"math"
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
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for j, cell := range row {
			widths[j] = max(widths[j], utf8.RuneCountInString(cell))
		}
	}
	for i, row := range t.rows {
		line, rule := "|", "|"
		for j, cell := range row {
			space := strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell))
			dashes := strings.Repeat("-", widths[j]+1)
			if j == 0 {
				line, rule = line+" "+cell+space+" |", rule+":"+dashes+"|"
			} else {
				line, rule = line+" "+space+cell+" |", rule+dashes+":|"
			}
		}
		fmt.Fprintln(w, line)
		if i == 0 {
			fmt.Fprintln(w, rule)
		}
	}
	fmt.Fprintln(w)
}

// newComparisons returns a table with a row for each comparison of two sides.
func newComparisons(base, other string) *table {
	return newTable("case", base, other, "ratio", "bar",
		base+" median", other+" median", "ratio", base+" CPU", other+" CPU", "ratio")
}

// comparison adds the row of one comparison.
func (t *table) comparison(name string, base, other samples, bar float64) {
	least := ratio(base.least(), other.least())
	t.row(
		name, micros(base.least()), micros(other.least()), times(least), atMost(least, bar),
		micros(base.median()), micros(other.median()), times(ratio(base.median(), other.median())),
		micros(base.cpu()), micros(other.cpu()), times(ratio(base.cpu(), other.cpu())),
	)
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

func micros(d time.Duration) string { return fmt.Sprintf("%.0f µs", float64(d)/1e3) }

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

func times(ratio float64) string { return fmt.Sprintf("%.2f", ratio) }

func count(n int) string { return fmt.Sprint(n) }

func kilobytes(n int64) string { return fmt.Sprintf("%d kB", n/1000) }

func bytes(n int64, of int) string { return fmt.Sprintf("%d bytes", n/int64(of)) }
