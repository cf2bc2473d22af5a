package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// BenchmarkRows has the sides of all rows as ordinary benchmarks, for profiles, and for
// benchstat, which compares any two sides of a row:
//
//	go test -bench 'Rows/row=quick' -count 10 ./test/bench | tee new.txt
//	benchstat -col /side new.txt
//
// The time is that of a call from Send to Done, until the listener has every result.
func BenchmarkRows(b *testing.B) {
	for _, r := range rows {
		for _, c := range append([]contender{r.base}, r.others...) {
			for _, n := range r.sizes {
				b.Run(fmt.Sprintf("row=%s/side=%s/producers=%d", r.name, strings.ReplaceAll(c.name, " ", "-"), n), func(b *testing.B) {
					benchmark(b, c, n)
				})
			}
		}
	}
}

func benchmark(b *testing.B, c contender, producers int) {
	s, err := c.build(producers)
	if err != nil {
		b.Fatal(err)
	}
	defer s.close()
	if s.Before != nil {
		if err := s.Before(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Call(); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.verify(); err != nil {
		b.Fatal(err)
	}
}

// TestEverything runs the program with very few rounds. The measurements then mean nothing, but
// every side must work.
func TestEverything(t *testing.T) {
	var out strings.Builder
	b := &bench{
		out:    &out,
		rounds: measure.Rounds{N: 2, Length: 100 * time.Microsecond},
		topics: 100, registrations: 100,
	}
	measure.RunAll(&out, b.parts())
	if strings.Contains(out.String(), "BROKEN") {
		t.Errorf("a part failed:\n%s", &out)
	}
	for _, row := range rows {
		if !strings.Contains(out.String(), "\n## "+row.name+": ") {
			t.Errorf("no part %s in:\n%s", row.name, &out)
		}
		for _, bars := range [][]float64{row.time, row.cpu, row.allocs} {
			if bars != nil && len(bars) != len(row.sizes) {
				t.Errorf("row %s has the bars %v for the sizes %v", row.name, bars, row.sizes)
			}
		}
	}
}

// TestVerify checks that verify finds sides that lose, repeat or falsify results.
func TestVerify(t *testing.T) {
	for _, test := range []struct {
		values []int
		want   string // in the error
	}{
		{[]int{7, 8}, ""},
		{[]int{8, 7}, ""},
		{[]int{7}, "got 1 results, not 2"},
		{[]int{7, 8, 7}, "got 3 results, not 2"},
		{[]int{7, 7}, "add up to 14, not 15"},
	} {
		r := newReceiver(setup{producers: 2})
		r.calls = 1
		for _, v := range test.values {
			r.receive(v)
		}
		err := r.verify()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got the error %v, want %q", test.values, err, test.want)
		}
	}
}

// TestStackIsThatOfTheWay checks that more frames are measured as more bytes.
func TestStackIsThatOfTheWay(t *testing.T) {
	var near, far depth
	done := make(chan struct{})
	go func() { near.note(); close(done) }()
	<-done
	done = make(chan struct{})
	go func() { deeper(&far); close(done) }()
	<-done
	if more := far.used - near.used; more < 512 || more > 700 {
		t.Errorf("a frame of 512 bytes is measured as %d bytes", more)
	}
}

//go:noinline
func deeper(d *depth) {
	var large [512]byte
	d.note()
	fmt.Fprint(io.Discard, len(large), large[len(d.functions)%512])
}
