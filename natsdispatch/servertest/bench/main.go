// The bench program compares calls over NATS with requests by hand, and calls with earlier calls, and
// reports which of the project's bars are met. In the root of the module:
//
//	make bench
//
// or only some parts:
//
//	go run ./bench -only call -rounds 400
//
// The server, the nodes, each with its own connection, and the asker are in one process. The sides of a
// comparison run in random order, so that other load on the machine affects all sides, and the program
// compares medians. The base is measured twice. The ratio of the two medians is the noise; it would be 1 on
// a quiet machine.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// bench has the settings of all parts of the program.
type bench struct {
	out    io.Writer
	rounds int // rounds for each side of a comparison
	round  int // calls of a round
	calls  int // calls that are made one after another
	nodes  int // nodes of the part that measures many nodes
	crowd  int // simulated nodes
	beat   time.Duration
	kills  int
}

func (b *bench) parts() []measure.Part {
	return []measure.Part{
		{Name: "call", Title: "A call to 20 nodes with 10 quick producers each, beside a request by hand", Run: b.call},
		{Name: "sequence", Title: "Very many calls, one after another", Run: b.sequence},
		{Name: "wire", Title: "What goes over the network besides requests and results", Run: b.wire},
		{Name: "failover", Title: "Servers that are killed in mid-call", Run: b.failover},
		{Name: "asker", Title: "An asker among very many simulated nodes", Run: b.crowded},
		{Name: "nodes", Title: "Very many nodes on one server", Run: b.manyNodes},
	}
}

// A missed bar shows in the output and not in the exit status, because people judge the numbers.
func main() {
	b := &bench{out: os.Stdout}
	only := flag.String("only", measure.Names(b.parts()), "the `parts` to run, separated by commas")
	flag.IntVar(&b.rounds, "rounds", 30, "how many `rounds` each side of a comparison gets")
	// A side allocates the minimum size of the heap in seven calls. With a few calls a round, a round would
	// pay for a whole garbage collection or for none.
	flag.IntVar(&b.round, "round", 100, "how many `calls` a round has")
	flag.IntVar(&b.calls, "calls", 10_000, "how many `calls` are made one after another")
	flag.IntVar(&b.nodes, "nodes", 1000, "how many `nodes` are very many")
	flag.IntVar(&b.crowd, "crowd", crowd, "how many simulated `nodes` there are")
	flag.DurationVar(&b.beat, "beat", natsdispatch.DefaultBeat, "how often nodes `beat` whose beats are measured")
	flag.IntVar(&b.kills, "kills", 50, "how often a server is `killed`")
	flag.Parse()
	chosen, err := measure.Choose(b.parts(), *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		flag.Usage()
		os.Exit(2)
	}
	measure.RunAll(b.out, chosen)
}
