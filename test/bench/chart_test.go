package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

// A chart is well-formed, has each ratio as text and each bar within its panel.
func TestChart(t *testing.T) {
	b := &bench{}
	for _, r := range rows {
		b.noteFor(r, point{1, 0.42, 1.1})
		b.noteFor(r, point{1000, 17, 0.9}) // longer than the chart is high
	}
	if len(b.panels) != len(titles) {
		t.Errorf("%d panels, want %d", len(b.panels), len(titles))
	}
	drawn := chart(b.panels)
	wellFormed(t, drawn)
	for _, want := range []string{">0.42<", ">17.00<", ">1000<", ">return at once<", ">send an HTTP request<"} {
		if !strings.Contains(drawn, want) {
			t.Errorf("the chart has no %s", want)
		}
	}
	if height(17) != 0 || height(0) != panelHeight {
		t.Errorf("bars reach from %v to %v, want from 0 to %d", height(17), height(0), panelHeight)
	}
}

// The chart in the documents is one that this program has drawn, and README shows it.
func TestREADMEShowsTheChart(t *testing.T) {
	drawn, err := os.ReadFile("../../docs/performance.svg")
	if err != nil {
		t.Fatal(err)
	}
	wellFormed(t, string(drawn))
	for _, title := range titles {
		if !strings.Contains(string(drawn), ">"+title+"<") {
			t.Errorf("the chart does not have the panel %q: run make chart", title)
		}
	}
	for _, document := range []string{"../../README.md", "../../docs/performance.md"} {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "performance.svg)") {
			t.Errorf("%s does not show the chart", document)
		}
	}
}

func wellFormed(t *testing.T, drawn string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(drawn)); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
