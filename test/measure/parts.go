package measure

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// A Part is a part of a program that can be chosen by its name.
type Part struct {
	Name  string
	Title string
	Run   func() error
}

// Names returns the names of the parts, separated by commas.
func Names(parts []Part) string {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.Name
	}
	return strings.Join(names, ",")
}

// Choose returns the parts of these names, which are separated by commas, in their
// usual order.
func Choose(parts []Part, only string) ([]Part, error) {
	wanted := strings.Split(only, ",")
	for _, name := range wanted {
		if !slices.ContainsFunc(parts, func(p Part) bool { return p.Name == name }) {
			return nil, fmt.Errorf("there is no part %q", name)
		}
	}
	return slices.DeleteFunc(slices.Clone(parts), func(p Part) bool { return !slices.Contains(wanted, p.Name) }), nil
}

// RunAll runs the parts and writes their names and how long they took. An error of a part is
// written as BROKEN, and the other parts still run.
func RunAll(w io.Writer, parts []Part) {
	began := time.Now()
	fmt.Fprintf(w, "%s %s/%s, %d processors\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	for _, p := range parts {
		fmt.Fprintf(w, "\n## %s: %s\n", p.Name, p.Title)
		stop := watch(w, p.Name)
		err := p.Run()
		stop()
		if err != nil {
			fmt.Fprintf(w, "\nBROKEN: %v\n", err)
		}
	}
	fmt.Fprintf(w, "\nThat took %v.\n", time.Since(began).Round(time.Second))
}

// patience is how long a part may take. All parts together take less.
const patience = 3 * time.Minute

// watch ends the program, and shows where its goroutines are, if a part hangs.
func watch(w io.Writer, name string) (stop func() bool) {
	return time.AfterFunc(patience, func() {
		fmt.Fprintf(w, "\nBROKEN: %s hangs\n", name)
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		os.Exit(1)
	}).Stop
}
