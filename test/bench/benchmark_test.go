package main

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
)

// The names are made of key=value, so that benchstat can set any two sides of a
// case against each other:
//
//	go test -bench 'Call/.*/work=quick' -count 10 ./test/bench | tee new.txt
//	benchstat -col /by new.txt
//
// What is timed is a call from Send to Done, until every listener has every
// result. What it takes to make and close the sides is not.

// BenchmarkCall compares the loop written by hand with the library.
func BenchmarkCall(b *testing.B) {
	for _, by := range []contender{byHand, byDispatch} {
		for _, s := range append(quickSetups(), sleepSetups()...) {
			b.Run(fmt.Sprintf("by=%s/%v", by.by, s), func(b *testing.B) { benchmark(b, by.with(s)) })
		}
	}
}

// BenchmarkQuorum compares one answer of a thousand with all of them.
func BenchmarkQuorum(b *testing.B) {
	for _, s := range []setup{everybody, anybody} {
		b.Run(fmt.Sprintf("need=%d", s.results()), func(b *testing.B) { benchmark(b, byDispatch.with(s)) })
	}
}

// BenchmarkTopics compares a bus with one topic with one that has very many.
func BenchmarkTopics(b *testing.B) {
	for _, n := range []int{1, 1_000_000} {
		b.Run(fmt.Sprintf("topics=%d", n), func(b *testing.B) {
			c, err := newCrowd(n)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			b.Run("to=one", func(b *testing.B) { benchmark(b, c.toOne) })
			b.Run("to=each", func(b *testing.B) { benchmark(b, c.toEach) })
		})
	}
}

// BenchmarkSenders measures calls that are made in parallel on different topics
// of one bus.
func BenchmarkSenders(b *testing.B) {
	for _, listeners := range []int{0, 1} {
		s := setup{work: quick, producers: 10, listeners: listeners}
		b.Run(s.String(), func(b *testing.B) { benchmarkParallel(b, s) })
	}
}

// BenchmarkRegistration measures what adding a registration to one topic takes,
// and as B/registration what of it stays.
func BenchmarkRegistration(b *testing.B) {
	for _, k := range kinds {
		b.Run("of="+k.name, func(b *testing.B) {
			g, err := measureGrowth(func() (any, error) {
				b.ResetTimer()
				defer b.StopTimer()
				return newRow(k, b.N)
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(g.bytes)/float64(b.N), "B/registration")
		})
	}
}

func benchmark(b *testing.B, build builder) {
	s, err := build()
	if err != nil {
		b.Fatal(err)
	}
	defer s.close()
	b.ReportAllocs()
	for b.Loop() {
		if err := s.call(); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.verify(); err != nil {
		b.Fatal(err)
	}
}

func benchmarkParallel(b *testing.B, s setup) {
	sides, err := newNeighbours(s, runtime.GOMAXPROCS(0))
	if err != nil {
		b.Fatal(err)
	}
	defer sides[0].close() // they share their bus
	b.ReportAllocs()
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		s := sides[next.Add(1)-1]
		for pb.Next() {
			if err := s.call(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkHedge compares producers on their own with groups of replicas.
func BenchmarkHedge(b *testing.B) {
	for _, s := range hedgeSetups() {
		for _, s.replicas = range []int{0, 2} {
			b.Run(s.String(), func(b *testing.B) { benchmark(b, byDispatch.with(s)) })
		}
	}
}

// BenchmarkBlocked measures calls with a listener that blocks for ever beside a
// quick one.
func BenchmarkBlocked(b *testing.B) {
	for _, s := range blockedSetups() {
		for _, o := range append([]obstacle{nothing}, obstacles...) {
			b.Run(fmt.Sprintf("%v/blocked=%s", s, o.name), func(b *testing.B) {
				benchmark(b, func() (side, error) { return newObstructed(s, o) })
			})
		}
	}
}
