package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// panel is the part of the chart for one row: how long calls take, relative to those of the
// loop written by hand.
type panel struct {
	row    string
	points []point
}

// point is one comparison of a row.
type point struct {
	producers    int
	ratio, noise float64
}

// titles are what the panels are called, by row. Rows without a title are not in the chart.
var titles = map[string]string{
	"quick":  "return at once",
	"sleep":  "sleep 1 ms",
	"select": "wait 1 ms in a select",
	"http":   "send an HTTP request",
}

// The measures of the chart, in pixels.
const (
	panelWidth, panelGap = 176, 24
	panelHeight          = 200
	chartLeft, chartTop  = 56, 66
	chartBottom          = 62
	barWidth             = 34
	mostRatio            = 2.0 // a longer bar is cut off
)

// noteFor keeps the ratios of a row for the chart, if that shows the row.
func (b *bench) noteFor(r row, p point) {
	if titles[r.name] == "" {
		return
	}
	if n := len(b.panels); n == 0 || b.panels[n-1].row != r.name {
		b.panels = append(b.panels, panel{row: r.name})
	}
	last := &b.panels[len(b.panels)-1]
	last.points = append(last.points, p)
}

// draw writes the chart into a file.
func (b *bench) draw(file string) error {
	return os.WriteFile(file, []byte(chart(b.panels)), 0o644)
}

// chart draws the panels side by side as an SVG: a bar for each number of producers. Its height
// is the duration of the call relative to that of the loop written by hand, which is the line
// at 1.
func chart(panels []panel) string {
	var b strings.Builder
	width := chartLeft + len(panels)*(panelWidth+panelGap)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, chartTop+panelHeight+chartBottom)
	b.WriteString("<title>How long a call takes, as a multiple of the loop written by hand</title>\n")
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	fmt.Fprintf(&b, `<text x="%d" y="22" font-size="14" font-weight="bold">How long a call takes, as a multiple of the loop written by hand (1.0)</text>`+"\n", chartLeft)
	for i, p := range panels {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n%s</g>\n", chartLeft+i*(panelWidth+panelGap), chartTop, drawPanel(p, i == 0))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#555555">number of producers; medians on %s/%s, %d processors, %s; the thin line on a bar: the loop measured twice</text>`+"\n",
		chartLeft, chartTop+panelHeight+48, runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), runtime.Version())
	b.WriteString("</svg>\n")
	return b.String()
}

// drawPanel draws one panel, with the scale if it is the first one.
func drawPanel(p panel, scaled bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<text x="0" y="-12" font-weight="bold">%s</text>`+"\n", titles[p.row])
	for _, ratio := range []float64{0, 0.5, 1, 1.5, mostRatio} {
		colour := "#dddddd"
		if ratio == 1 {
			colour = "#c2571a"
		}
		fmt.Fprintf(&b, `<path d="M0 %.1fH%d" stroke="%s"/>`+"\n", height(ratio), panelWidth, colour)
		if scaled {
			fmt.Fprintf(&b, `<text x="-8" y="%.1f" text-anchor="end">%.1f</text>`+"\n", height(ratio)+4, ratio)
		}
	}
	step := float64(panelWidth) / float64(len(p.points))
	for i, at := range p.points {
		x := step*(float64(i)+0.5) - barWidth/2
		top := height(at.ratio)
		fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%d" height="%.1f" fill="#1f6fb4"/>`+"\n", x, top, barWidth, panelHeight-top)
		fmt.Fprintf(&b, `<path d="M%.1f %.1fV%.1f" stroke="#222222"/>`+"\n", x+barWidth/2, height(at.ratio*least(at.noise)), height(at.ratio/least(at.noise)))
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle" fill="white" font-weight="bold">%.2f</text>`+"\n", x+barWidth/2, panelHeight-6, at.ratio)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x+barWidth/2, panelHeight+16, at.producers)
	}
	return b.String()
}

// height is where a ratio is on the scale.
func height(ratio float64) float64 { return panelHeight * (1 - min(ratio, mostRatio)/mostRatio) }

// least returns the ratio of the two measurements of the loop as a number up to 1.
func least(noise float64) float64 {
	if noise > 1 {
		return 1 / noise
	}
	return noise
}
