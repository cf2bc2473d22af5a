// Package timelines draws the time lines of the documentation, from calls that
// its tests make in virtual time:
//
//	go test ./test/timelines          # fails if a document is not up to date
//	go test ./test/timelines -update  # brings the documents up to date
//
// The tests also put the code of the documents there, which is that of functions
// they run.
package timelines

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Chart is a drawing of what happens over time, in characters.
type Chart struct {
	Step   time.Duration // what a column stands for
	Length time.Duration // where the axis ends
	Rows   []Row
	Labels []Label
}

// A Row is one line of a chart.
type Row struct {
	Name  string
	Spans []Span
	Marks []Mark // in front of the spans, the later ones in front of the earlier
	Note  string // behind the row
}

// A Span fills a row from one time up to another.
type Span struct {
	From, To time.Duration
	Fill     byte
}

// A Mark is one character at one time.
type Mark struct {
	At   time.Duration
	Sign byte
}

// A Label is written below the rows, with a pointer to its time.
type Label struct {
	At   time.Duration
	Text string
}

// perTick is how many columns lie between two numbers of the axis.
const perTick = 10

// String draws the chart. No line ends with a blank.
func (c Chart) String() string {
	names := 0
	for _, r := range c.Rows {
		names = max(names, len(r.Name))
	}
	last := c.column(c.Length)
	margin := strings.Repeat(" ", names+2)
	lines := []string{margin + c.axis(last), margin + ticks(last)}
	for _, r := range c.Rows {
		lines = append(lines, fmt.Sprintf("%-*s  %-*s  %s", names, r.Name, last+1, c.cells(r, last), r.Note))
	}
	for _, l := range c.labels() {
		lines = append(lines, margin+l)
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.TrimRight(l, " ") + "\n")
	}
	return b.String()
}

func (c Chart) column(at time.Duration) int { return int(at / c.Step) }

// axis writes the seconds, and the unit behind the last of them.
func (c Chart) axis(last int) string {
	var b strings.Builder
	for i := 0; i <= last; i += perTick {
		fmt.Fprintf(&b, "%-*g", perTick, (time.Duration(i) * c.Step).Seconds())
	}
	return strings.TrimRight(b.String(), " ") + " s"
}

func ticks(last int) string {
	line := []byte(strings.Repeat("-", last+1))
	for i := 0; i <= last; i += perTick {
		line[i] = '+'
	}
	return string(line)
}

func (c Chart) cells(r Row, last int) string {
	cells := []byte(strings.Repeat(" ", last+1))
	for _, s := range r.Spans {
		for i := c.column(s.From); i < c.column(s.To); i++ {
			cells[i] = s.Fill
		}
	}
	for _, m := range r.Marks {
		cells[c.column(m.At)] = m.Sign
	}
	return string(cells)
}

// labels puts the labels on as few lines as they need.
func (c Chart) labels() (lines []string) {
	sorted := slices.SortedStableFunc(slices.Values(c.Labels), func(a, b Label) int { return cmp.Compare(a.At, b.At) })
	for _, l := range sorted {
		at := c.column(l.At)
		i := slices.IndexFunc(lines, func(line string) bool { return len(line) < at })
		if i < 0 {
			i = len(lines)
			lines = append(lines, "")
		}
		lines[i] += strings.Repeat(" ", at-len(lines[i])) + "^ " + l.Text
	}
	return lines
}
