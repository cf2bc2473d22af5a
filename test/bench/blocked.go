package main

import (
	"context"
	"fmt"
	"math"

	"github.com/seed-bb4b4d74/dispatch"
)

// An obstacle is what stands beside the quick listener of a side.
type obstacle struct {
	name    string
	blocks  bool                      // a listener that blocks for ever
	mailbox []dispatch.ListenerOption // its mailbox
	keeps   bool                      // no listener, but something that keeps all calls
}

// nothing makes a side equal to the one that it is compared with.
var nothing = obstacle{name: "none"}

var obstacles = []obstacle{
	{name: "16-newest", blocks: true, mailbox: []dispatch.ListenerOption{dispatch.WithMailbox(16, dispatch.DropNewest)}},
	{name: "16-oldest", blocks: true, mailbox: []dispatch.ListenerOption{dispatch.WithMailbox(16, dispatch.DropOldest)}},
	{name: "unbounded", blocks: true},
	{name: "none/kept=all", keeps: true},
}

// equalRuns is how often equal sides are compared to find what noise there is.
const equalRuns = 5

// blocked compares calls with a quick listener with calls that have one that
// blocks as well. The bar is the noise: by how much two sides that are equal have
// differed at most. A blocked listener with an unbounded mailbox keeps all calls,
// as it must, so a side stands beside it that does no more than that.
func (b *bench) blocked() error {
	t := newComparisons("quick", "blocked")
	for _, s := range blockedSetups() {
		noise := 0.0
		for range equalRuns {
			c, err := b.obstruct(t, s, nothing, none)
			if err != nil {
				return err
			}
			noise = max(noise, math.Abs(c.ratio()-1))
		}
		for _, o := range obstacles {
			bar := math.Ceil((1+noise)*1000) / 1000
			if o.keeps {
				bar = none
			}
			if _, err := b.obstruct(t, s, o, bar); err != nil {
				return err
			}
		}
	}
	t.print(b.out)
	return nil
}

func blockedSetups() (all []setup) {
	for _, n := range []int{1, 10, 100} {
		all = append(all, setup{work: quick, producers: n, listeners: 1})
	}
	return all
}

// obstruct compares a side with one that has an obstacle.
func (b *bench) obstruct(t *table, s setup, o obstacle, bar float64) (comparison, error) {
	name := fmt.Sprintf("%v/blocked=%s", s, o.name)
	return b.compare(t, name, byDispatch.with(s), func() (side, error) { return newObstructed(s, o) }, bars{bar, none})
}

// obstructed is a side with an obstacle, which is a new one in each round: what
// has piled up in the rounds before would only make garbage collections longer.
type obstructed struct {
	*dispatched
	obstacle obstacle
	release  chan struct{}
	blocked  *dispatch.Registration
	kept     []*dispatch.Call[int, int]
}

func newObstructed(s setup, o obstacle) (side, error) {
	d, err := newDispatched(s)
	if err != nil {
		return nil, err
	}
	side := &obstructed{dispatched: d.(*dispatched), obstacle: o}
	return side, side.renew()
}

func (o *obstructed) renew() (err error) {
	o.kept = nil
	if !o.obstacle.blocks {
		return nil
	}
	if o.blocked != nil {
		o.blocked.Remove()
		close(o.release)
	}
	release := make(chan struct{})
	o.release = release
	o.blocked, err = o.AddListener(o.topic, func(context.Context, dispatch.Result[int, int]) { <-release }, o.obstacle.mailbox...)
	return err
}

func (o *obstructed) call() error {
	c, err := o.send()
	if o.obstacle.keeps {
		o.kept = append(o.kept, c)
	}
	return err
}

func (o *obstructed) close() {
	if o.obstacle.blocks {
		close(o.release)
	}
	o.dispatched.close()
}
