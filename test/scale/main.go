// The scale program shows what dispatch does with very many calls in flight, producers, calls
// one after another, listeners, or registrations. In the root of the module:
//
//	make scale
//
// or, for some of the parts, in this directory:
//
//	go run . -only flight,listeners -n 0.1
//
// Times and bytes are measured and printed, and a reader has to judge them. The goroutines and
// the heap must be as before when a part has ended. They are compared with the values before,
// and called "ok" or "GREW". The last part, growth, prints the cost of an operation for each
// size.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

type (
	dispatcher = dispatch.Dispatcher[int, int]
	result     = dispatch.Result[int, int]
)

// on is the topic of all parts.
var on = dispatch.NewTopic[int, int]("scale")

// scale is what the parts of the program have in common.
type scale struct {
	out      io.Writer
	factor   float64       // of all numbers of calls, producers and so on
	patience time.Duration // how long one size of growth may take
	most     int           // the largest size of growth; 0: no limit
}

// times returns the number to use where the default is n.
func (s *scale) times(n int) int { return max(1, int(float64(n)*s.factor)) }

func (s *scale) parts() []measure.Part {
	return []measure.Part{
		{Name: "flight", Title: "Very many calls in flight, whose producers block", Run: s.flight},
		{Name: "producers", Title: "Very many producers on one topic", Run: s.producers},
		{Name: "sequence", Title: "Very many calls, one after another", Run: s.sequence},
		{Name: "listeners", Title: "Very many listeners on one topic", Run: s.listeners},
		{Name: "growth", Title: "Cost against size", Run: s.growth},
	}
}

func main() {
	s := &scale{out: os.Stdout, patience: 5 * time.Second}
	only := flag.String("only", measure.Names(s.parts()), "the `parts` to run, separated by commas")
	flag.Float64Var(&s.factor, "n", 1, "the `factor` by which there is more of everything, sizes of growth apart")
	flag.DurationVar(&s.patience, "patience", s.patience, "how `long` one size of growth may take")
	flag.Parse()

	chosen, err := measure.Choose(s.parts(), *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		flag.Usage()
		os.Exit(2)
	}
	measure.RunAll(s.out, chosen)
}
