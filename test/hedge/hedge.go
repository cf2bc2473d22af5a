// Package hedge shows what hedging does to the latencies of a group with a heavy tail: none,
// after a fixed time, and at a quantile of the recent latencies. Its test makes the calls, in
// virtual time; in the root of the module:
//
//	make hedge # prints the table, and draws the chart of docs/policies/groups.md again
//
// Only time is virtual: the calls are those of package dispatch. They are made one after
// another, so the latencies do not depend on the number of runs. In a back end that is near its
// limit they do, and extra runs cost more than the table shows.
package hedge

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A Series is how the calls under one policy went.
type Series struct {
	Name  string
	Takes []time.Duration // one for each call, sorted
	Extra float64         // runs beyond the first of each call, in relation to calls
}

// At returns the time that this share of the calls does not exceed.
func (s Series) At(share float64) time.Duration {
	return s.Takes[min(int(share*float64(len(s.Takes))), len(s.Takes)-1)]
}

// A Load is the same calls under each policy.
type Load struct {
	Title  string
	Series []Series
}

var quantiles = []struct {
	name  string
	share float64
}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}}

// Table writes the loads as a table of Markdown.
func Table(loads []Load) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	fmt.Fprint(w, "| latencies\t| hedge")
	for _, q := range quantiles {
		fmt.Fprintf(w, "\t| %s", q.name)
	}
	fmt.Fprintf(w, "\t| extra runs\t|\n|---\t|---%s\t|---\t|\n", strings.Repeat("\t|---", len(quantiles)))
	for _, l := range loads {
		for _, s := range l.Series {
			fmt.Fprintf(w, "| %s\t| %s", l.Title, s.Name)
			for _, q := range quantiles {
				fmt.Fprintf(w, "\t| %v", s.At(q.share).Round(time.Millisecond))
			}
			fmt.Fprintf(w, "\t| %.1f %%\t|\n", 100*s.Extra)
		}
	}
	_ = w.Flush()
	return b.String()
}

// The measures of the chart, in pixels.
const (
	width, height  = 380, 300 // of a panel
	left, top      = 60, 40
	shortest       = 5 * time.Millisecond
	longest        = 5 * time.Second
	most           = 0.9995 // of the calls
	legend, margin = 22, 12
)

var colours = []string{"#888888", "#c2571a", "#1f6fb4", "#2e8b57", "#8e44ad"}

// Chart draws the loads side by side as an SVG: which share of the calls takes how long, both
// on scales that give long times room.
func Chart(loads []Load) string {
	var b strings.Builder
	all := len(loads)*(left+width) + margin
	deep := top + height + 40 + legend*len(loads[0].Series)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", all, deep)
	fmt.Fprintf(&b, `<title>Latencies of calls without a hedge, with a fixed one and with one at a quantile</title>`+"\n")
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	for i, l := range loads {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n%s</g>\n", left+i*(left+width), top, panel(l))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func panel(l Load) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<text x="0" y="-16" font-weight="bold">%s</text>`+"\n", l.Title)
	for _, q := range quantiles {
		fmt.Fprintf(&b, `<path d="M%.1f 0V%d" stroke="#dddddd"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			across(q.share), height, across(q.share), height+16, q.name)
	}
	for _, d := range []time.Duration{5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000} {
		d *= time.Millisecond
		fmt.Fprintf(&b, `<path d="M0 %.1fH%d" stroke="#dddddd"/><text x="-6" y="%.1f" text-anchor="end">%v</text>`+"\n", down(d), width, down(d)+4, d)
	}
	for i, s := range l.Series {
		var points []string
		for x := 0.0; x <= width; x += 2 {
			points = append(points, fmt.Sprintf("%.0f,%.1f", x, down(s.At(share(x)))))
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), colours[i])
		y := height + 40 + legend*i
		fmt.Fprintf(&b, `<path d="M0 %dh24" stroke="%s" stroke-width="3"/><text x="32" y="%d">%s: %.1f %% extra runs</text>`+"\n",
			y, colours[i], y+4, s.Name, 100*s.Extra)
	}
	return b.String()
}

// across returns the position of a share of the calls: 0.5 is at the left, and each step from
// 0.9 to 0.99 and on has the same width.
func across(share float64) float64 {
	return width * math.Log(0.5/(1-share)) / math.Log(0.5/(1-most))
}

// share is the inverse of across.
func share(x float64) float64 { return 1 - 0.5*math.Pow((1-most)/0.5, x/width) }

func down(d time.Duration) float64 {
	d = max(shortest, min(d, longest))
	return height * math.Log(float64(longest)/float64(d)) / math.Log(float64(longest)/float64(shortest))
}

// NewSeries sorts the times.
func NewSeries(name string, takes []time.Duration, runs int) Series {
	slices.Sort(takes)
	return Series{name, takes, float64(runs)/float64(len(takes)) - 1}
}
