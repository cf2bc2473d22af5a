// The bench program measures calls over NATS beside what one would write by hand,
// and beside themselves, and says which of the bars that the project has set for
// itself are reached. In the root of the module:
//
//	make bench
//
// or some of it:
//
//	go run ./internal/bench -only call -rounds 400
//
// Everything is in one process: the server, the nodes with a connection each, and who
// asks. Both sides of a comparison run in turns, so that whatever else the machine
// does befalls both. What is compared is the fastest round of each side: noise only
// ever adds. The medians stand beside it.
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
	out    io.Writer
	rounds int // for each side of a comparison
	round  int // calls in a round
	calls  int // one after another
	nodes  int // that are very many
}

// part is a part of the program that can be chosen by its name.
type part struct {
	name  string
	title string
	run   func(*bench) error
}

var parts = []part{
	{"call", "A call to 20 nodes with 10 quick producers each, beside a request by hand", (*bench).call},
	{"sequence", "Very many calls, one after another", (*bench).sequence},
	{"nodes", "Very many nodes on one server", (*bench).manyNodes},
}

// A bar that is missed shows in what is printed and not in the exit status: the
// numbers are for people to judge.
func main() {
	b := &bench{out: os.Stdout}
	only := flag.String("only", strings.Join(partNames(), ","), "the `parts` to run, separated by commas")
	flag.IntVar(&b.rounds, "rounds", 100, "how many `rounds` each side of a comparison gets")
	flag.IntVar(&b.round, "round", 10, "how many `calls` a round has")
	flag.IntVar(&b.calls, "calls", 10_000, "how many `calls` are made one after another")
	flag.IntVar(&b.nodes, "nodes", 1000, "how many `nodes` are very many")
	flag.Parse()
	chosen, err := choose(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		flag.Usage()
		os.Exit(2)
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
	fmt.Fprintf(b.out, "%s %s/%s, %d processors\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	for _, p := range chosen {
		fmt.Fprintf(b.out, "\n## %s: %s\n\n", p.name, p.title)
		if err := p.run(b); err != nil {
			fmt.Fprintf(b.out, "\nBROKEN: %v\n", err)
		}
	}
	fmt.Fprintf(b.out, "\nThat took %v.\n", time.Since(begin).Round(time.Second))
}
