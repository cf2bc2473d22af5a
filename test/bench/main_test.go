package main

import (
	"strings"
	"testing"
	"time"
)

// TestEverything runs the program with next to no rounds. What it measures then
// means nothing, but every side has to do what is asked of it.
func TestEverything(t *testing.T) {
	var out strings.Builder
	b := &bench{
		out:    &out,
		rounds: rounds{n: 2, length: 100 * time.Microsecond, collect: 1},
		topics: 100, registrations: 100, calls: 100,
	}
	b.runAll(parts)
	if strings.Contains(out.String(), "BROKEN") {
		t.Errorf("a part failed:\n%s", &out)
	}
	for _, row := range []string{
		"work=quick/producers=1000/listeners=4",
		"work=sleep/producers=1/listeners=1",
		"quorum=1",
		"work=quick/producers=10/listeners=0/replicas=2",
		"work=quick/producers=10/listeners=1/blocked=16-newest",
		"topics=100/producers=1/to=each",
		"procs=2/senders=4/work=quick/producers=10/listeners=1",
	} {
		if !strings.Contains(out.String(), "| "+row+" ") && !strings.Contains(out.String(), "/"+row+" ") {
			t.Errorf("no row %s in:\n%s", row, &out)
		}
	}
}

func TestChoose(t *testing.T) {
	chosen, err := choose("topics,quick")
	if err != nil || len(chosen) != 2 || chosen[0].name != "quick" || chosen[1].name != "topics" {
		t.Errorf("chose %v, %v; want quick and topics", chosen, err)
	}
	if _, err := choose("quick,slow"); err == nil {
		t.Error("chose a part that does not exist")
	}
}
