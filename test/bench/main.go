// The bench program compares dispatch with the loop written by hand, and with itself, and
// prints which of the bars that the project has set for itself are met. In the root of the
// module:
//
//	make bench
//
// or, for some of the rows, in this directory:
//
//	go run . -only quick,sleep -rounds 200
//
// The sides of a comparison run in one process, their rounds in random order, and medians are
// compared. The base of each comparison is measured twice, as two sides: the ratio of the two,
// which would be 1 on a quiet machine, is the noise. The rows are in rows.go; the same rows are
// ordinary Go benchmarks in bench_test.go.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// bench is what the parts of the program have in common.
type bench struct {
	out           io.Writer
	rounds        measure.Rounds
	topics        int // how many topics count as very many
	registrations int // how many there are on one topic, to measure what one takes
	panels        []panel
}

// parts returns the rows of rows.go, and the parts that are not comparisons of sides.
func (b *bench) parts() (parts []measure.Part) {
	for _, r := range rows {
		parts = append(parts, measure.Part{Name: r.name, Title: r.title, Run: func() error { return b.compare(r) }})
	}
	return append(
		parts,
		measure.Part{Name: "topics", Title: "Very many topics, and what a registration takes", Run: b.manyTopics},
		measure.Part{Name: "stack", Title: "Bytes of stack between the start of a goroutine and its producer", Run: b.stack},
	)
}

// A bar that is not met, or a part that fails, is printed and does not change the exit status,
// because a reader has to judge the numbers.
func main() {
	b := &bench{out: os.Stdout, topics: 1_000_000, registrations: 100_000}
	only := flag.String("only", measure.Names(b.parts()), "the `parts` to run, separated by commas")
	flag.IntVar(&b.rounds.N, "rounds", 50, "how many `rounds` each side of a comparison gets")
	flag.DurationVar(&b.rounds.Length, "round", 10*time.Millisecond, "about how `long` a round is")
	file := flag.String("chart", "", "the `file` to draw a chart of the parts quick, sleep, select and http into")
	flag.Parse()

	chosen, err := measure.Choose(b.parts(), *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		flag.Usage()
		os.Exit(2)
	}
	fmt.Fprintf(b.out, "medians of %d rounds of %v for each side\n", b.rounds.N, b.rounds.Length)
	measure.RunAll(b.out, chosen)
	if *file == "" {
		return
	}
	if err := b.draw(*file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
