package natsdispatch

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkBeat measures what a beat for all topics costs, if each of a thousand nodes has ten topics of its own.
func BenchmarkBeat(b *testing.B) {
	table := table{most: 10_000}
	for i := range 10_000 {
		table.hear(announcement{Node: fmt.Sprint("n", i/10), Topic: fmt.Sprint("t", i), Event: eventBeat, Epoch: 1, AllMS: 2000}, time.Now())
	}
	seq := uint64(0)
	for b.Loop() {
		if more := table.beat(beat{Node: "n7", Epoch: 1, Seq: seq}, time.Now()); more != nil {
			b.Fatal("something is new")
		}
		seq++
	}
}

// BenchmarkTable measures what a call does with the table of nodes under the lock of the remote: if the table
// is unchanged since the last call, and if a node has changed.
//
//	go test -run - -bench Table
func BenchmarkTable(b *testing.B) {
	for _, nodes := range []int{100, 1000, 10_000} {
		for _, changes := range []bool{false, true} {
			b.Run(fmt.Sprintf("nodes=%d/changes=%t", nodes, changes), func(b *testing.B) {
				table := table{forget: time.Hour, most: nodes}
				say := func(i, beat int) {
					table.hear(announcement{
						Node: fmt.Sprint("n", i), Topic: "t", Event: eventBeat, Epoch: int64(i + 1), Seq: uint64(beat), BeatMS: int64(beat),
						Versions: []int{version, version2}, Codecs: []string{"json"},
					}, time.Now())
				}
				for i := range nodes {
					say(i, 1)
				}
				n := 1
				for b.Loop() {
					if changes {
						n++
						say(0, n)
					}
					if all, _, _ := table.list("t"); len(all) != nodes {
						b.Fatal("some are missing")
					}
				}
			})
		}
	}
}
