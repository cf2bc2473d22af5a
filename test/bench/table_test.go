package main

import (
	"strings"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	tab := newTable("case", "time", "bar")
	tab.row("producers=1", "1.50 µs", atMost(0.4, 0.9))
	tab.row("producers=1000", "12.00 µs", atMost(0.91, 0.9))
	tab.row("producers=2", "1 µs", atMost(7, none))
	var got strings.Builder
	tab.print(&got)
	want := `
| case           |     time |          bar |
|:---------------|---------:|-------------:|
| producers=1    |  1.50 µs |     ≤ 0.9 ok |
| producers=1000 | 12.00 µs | ≤ 0.9 MISSED |
| producers=2    |     1 µs |              |
`
	if got.String() != want {
		t.Errorf("got %swant %s", &got, want)
	}
}

// TestComparison makes sure that the bars are held against the best rounds.
func TestComparison(t *testing.T) {
	c := comparison{
		base:  samples{[]time.Duration{20, 10, 30}, []float64{5, 4, 6}},
		other: samples{[]time.Duration{9, 5, 6}, []float64{2, 2, 2}},
	}
	if c.ratio() != 0.5 || c.medianRatio() != 0.3 {
		t.Errorf("ratio %v, of medians %v; want 0.5 and 0.3", c.ratio(), c.medianRatio())
	}
}
