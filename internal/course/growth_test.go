package course

import (
	"fmt"
	"testing"
	"time"
)

const hour = time.Hour

// plain claims, starts and ends all members of a call with only a timeout.
func plain(c *Course) (events int) {
	at := time.Duration(0)
	for r, ok := c.Claim(at); ok; r, ok = c.Claim(at) {
		c.Start(at, r, 0)
		c.End(at, r, OK, true)
		at++
		events += 3
	}
	return events
}

// rivals hedges all of n groups before a replica can be asked, and then ends the groups,
// the last ones first.
func rivals(c *Course, n int) (events int) {
	for _, ok := c.Claim(0); ok; _, ok = c.Claim(0) {
		events++
	}
	c.Tick(c.Due())
	for i := range n {
		c.End(c.now, Run{Member: int32(n - 1 - i)}, OK, true)
		c.Due()
		events++
	}
	return events
}

// rivalsApart is rivals for groups whose hedges are due in an order of their own.
func rivalsApart(c *Course, n int) (events int) {
	for i := range n {
		c.SetHedge(i, time.Duration(1+i*7919%n))
	}
	for _, ok := c.Claim(0); ok; _, ok = c.Claim(0) {
		events++
	}
	for c.now < time.Duration(n) {
		c.Tick(c.Due())
		events++
	}
	return events
}

// failures asks all replicas of all groups, one after the other has failed.
func failures(c *Course) (events int) {
	for r, ok := c.Claim(0); ok; r, ok = c.Claim(0) {
		c.Start(0, r, 0)
		if r.Replica > 0 || r.Member%2 == 0 {
			c.End(0, r, Failed, false)
		}
		c.Due()
		events += 3
	}
	return events
}

// relayed names n members and ends them.
func relayed(c *Course, n int) (events int) {
	for range n {
		member, _ := c.Name(1)
		c.Result(2, member)
		c.EndNamed(3, member, OK, false)
		c.Due()
		events += 3
	}
	return events
}

// limited starts all members, those that start later with shorter limits, and lets every
// second one be overdue.
func limited(c *Course, n int) (events int) {
	for r, ok := c.Claim(0); ok; r, ok = c.Claim(0) {
		c.Start(0, r, time.Duration(2*n-int(r.Member)))
		events += 2
	}
	for i := range n {
		r := Run{Member: int32(n - 1 - i)}
		if i%2 == 0 {
			c.End(c.now, r, OK, true)
		} else {
			c.Tick(c.Due())
			c.Overdue()
		}
		events += 2
	}
	return events
}

// BenchmarkEvent is what an event costs in calls of different sizes. It should cost about the
// same however many members, groups and hedges there are.
func BenchmarkEvent(b *testing.B) {
	one := func(int) int { return 1 }
	three := func(int) int { return 3 }
	for _, kind := range []struct {
		name       string
		policy     Policy
		candidates func(int) int
		run        func(c *Course, n int) (events int)
	}{
		{"members", Policy{Timeout: hour}, one, func(c *Course, _ int) int { return plain(c) }},
		{"staggered members", Policy{Timeout: hour, Stagger: 1, Parallelism: 5}, one, func(c *Course, _ int) int { return plain(c) }},
		{"hedged groups", Policy{Timeout: hour, Hedge: 1}, three, rivals},
		{"groups hedged apart", Policy{Timeout: hour}, three, rivalsApart},
		{"failing groups", Policy{Timeout: hour, Hedge: hour / 2}, three, func(c *Course, _ int) int { return failures(c) }},
		{"named members", Policy{Timeout: hour}, one, relayed},
		{"limited members", Policy{Timeout: hour}, one, limited},
	} {
		for _, n := range []int{1000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, n), func(b *testing.B) {
				events := 0
				for b.Loop() {
					b.StopTimer()
					c := New(&kind.policy)
					c.Enroll(0, make([]Member, n), kind.candidates, 1)
					b.StartTimer()
					events += kind.run(&c, n)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func TestAPlainMemberCostsNoAllocation(t *testing.T) {
	members := make([]Member, 1000)
	if n := testing.AllocsPerRun(10, func() {
		clear(members)
		c := New(&Policy{Timeout: hour})
		c.Enroll(0, members, nil, 0)
		plain(&c)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// BenchmarkPlainMember is the claim, start and end of one member of a call that has only
// a timeout.
func BenchmarkPlainMember(b *testing.B) {
	b.ReportAllocs()
	members := make([]Member, 1000)
	for n := 0; n < b.N; n += len(members) {
		clear(members)
		c := New(&Policy{Timeout: hour})
		c.Enroll(0, members, nil, 0)
		plain(&c)
	}
}
