// The house program measures how much code and how many concepts a reader of dispatch has to
// know, and prints which of the goals that the project has set for itself are met. In the root
// of the module:
//
//	make house
//
// It reads the code as the compiler does, with package go/types; no number is counted by hand.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// figure is one measure.
type figure struct {
	what   string
	value  int
	goal   int // at most
	limit  int // once the API has all that is planned; 0: the goal
	detail string
}

func main() {
	strict := flag.Bool("strict", false, "fail if a goal is missed")
	flag.Parse()
	missed, err := house(os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if *strict && missed > 0 {
		os.Exit(1)
	}
}

// house prints the table and returns how many goals are missed. If there is a wider limit, only
// the limit counts.
func house(w io.Writer) (missed int, err error) {
	code, err := load()
	if err != nil {
		return 0, err
	}
	way, err := code.way()
	if err != nil {
		return 0, err
	}
	parts, err := code.parts()
	if err != nil {
		return 0, err
	}
	cycle := code.root().cycle()
	locks, kinds := code.locks()
	length, name := code.longest()
	figures := []figure{
		{"code lines of the root package", code.root().lines(), 2200, 2500, "neither blank nor only a comment; no tests"},
		{"code lines of root and internal", code.lines(), 4200, 4700, "what go list -deps brings into a program"},
		{"largest cycle of files in the root", len(cycle), 8, 0, fmt.Sprintf("of %d files; by what they use of each other", len(code.root().syntax))},
		{"atomics and mutexes in root and internal", locks, 20, 0, kinds},
		{"files on the way of one request", len(way.root), 9, 0, "of the root, see below"},
		{"longest function of both, in lines", length, 50, 0, name},
	}
	t := measure.NewTable("measure", "today", "goal", "with the planned API", "")
	for _, f := range figures {
		limit := ""
		if f.limit > 0 {
			limit = measure.AtMost(float64(f.value), float64(f.limit))
		}
		t.Row(f.what, strconv.Itoa(f.value), measure.AtMost(float64(f.value), float64(f.goal)), limit, f.detail)
		if f.value > max(f.goal, f.limit) {
			missed++
		}
	}
	t.Print(w)
	fmt.Fprintf(w, "\nCode lines by layer of the root and by internal package:\n%s", indented(parts))
	fmt.Fprintf(w, "\nThe largest cycle:\n%s", indented(cycle))
	fmt.Fprintf(w, "\nOn the way of one request, by the coverage of a program (test/house/request) that\n"+
		"registers a plain producer and a listener, sets all counters back to zero, and calls\n"+
		"Gather once: the files of the root in which a statement was executed from then on:\n%s"+
		"and of internal:\n%s", indented(way.root), indented(way.internal))
	return missed, nil
}

// indented returns names in lines of moderate length.
func indented(names []string) string {
	var b strings.Builder
	width := 0
	for i, name := range names {
		if i == 0 || width+len(name) > 80 {
			if i > 0 {
				b.WriteByte('\n')
			}
			b.WriteString("   ")
			width = 3
		}
		b.WriteString(" " + name)
		width += 1 + len(name)
	}
	b.WriteByte('\n')
	return b.String()
}
