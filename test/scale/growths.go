package main

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// few is how many operations are timed if each of them works on all n.
const few = 100

// growths are the operations, with sizes ten times as large each time.
var growths = []growing{
	{"Remove of one of n producers on a topic", []int{1e3, 1e4, 1e5}, func(n int) (cost, error) {
		return removeSome(n, few, func(d *dispatcher) (*dispatch.Registration, error) { return d.AddProducer(on, echo) })
	}},
	{"Remove of one of n listeners on a topic", []int{1e3, 1e4, 1e5}, func(n int) (cost, error) {
		return removeSome(n, few, func(d *dispatcher) (*dispatch.Registration, error) { return d.AddListener(on, deaf) })
	}},
	{"Remove of each of n listeners on a topic", []int{1e3, 1e4, 1e5}, func(n int) (cost, error) {
		return removeSome(n, n, func(d *dispatcher) (*dispatch.Registration, error) { return d.AddListener(on, deaf) })
	}},
	{"AddProducer, each of n, no replica on the topic", []int{1e3, 1e4, 1e5}, func(n int) (cost, error) {
		return addMany(dispatch.New[int, int](), n)
	}},
	{"AddProducer, each of n, one replica on the topic", []int{1e3, 1e4, 1e5}, func(n int) (cost, error) {
		d := dispatch.New[int, int]()
		if _, err := d.AddProducer(on, echo, dispatch.WithGroup("g")); err != nil {
			return cost{}, err
		}
		return addMany(d, n)
	}},
	{"AddProducer, each of n replicas of one group", []int{100, 1e3, 1e4}, func(n int) (cost, error) {
		return addMany(dispatch.New[int, int](), n, dispatch.WithGroup("g"))
	}},
	{"Remove, each of n replicas of one group", []int{100, 1e3, 1e4}, func(n int) (cost, error) {
		return removeSome(n, n, func(d *dispatcher) (*dispatch.Registration, error) {
			return d.AddProducer(on, echo, dispatch.WithGroup("g"))
		})
	}},
	{"AddProducer(AnyOf(n topics)), for each topic", []int{1e3, 1e4, 1e5}, func(n int) (cost, error) {
		d, all := dispatch.New[int, int](), topics(n)
		return timed(n, func() error {
			_, err := d.AddProducer(dispatch.AnyOf(all...), echo)
			return err
		})
	}},
	{"Snapshot of a producer on AnyOf(n), for each topic", []int{100, 1e3, 1e4}, func(n int) (cost, error) {
		d := dispatch.New[int, int]()
		if _, err := d.AddProducer(dispatch.AnyOf(topics(n)...), echo); err != nil {
			return cost{}, err
		}
		return timed(n, func() error {
			_ = d.Bus().Snapshot()
			return nil
		})
	}},
	{"Gather on a topic that only patterns match, of n", []int{100, 1e3, 1e4}, func(n int) (cost, error) {
		d := dispatch.New[int, int]()
		if err := addPatterns(d, n); err != nil {
			return cost{}, err
		}
		if _, err := d.AddProducer(dispatch.NewPattern[int, int](">"), echo); err != nil {
			return cost{}, err
		}
		return timed(few, func() error { return gather(d, dispatch.NewTopic[int, int]("pattern.0.x"), few) })
	}},
	{"AddProducer, each of n, all named as n on patterns", []int{100, 1e3, 1e4}, func(n int) (cost, error) {
		d := dispatch.New[int, int]()
		if err := addPatterns(d, n, dispatch.WithName("x")); err != nil {
			return cost{}, err
		}
		all := topics(n)
		return timed(n, func() error {
			for _, t := range all {
				if _, err := d.AddProducer(t, echo, dispatch.WithName("x")); err != nil {
					return err
				}
			}
			return nil
		})
	}},
	{"AddListener(>) and Remove, n topics", []int{1e3, 1e4, 1e5}, func(n int) (cost, error) {
		d, err := onTopics(n)
		if err != nil {
			return cost{}, err
		}
		const few = 10
		return timed(few, func() error { return comeAndGo(d, few) })
	}},
	{"… the slowest AddProducer elsewhere meanwhile", []int{1e3, 1e4, 1e5}, slowestMeanwhile},
	{"DropOldest with OnOutcome, a full mailbox of n, a drop", []int{10, 100, 1e3, 1e4, 1e5}, dropOldest},
	{"CPU of a call of 0.2 s, WithHedge(1ns), n groups wait", []int{1, 10, 100, 1e3}, waitingHedges},
	{"Gather of n producers that look at their context", []int{1, 10, 100}, func(n int) (cost, error) {
		return gatherLookers(n, 1)
	}},
	{"Gather of n groups of two such replicas", []int{1, 10, 100}, func(n int) (cost, error) {
		return gatherLookers(n, 2)
	}},
	{"Gather of n, WithTargets of all their names, for each", []int{10, 100, 1e3, 1e4}, gatherTargets},
}

func deaf(context.Context, result) {}

// topics returns n topics.
func topics(n int) []dispatch.Topic[int, int] {
	all := make([]dispatch.Topic[int, int], n)
	for i := range all {
		all[i] = dispatch.NewTopic[int, int]("topic." + strconv.Itoa(i))
	}
	return all
}

// onTopics returns a dispatcher with a producer on each of n topics.
func onTopics(n int) (*dispatcher, error) {
	d := dispatch.New[int, int]()
	for _, t := range topics(n) {
		if _, err := d.AddProducer(t, echo); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// addPatterns adds producers or, without options, listeners on n patterns of which
// no two match the same topic.
func addPatterns(d *dispatcher, n int, opts ...dispatch.ProducerOption) error {
	for i := range n {
		p, err := dispatch.NewPattern[int, int](fmt.Sprintf("pattern.%d.*", i)), error(nil)
		if len(opts) > 0 {
			_, err = d.AddProducer(p, echo, opts...)
		} else {
			_, err = d.AddListener(p, deaf)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addMany measures adding n producers.
func addMany(d *dispatcher, n int, opts ...dispatch.ProducerOption) (cost, error) {
	return timed(n, func() error {
		for range n {
			if _, err := d.AddProducer(on, echo, opts...); err != nil {
				return err
			}
		}
		return nil
	})
}

// removeSome measures removing the first k of n registrations.
func removeSome(n, k int, add func(*dispatcher) (*dispatch.Registration, error)) (cost, error) {
	d := dispatch.New[int, int]()
	all := make([]*dispatch.Registration, n)
	for i := range all {
		var err error
		if all[i], err = add(d); err != nil {
			return cost{}, err
		}
	}
	k = min(k, n)
	return timed(k, func() error {
		for _, r := range all[:k] {
			r.Remove()
		}
		return nil
	})
}

// gather makes n calls.
func gather(d *dispatcher, t dispatch.Topic[int, int], n int) error {
	for range n {
		if _, err := d.Gather(context.Background(), t, 1); err != nil {
			return err
		}
	}
	return nil
}

// comeAndGo adds and removes a listener of all topics, n times.
func comeAndGo(d *dispatcher, n int) error {
	for range n {
		r, err := d.AddListener(dispatch.NewPattern[int, int](">"), deaf)
		if err != nil {
			return err
		}
		r.Remove()
	}
	return nil
}

// slowestMeanwhile returns the longest time of a registration on a topic of its own while a
// listener of all n topics is added and removed.
func slowestMeanwhile(n int) (cost, error) {
	d, err := onTopics(n)
	if err != nil {
		return cost{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- comeAndGo(d, 5) }()
	var slowest time.Duration
	for i := 0; ; i++ {
		select {
		case err := <-ended:
			return cost{each: slowest}, err
		default:
		}
		began := time.Now()
		if _, err := d.AddProducer(dispatch.NewTopic[int, int]("other."+strconv.Itoa(i%1000)), echo); err != nil {
			return cost{}, err
		}
		slowest = max(slowest, time.Since(began))
		time.Sleep(time.Millisecond)
	}
}

// dropOldest returns the cost of a result, including its call, that replaces the oldest one in
// a mailbox with n of them.
func dropOldest(n int) (cost, error) {
	const members = 1000
	d := dispatch.New[int, int]()
	release := make(chan struct{})
	defer close(release)
	blocked := func(context.Context, result) { <-release }
	if _, err := d.AddListener(on, blocked, dispatch.WithMailbox(n, dispatch.DropOldest), dispatch.OnOutcome(func(dispatch.Outcome) {})); err != nil {
		return cost{}, err
	}
	if _, err := addMany(d, members); err != nil {
		return cost{}, err
	}
	if err := gather(d, on, n/members+5); err != nil {
		return cost{}, err
	}
	const calls = 10
	return timed(calls*members, func() error { return gather(d, on, calls) })
}

// waitingHedges returns the CPU time of a call whose first group blocks, while hedges are due
// but have no room to run.
func waitingHedges(n int) (cost, error) {
	const length = 200 * time.Millisecond
	d := dispatch.New[int, int]()
	block := func(ctx context.Context, _ int) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	for i := range n {
		for range 2 {
			if _, err := d.AddProducer(on, block, dispatch.WithGroup(strconv.Itoa(i))); err != nil {
				return cost{}, err
			}
		}
	}
	used := measure.CPU()
	c, err := d.Send(context.Background(), on, 1,
		dispatch.WithTimeout(length), dispatch.WithHedge(1), dispatch.WithParallelism(1))
	if err != nil {
		return cost{}, err
	}
	<-c.Done()
	used = measure.CPU() - used
	return cost{each: used, note: fmt.Sprintf("%.0f %% of a core", 100*float64(used)/float64(length))}, nil
}

// gatherLookers returns the cost of a call whose members read their contexts, as slog handlers
// do.
func gatherLookers(n, replicas int) (cost, error) {
	type key struct{}
	var looked atomic.Int64
	look := func(ctx context.Context, req int) (int, error) {
		if ctx.Value(key{}) == nil {
			looked.Add(1)
		}
		return req, nil
	}
	d := dispatch.New[int, int]()
	for i := range n {
		var opts []dispatch.ProducerOption
		if replicas > 1 {
			opts = []dispatch.ProducerOption{dispatch.WithGroup(strconv.Itoa(i))}
		}
		for range replicas {
			if _, err := d.AddProducer(on, look, opts...); err != nil {
				return cost{}, err
			}
		}
	}
	const calls = 500
	if err := gather(d, on, calls); err != nil { // fills the pools, and makes the stacks grow
		return cost{}, err
	}
	return timed(calls, func() error { return gather(d, on, calls) })
}

// gatherTargets asks n producers by their names.
func gatherTargets(n int) (cost, error) {
	d, on, names := dispatch.New[int, int](), dispatch.NewTopic[int, int]("targets"), make([]string, n)
	for i := range names {
		names[i] = "p" + strconv.Itoa(i)
		if _, err := d.AddProducer(on, echo, dispatch.WithName(names[i])); err != nil {
			return cost{}, err
		}
	}
	return timed(n, func() error {
		_, err := d.Gather(context.Background(), on, 1, dispatch.WithTargets(names...))
		return err
	})
}
