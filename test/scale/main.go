// The scale program shows what dispatch does when there is very much of
// something: calls in flight, producers, calls one after another, listeners. In
// the root of the module:
//
//	make scale
//
// or, for some of it, in this directory:
//
//	go run . -only flight,listeners -n 0.1
//
// Times and bytes are measured and printed, for people to judge. What has to be as
// it was when all is over, the goroutines and the heap, is compared with what was
// there before and called "ok" or "GREW".
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

type (
	dispatcher = dispatch.Dispatcher[int, int]
	result     = dispatch.Result[int, int]
)

// on is the topic that everything happens on.
var on = dispatch.NewTopic[int, int]("scale")

// scale is what the parts of the program have in common.
type scale struct {
	out    io.Writer
	factor float64 // of how many of everything there are
}

// times returns how many there are of what there are n of by default.
func (s *scale) times(n int) int { return max(1, int(float64(n)*s.factor)) }

// part is a part of the program that can be chosen by its name.
type part struct {
	name  string
	title string
	run   func(*scale) error
}

var parts = []part{
	{"flight", "Very many calls in flight, whose producers block", (*scale).flight},
	{"producers", "Very many producers on one topic", (*scale).producers},
	{"sequence", "Very many calls, one after another", (*scale).sequence},
	{"listeners", "Very many listeners on one topic", (*scale).listeners},
}

func main() {
	s := &scale{out: os.Stdout}
	only := flag.String("only", strings.Join(partNames(), ","), "the `parts` to run, separated by commas")
	flag.Float64Var(&s.factor, "n", 1, "the `factor` by which there is more of everything")
	flag.Parse()

	chosen, err := choose(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		flag.Usage()
		os.Exit(2)
	}
	s.runAll(chosen)
}

func partNames() []string {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	return names
}

// choose returns the parts of these names, in their usual order.
func choose(only string) ([]part, error) {
	wanted := strings.Split(only, ",")
	for _, name := range wanted {
		if !slices.Contains(partNames(), name) {
			return nil, fmt.Errorf("there is no part %q", name)
		}
	}
	return slices.DeleteFunc(slices.Clone(parts), func(p part) bool {
		return !slices.Contains(wanted, p.name)
	}), nil
}

func (s *scale) runAll(chosen []part) {
	begin := time.Now()
	fmt.Fprintf(s.out, "%s %s/%s, %d processors\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	for _, p := range chosen {
		fmt.Fprintf(s.out, "\n## %s: %s\n", p.name, p.title)
		stop := watch(p.name)
		err := p.run(s)
		stop()
		if err != nil {
			fmt.Fprintf(s.out, "\nBROKEN: %v\n", err)
		}
	}
	fmt.Fprintf(s.out, "\nThat took %v.\n", time.Since(begin).Round(time.Second))
}
