package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// several is the number of askers, or of open calls, whose memory is measured together. The memory of one
// would be lost in the noise.
const several = 30

// manyNodes measures what very many nodes cost an asker.
func (b *bench) manyNodes() error {
	s, err := startServers(1)
	defer s.close()
	if err != nil {
		return err
	}
	begin := time.Now()
	cells, err := serve(s, b.nodes)
	if err != nil {
		return err
	}
	served := time.Since(begin)
	nc, err := s.connect()
	if err != nil {
		return err
	}
	begin = time.Now()
	d, err := join(nc, cells)
	if err != nil {
		return err
	}
	settled := time.Since(begin)
	if err := d.named(); err != nil {
		return err
	}
	took, err := elapsed(d, max(b.round/10, 1))
	if err != nil {
		return err
	}
	open, err := d.heapOfOpenCalls()
	if err != nil {
		return err
	}
	rest, err := d.heapOfOthers()
	if err != nil {
		return err
	}

	t := measure.NewTable("nodes", count(b.nodes))
	t.Row("they are served one after another within", millis(served))
	t.Row("who joins knows all of them after", millis(settled))
	t.Row(fmt.Sprintf("a call to all %d members takes", b.nodes*producers), millis(took))
	t.Row("what an asker keeps of a node", bytes(rest, several*b.nodes))
	t.Row("and for each open call, with 10 members' results", bytes(open, several*b.nodes))
	t.Print(b.out)
	return nil
}

// heapOfOthers starts several other askers of the same nodes over the same connection. It returns how many
// bytes of the heap their end frees.
func (d *dispatched) heapOfOthers() (int64, error) {
	others := make([]*dispatched, several)
	for i := range others {
		var err error
		if others[i], err = join(d.nc, d.cells); err != nil {
			return 0, err
		}
	}
	with := heapAtRest()
	for _, other := range others {
		if err := other.remote.Close(); err != nil {
			return 0, err
		}
	}
	clear(others)
	return with - heapAtRest(), nil
}

// heapAtRest returns the bytes of the heap once they hardly change. Servers and connections free their
// larger buffers within seconds.
func heapAtRest() int64 {
	const enough = 50
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	last := measure.Heap()
	for range enough {
		<-tick.C
		now := measure.Heap()
		if change := now - last; max(change, -change) < now/200 {
			return now
		}
		last = now
	}
	return last
}

// named makes a call and checks that its report names each member of each node.
func (d *dispatched) named() error {
	call, err := d.floor.Send(context.Background(), topic, request)
	if err != nil {
		return err
	}
	<-call.Done()
	named := make(map[dispatch.Member]bool)
	for _, o := range call.Report().Outcomes {
		if o.State != dispatch.StateOK {
			return fmt.Errorf("%v is %v: %w", o.Member, o.State, o.Err)
		}
		named[o.Member] = true
	}
	for _, node := range d.cells.names() {
		for i := range producers {
			if m := (dispatch.Member{Node: node, Name: fmt.Sprint("p", i)}); !named[m] {
				return fmt.Errorf("%v is not named", m)
			}
		}
	}
	if len(named) != d.n*producers {
		return fmt.Errorf("%d members are named, not %d", len(named), d.n*producers)
	}
	return nil
}

// heapOfOpenCalls starts several calls that wait for one member while all others have answered. It returns
// how many bytes of the heap their end frees.
func (d *dispatched) heapOfOpenCalls() (int64, error) {
	release := make(chan struct{})
	slow, err := d.floor.AddProducer(topic, func(context.Context, int) (int, error) {
		<-release
		return 0, nil
	}, dispatch.WithName("slow"))
	if err != nil {
		return 0, err
	}
	defer slow.Remove()
	calls := make([]*dispatch.Call[int, int], several)
	for i := range calls {
		if calls[i], err = d.floor.Send(context.Background(), topic, request, dispatch.WithTimeout(patience)); err == nil {
			err = wait("the other members", func() bool { return d.allHaveEnded(calls[i]) })
		}
		if err != nil {
			close(release)
			return 0, err
		}
	}
	with := heapAtRest()
	close(release)
	for _, call := range calls {
		<-call.Done()
	}
	clear(calls)
	return with - heapAtRest(), nil
}

// allHaveEnded reports whether all members of other nodes have ended.
func (d *dispatched) allHaveEnded(call *dispatch.Call[int, int]) bool {
	outcomes := call.Report().Outcomes
	return len(outcomes) == d.n*producers+1 && !slices.ContainsFunc(outcomes, func(o dispatch.Outcome) bool {
		return o.State == dispatch.StatePending && o.Member.Node != ""
	})
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

func bytes(n int64, of int) string { return fmt.Sprintf("%d bytes", n/int64(of)) }
