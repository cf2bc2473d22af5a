package dispatch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// While a notice is on its way to the inbox, a Drain of its observer waits. Before that, a Drain makes the call end
// without a notice.
func TestDrainOfAnObserverWaitsForNoticesOnTheirWay(t *testing.T) {
	d := New[int, int]()
	defer d.Close()
	// ended returns a call that has ended, and of which the observer is not told yet.
	told := 0
	hooks := Observer{CallEnd: func(context.Context, Report) { told++ }}
	ended := func() (*gathering, *observer) {
		call, err := d.Send(t.Context(), NewTopic[int, int]("oven"), 1, WithNoWait())
		if err != nil {
			t.Fatal(err)
		}
		<-call.Done()
		o := newObserver(&d.bus.hub, hooks, 0)
		call.observing = observing{by: []*observer{o}}
		call.followLocked()
		return &call.gathering, o
	}

	c, o := ended()
	if c.observing.cutOffLocked(&o.recipient) != nil {
		t.Error("Drain waits for a call that goes on")
	}
	if c.publishLocked() != nil {
		t.Error("an observer gets a notice although its Drain began before the end of the call")
	}

	c, o = ended()
	all := c.publishLocked()
	if all == nil || c.publishLocked() != nil {
		t.Fatal("an observer gets no notice, or two")
	}
	delivered := c.observing.cutOffLocked(&o.recipient)
	if delivered == nil || delivered() {
		t.Fatal("Drain does not wait for a notice on its way")
	}
	n := all.source.(*endNotice)
	n.Run()
	if n.Run(); told != 1 || !delivered() {
		t.Errorf("the observer is told %d times, and the notice is delivered: %t", told, delivered())
	}
}

// The time of MemberStart hooks does not count as time of the closure, so a worker goes on after a quick closure: its
// stack has grown for the hooks.
func TestHooksDoNotMakeAClosureSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New[int, int](WithObserver(Observer{MemberStart: func(ctx context.Context, _ MemberInfo) context.Context {
			time.Sleep(time.Second)
			return ctx
		}}))
		defer d.Close()
		topic := NewTopic[int, int]("oven")
		took := time.Duration(-1)
		if _, err := d.AddProducer(topic, func(ctx context.Context, _ int) (int, error) {
			r := ctx.Value(callKey{}).(*run)
			time.Sleep(time.Millisecond)
			r.call.mu.Lock()
			defer r.call.mu.Unlock()
			took = r.call.tookLocked(r, r.call.now())
			return 0, nil
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Gather(t.Context(), topic, 1); err != nil || took != time.Millisecond {
			t.Errorf("the closure took %v, error %v; want 1ms", took, err)
		}
	})
}

// An observer whose hook panics does not keep the outcome, which may refer to much.
func TestObserverForgetsWhatItWasTold(t *testing.T) {
	d := New[int, int]()
	defer d.Close()
	o := newObserver(&d.bus.hub, Observer{MemberEnd: func(context.Context, MemberInfo, Outcome) { panic("boom") }}, 0)
	call, err := d.Send(t.Context(), NewTopic[int, int]("oven"), 1)
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() { _ = recover() }()
		o.ended = Outcome{State: StateFailed, Err: ErrStuck}
		o.memberEnd(&call.gathering, t.Context(), false, false)
	}()
	if o.ended != (Outcome{}) {
		t.Errorf("the observer keeps %+v", o.ended)
	}
}
