// The benchmark program measures dispatch beside the loop that one would write
// by hand, and beside itself, and says which of the bars that the project has
// set for itself are reached. In the root of the module:
//
//	make bench
//
// or, for some of it, in this directory:
//
//	go run . -only quick,sleep -rounds 100
//
// Both sides of a comparison run in one process, and their rounds alternate, so
// that whatever else the machine does befalls both. What is compared is the
// fastest round of each side: noise only ever adds. The medians stand beside it.
// The same cases are ordinary Go benchmarks, too; see benchmark_test.go.
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
)

// bench is what the parts of the program have in common.
type bench struct {
	out           io.Writer
	rounds        rounds
	topics        int // how many topics count as very many
	registrations int // how many there are on one topic, to measure what one takes
	calls         int // how many each sender makes to measure contention
}

// part is a part of the program that can be chosen by its name.
type part struct {
	name  string
	title string
	run   func(*bench) error
}

var parts = []part{
	{"quick", "Producers that return at once", (*bench).quick},
	{"sleep", "Producers that sleep 1 ms", (*bench).sleep},
	{"quorum", "The first of a thousand answers, beside all of them", (*bench).quorum},
	{"hedge", "Replicas with a hedge that is never due, beside producers on their own", (*bench).hedge},
	{"blocked", "A listener that blocks for ever beside a quick one", (*bench).blocked},
	{"observed", "What an observer costs, hook by hook", (*bench).observed},
	{"topics", "Very many topics, and what a registration takes", (*bench).manyTopics},
	{"contention", "Senders on different topics of one bus, by the mutex profile", (*bench).contention},
}

// A bar that is missed, or a library that is broken, shows in what is printed and
// not in the exit status: the numbers are for people to judge.
func main() {
	b := &bench{
		out:    os.Stdout,
		rounds: rounds{collect: 1},
		topics: 1_000_000, registrations: 100_000, calls: 20_000,
	}
	only := flag.String("only", strings.Join(partNames(), ","), "the `parts` to run, separated by commas")
	flag.IntVar(&b.rounds.n, "rounds", 200, "how many `rounds` each side of a comparison gets")
	flag.DurationVar(&b.rounds.length, "round", 5*time.Millisecond, "about how `long` a round is")
	flag.Parse()

	chosen, err := choose(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		flag.Usage()
		return
	}
	b.runAll(chosen)
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

func (b *bench) runAll(chosen []part) {
	begin := time.Now()
	fmt.Fprintf(b.out, "%s %s/%s, %d processors, %d rounds of %v for each side\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), b.rounds.n, b.rounds.length)
	for _, p := range chosen {
		fmt.Fprintf(b.out, "\n## %s: %s\n", p.name, p.title)
		if err := p.run(b); err != nil {
			fmt.Fprintf(b.out, "\nBROKEN: %v\n", err)
		}
	}
	fmt.Fprintf(b.out, "\nThat took %v.\n", time.Since(begin).Round(time.Second))
}
