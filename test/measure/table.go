package measure

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// A Table is a table in Markdown that can also be read as it is.
type Table struct{ rows [][]string }

// NewTable returns a table with these heads and nothing below them.
func NewTable(heads ...string) *Table { return &Table{[][]string{heads}} }

// Row adds a row. It has as many cells as there are heads.
func (t *Table) Row(cells ...string) { t.rows = append(t.rows, cells) }

// Print writes an empty line and the table. The first column is aligned on the left,
// all others on the right.
func (t *Table) Print(w io.Writer) {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for j, cell := range row {
			widths[j] = max(widths[j], utf8.RuneCountInString(cell))
		}
	}
	fmt.Fprintln(w)
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
}

// None is the bar of a measurement without a bar.
var None = math.Inf(1)

// AtMost is the cell that says whether a value is within its bar.
func AtMost(value, bar float64) string {
	switch {
	case bar == None:
		return ""
	case value <= bar:
		return fmt.Sprintf("≤ %v ok", bar)
	default:
		return fmt.Sprintf("≤ %v MISSED", bar)
	}
}

// Ratio returns how many times as long as the base the other took.
func Ratio(base, other time.Duration) float64 { return float64(other) / float64(base) }

// Micros is the cell of a duration in microseconds.
func Micros(d time.Duration) string { return fmt.Sprintf("%.2f µs", float64(d)/1e3) }
