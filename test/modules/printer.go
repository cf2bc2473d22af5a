package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// lacking begins the reason of a test that skips itself because of the machine.
const lacking = "this machine lacks "

// An event is a line of go test -json; see go doc test2json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// A printer turns the events of go test -json back into what go test prints, with
// each package as it ends, and remembers what the machine lacks.
type printer struct {
	w        io.Writer
	packages map[string]*results
	lacks    []lack // in the order in which they were found
}

// results is the output of a package that is still needed.
type results struct {
	tests  []string            // that have neither passed nor been skipped, and "" for the package
	output map[string][]string // by test
	lacks  []lack
}

// A lack is something that the machine does not have, and the number of tests that need it.
type lack struct {
	what  string
	tests int
}

func newPrinter(w io.Writer) *printer {
	return &printer{w: w, packages: make(map[string]*results)}
}

// line handles a line of go test -json. A line that is not an event is printed as it is.
func (p *printer) line(line []byte) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil || e.Action == "" {
		_, _ = p.w.Write(line)
		return
	}
	switch e.Action {
	case "build-output":
		fmt.Fprint(p.w, e.Output)
	case "output":
		// Lines such as "=== RUN" are there only because -json implies -v.
		if e.Test == "" || !strings.HasPrefix(e.Output, "=== ") {
			p.results(e.Package).keep(e.Test, e.Output)
		}
	case "pass", "skip", "fail":
		p.end(e)
	}
}

// end handles the end of a test or, if the event names none, of a package.
func (p *printer) end(e event) {
	r := p.results(e.Package)
	if e.Test != "" {
		if e.Action == "skip" {
			r.skip(strings.Join(r.output[e.Test], ""))
		}
		if e.Action != "fail" {
			r.forget(e.Test)
		}
		return
	}
	if e.Action == "fail" {
		p.print(r)
	} else if own := r.output[""]; len(own) > 0 {
		fmt.Fprint(p.w, own[len(own)-1]) // such as "ok", the package and how long it took
	}
	for _, l := range r.lacks {
		fmt.Fprintf(p.w, "SKIP\t%s\t%s%s (%s)\n", e.Package, lacking, l.what, count(l.tests))
		p.add(l)
	}
	delete(p.packages, e.Package)
}

// rest prints the output of packages that have not ended.
func (p *printer) rest() {
	for name, r := range p.packages {
		p.print(r)
		delete(p.packages, name)
	}
}

func (p *printer) print(r *results) {
	for _, test := range r.tests {
		if test != "" {
			fmt.Fprint(p.w, strings.Join(r.output[test], ""))
		}
	}
	fmt.Fprint(p.w, strings.Join(r.output[""], ""))
}

// lack records, and prints at once, that the machine lacks something that all tests would use.
func (p *printer) lack(what, why string) {
	fmt.Fprintf(p.w, "SKIP\t%s%s: %s\n", lacking, what, why)
	p.add(lack{what: what})
}

func (p *printer) add(l lack) {
	for i := range p.lacks {
		if p.lacks[i].what == l.what {
			p.lacks[i].tests += l.tests
			return
		}
	}
	p.lacks = append(p.lacks, l)
}

// summary says what was skipped.
func (p *printer) summary() {
	if len(p.lacks) == 0 {
		fmt.Fprintln(p.w, "== nothing was skipped for want of a tool")
		return
	}
	fmt.Fprintln(p.w, "== skipped; make deps installs what is missing on Debian")
	for _, l := range p.lacks {
		if l.tests == 0 {
			fmt.Fprintf(p.w, "SKIP\t%s%s: all tests ran without it\n", lacking, l.what)
			continue
		}
		fmt.Fprintf(p.w, "SKIP\t%s%s: %s did not run\n", lacking, l.what, count(l.tests))
	}
}

func (p *printer) results(name string) *results {
	r := p.packages[name]
	if r == nil {
		r = &results{output: make(map[string][]string)}
		p.packages[name] = r
	}
	return r
}

func (r *results) keep(test, output string) {
	if _, ok := r.output[test]; !ok {
		r.tests = append(r.tests, test)
	}
	r.output[test] = append(r.output[test], output)
}

func (r *results) forget(test string) {
	delete(r.output, test)
	r.tests = slices.DeleteFunc(r.tests, func(t string) bool { return t == test })
}

// skip counts a test that has skipped itself because of the machine. Other reasons are not
// counted.
func (r *results) skip(output string) {
	_, what, ok := strings.Cut(output, lacking)
	if !ok {
		return
	}
	what, _, _ = strings.Cut(what, "\n")
	for i := range r.lacks {
		if r.lacks[i].what == what {
			r.lacks[i].tests++
			return
		}
	}
	r.lacks = append(r.lacks, lack{what: what, tests: 1})
}

func count(tests int) string {
	if tests == 1 {
		return "1 test"
	}
	return fmt.Sprint(tests, " tests")
}
