package main

import (
	"context"
	"fmt"
	"time"
)

// setup is what a case consists of, whoever runs it.
type setup struct {
	work      work
	producers int
	listeners int
	quorum    int // how many answers are enough; 0: all
	replicas  int // how many stand behind each of the producers, and are hedged; 0: it is on its own
}

// String names the case as rows and benchmarks do.
func (s setup) String() string {
	name := fmt.Sprintf("work=%s/producers=%d/listeners=%d", s.work, s.producers, s.listeners)
	if s.quorum > 0 {
		name += fmt.Sprintf("/quorum=%d", s.quorum)
	}
	if s.replicas > 0 {
		name += fmt.Sprintf("/replicas=%d", s.replicas)
	}
	return name
}

// results returns how many results each listener gets from a call.
func (s setup) results() int {
	if s.quorum > 0 {
		return s.quorum
	}
	return s.producers
}

// sum returns what the results of a call of everybody add up to.
func (s setup) sum() int { return s.producers*request + s.producers*(s.producers-1)/2 }

// request is what every call asks.
const request = 7

// producer is what all sides call.
type producer = func(ctx context.Context, req int) (int, error)

// work is what a producer does before it answers.
type work string

const (
	quick work = "quick" // nothing
	sleep work = "sleep" // it sleeps for a millisecond
)

func (w work) producer(i int) producer {
	if w == sleep {
		return func(_ context.Context, req int) (int, error) {
			time.Sleep(time.Millisecond)
			return req + i, nil
		}
	}
	return func(_ context.Context, req int) (int, error) { return req + i, nil }
}

// sizes are the numbers of producers that are measured.
var sizes = []int{1, 10, 100, 1000}
