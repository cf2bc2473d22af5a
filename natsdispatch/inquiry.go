package natsdispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// An inquiry is what one call asks of the nodes. All but put runs on the goroutine of
// the relay.
type inquiry struct {
	r       *Remote
	topic   string
	to      ear
	payload []byte
	request request
	wake    chan struct{}
	asks    []*asked
	waiting int // for tallies to be resolved, and for asks that nobody has accepted

	mu     sync.Mutex // guards what follows
	events []event
	over   bool // nobody takes events any more
}

// asked is one request of an inquiry: to everybody, or to a group.
type asked struct {
	by      *inquiry
	number  uint64
	request request
	waits   bool              // it is not known yet who takes part
	tallies map[string]*tally // by node
	strays  map[string]bool   // nodes that were told that they are not meant
}

// event is what an inquiry has to deal with: a message or a departure.
type event struct {
	asked *asked
	msg   *nats.Msg
	gone  *departure
}

// errOver reports that an inquiry takes no events any more.
var errOver = errors.New("over")

// put hands an event over, unless the inquiry is over or more than limit wait
// already; 0 is no limit.
func (q *inquiry) put(e event, limit int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.over:
		return errOver
	case limit > 0 && len(q.events) >= limit:
		return errSlow
	}
	q.events = append(q.events, e)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// take returns what has been put, the last time if the inquiry is over by then.
func (q *inquiry) take(over bool) []event {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := q.events
	q.events, q.over = nil, over
	return events
}

// inquire asks the nodes for one call, and returns when all is known or ctx has ended.
func (r *Remote) inquire(ctx context.Context, payload []byte, targets []string, to ear) error {
	info, _ := dispatch.CallFrom(ctx)
	route, err := onward(ctx, info.Topic, r.bus, targets)
	if err != nil {
		return err
	}
	if len(route.path) > r.maxHops {
		return nil // who was asked over NATS answers for itself alone
	}
	if !r.settle(ctx) {
		return nil
	}
	q := &inquiry{r: r, topic: info.Topic, to: to, payload: payload, wake: make(chan struct{}, 1), request: request{
		codec: r.codecs[0].Name(), types: r.types, attempt: 1, targets: route.targets, hops: route.hops, path: route.path,
	}}
	misfits, ok := r.begin(q)
	if !ok {
		return nil
	}
	defer r.end(q)
	err = q.ask(ctx)
	if err != nil && (!errors.Is(err, dispatch.ErrUnreachable) || len(q.asks) == 1 && len(q.asks[0].tallies) == 0) {
		return err
	}
	for _, a := range misfits {
		m := dispatch.Member{Node: a.Node, Name: anybody}
		if to.name(m) {
			to.end(m, a.misfit(r.types, q.request.codec))
		}
	}
	if err != nil {
		q.fail(err)
		return nil
	}
	return q.listen(ctx)
}

// settle waits until the nodes have had the time to announce themselves, and reports
// whether ctx goes on.
func (r *Remote) settle(ctx context.Context) bool {
	r.state.Lock()
	wait := time.Until(r.settled)
	r.state.Unlock()
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-r.stopped.Done():
		return false
	}
}

// begin opens the requests of an inquiry, by who is present. It returns who is and
// cannot be asked, and false if the remote is closed.
func (r *Remote) begin(q *inquiry) (misfits []announcement, ok bool) {
	r.state.Lock()
	defer r.state.Unlock()
	if r.closed {
		return nil, false
	}
	all := r.openLocked(q, "")
	var groups []string
	known := r.table.on(q.topic)
	for _, a := range known {
		switch {
		case a.Draining || a.Bus != "" && q.request.passed(a.Bus):
		case a.misfit(q.request.types, q.request.codec) != nil:
			misfits = append(misfits, a)
			all.strays[a.Node] = true
		default:
			q.tally(all, a.Node, a.Epoch)
			for _, g := range a.Groups {
				// A name with a node is for that node, which is asked for its members anyway.
				if q.request.targets == nil || slices.Contains(q.request.targets, g) {
					groups = append(groups, g)
				}
			}
		}
	}
	if all.waits = len(known) == 0; all.waits {
		q.waiting++
	}
	slices.Sort(groups)
	for _, g := range slices.Compact(groups) {
		r.openLocked(q, g).waits = true
		q.waiting++
	}
	r.inquiries.Add(1)
	r.counts.calls.Add(1)
	return misfits, true
}

func (r *Remote) openLocked(q *inquiry, group string) *asked {
	r.last++
	a := &asked{by: q, number: r.last, request: q.request, tallies: make(map[string]*tally), strays: make(map[string]bool)}
	a.request.group = group
	a.request.call = r.inbox[strings.LastIndexByte(r.inbox, '.')+1:] + "." + strconv.FormatUint(r.last, 10)
	r.open[r.last] = a
	q.asks = append(q.asks, a)
	return a
}

func (r *Remote) end(q *inquiry) {
	r.state.Lock()
	for _, a := range q.asks {
		delete(r.open, a.number)
	}
	r.state.Unlock()
	for _, e := range q.take(true) {
		if e.msg != nil {
			r.pending.Add(-int64(len(e.msg.Data)))
		}
	}
	r.inquiries.Done()
}

// tally begins to keep account of a node.
func (q *inquiry) tally(a *asked, node string, epoch int64) *tally {
	t := &tally{node: node, epoch: epoch, limit: q.r.maxResult, to: q.to, standIn: dispatch.Member{Node: node, Name: anybody}}
	if g := a.request.group; g != "" {
		t.standIn = dispatch.Member{Node: node, Group: g}
	}
	a.tallies[node] = t
	q.waiting++
	return t
}

// do does something to a tally and notes if it is resolved by that.
func (q *inquiry) do(t *tally, f func()) {
	before := t.resolved()
	f()
	switch after := t.resolved(); {
	case after && !before:
		q.waiting--
	case before && !after:
		q.waiting++
	}
}

// margin is how much less than the time of a call a node gets, so that what it has to
// say at the end of its time arrives within that of the call.
func margin(left time.Duration) time.Duration { return min(left/10, 20*time.Millisecond) }

// ask sends the requests.
func (q *inquiry) ask(ctx context.Context) error {
	if !q.r.nc.IsConnected() {
		return fmt.Errorf("%w: there is no connection to NATS", dispatch.ErrUnreachable)
	}
	for _, a := range q.asks {
		if !a.waits && len(a.tallies) == 0 {
			continue // all who are there are known, and none of them is meant
		}
		if err := q.send(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

func (q *inquiry) send(ctx context.Context, a *asked) error {
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline)
	a.request.budget = left - margin(left)
	if a.request.budget < time.Microsecond {
		return nil // whoever was to be asked is late
	}
	m := &nats.Msg{Reply: q.r.inbox + "." + strconv.FormatUint(a.number, 10), Header: a.request.header(), Data: q.payload}
	if m.Subject = q.r.ask(q.topic); a.request.group != "" {
		m.Subject = q.r.group(a.request.group, q.topic)
	}
	if q.r.inject != nil {
		q.r.inject(ctx, func(key, value string) { setTrace(m.Header, key, value) })
	}
	err := q.r.nc.PublishMsg(m)
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: a request of %d bytes; the server allows %d, headers included", ErrTooLarge, len(q.payload), q.r.nc.MaxPayload())
	case err != nil:
		return fmt.Errorf("%w: %w", dispatch.ErrUnreachable, err)
	}
	return nil
}
