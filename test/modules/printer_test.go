package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Package b ends before package a, in which one test fails, one passes and two skip
// themselves.
const events = `{"Action":"start","Package":"a"}
{"Action":"run","Package":"a","Test":"TestFails"}
{"Action":"output","Package":"a","Test":"TestFails","Output":"=== RUN   TestFails\n"}
{"Action":"output","Package":"a","Test":"TestPasses","Output":"    a_test.go:1: of no interest\n"}
{"Action":"output","Package":"a","Test":"TestFails","Output":"    a_test.go:2: got 1, want 2\n"}
{"Action":"output","Package":"b","Output":"PASS\n"}
{"Action":"output","Package":"b","Output":"ok  \tb\t0.1s\n"}
{"Action":"pass","Package":"b","Elapsed":0.1}
{"Action":"pass","Package":"a","Test":"TestPasses"}
{"Action":"output","Package":"a","Test":"TestFails","Output":"--- FAIL: TestFails (0.00s)\n"}
{"Action":"fail","Package":"a","Test":"TestFails"}
{"Action":"output","Package":"a","Test":"TestSkips","Output":"    a_test.go:3: this machine lacks a moon\n"}
{"Action":"output","Package":"a","Test":"TestSkips","Output":"--- SKIP: TestSkips (0.00s)\n"}
{"Action":"skip","Package":"a","Test":"TestSkips"}
{"Action":"output","Package":"a","Test":"TestShort","Output":"    a_test.go:4: takes long\n"}
{"Action":"skip","Package":"a","Test":"TestShort"}
{"Action":"output","Package":"a","Output":"FAIL\n"}
{"Action":"output","Package":"a","Output":"FAIL\ta\t0.2s\n"}
{"Action":"fail","Package":"a","Elapsed":0.2}
{"Action":"output","Package":"c","Output":"?   \tc\t[no test files]\n"}
{"Action":"skip","Package":"c"}
`

func printed(p *printer, events string) {
	for line := range strings.Lines(events) {
		p.line([]byte(line))
	}
	p.rest()
}

func TestPackagesArePrintedAsTheyEnd(t *testing.T) {
	var out strings.Builder
	p := newPrinter(&out)
	printed(p, events)
	const want = `ok  	b	0.1s
    a_test.go:2: got 1, want 2
--- FAIL: TestFails (0.00s)
FAIL
FAIL	a	0.2s
SKIP	a	this machine lacks a moon (1 test)
?   	c	[no test files]
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
}

func TestSummaryCountsWhatWasSkipped(t *testing.T) {
	var out strings.Builder
	p := newPrinter(&out)
	p.lack("the race detector", "no C compiler")
	printed(p, events)
	printed(p, strings.ReplaceAll(events, `"a"`, `"d"`))
	out.Reset()
	p.summary()
	const want = `== skipped; make deps installs what is missing on Debian
SKIP	this machine lacks the race detector: all tests ran without it
SKIP	this machine lacks a moon: 2 tests did not run
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
}

// A package that a crash has ended has no end event.
func TestWhatHasNotEndedIsPrinted(t *testing.T) {
	var out strings.Builder
	printed(newPrinter(&out), `{"Action":"build-output","ImportPath":"a","Output":"a.go:1: undefined: x\n"}
{"Action":"output","Package":"a","Test":"TestPasses","Output":"passed\n"}
{"Action":"pass","Package":"a","Test":"TestPasses"}
{"Action":"output","Package":"a","Test":"TestHangs","Output":"=== RUN   TestHangs\n"}
{"Action":"output","Package":"a","Test":"TestHangs","Output":"panic: test timed out\n"}
{"Action":"output","Package":"a","Output":"FAIL a\n"}
not an event
`)
	const want = "a.go:1: undefined: x\nnot an event\npanic: test timed out\nFAIL a\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
}
