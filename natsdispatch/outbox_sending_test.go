package natsdispatch

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// waitingOutbox is an outbox with ten messages, each of which waits for credit after the one before.
func waitingOutbox() *outbox {
	o := new(outbox)
	o.init(1<<20, 1<<20, &store{most: most}, nil)
	o.withCredit(appendHead(nil, "n", 1), 2*leastMessage)
	a := memberOf("a")
	o.accept(a)
	for range 10 {
		o.result(a, make([]byte, leastMessage*3/4), nil)
	}
	o.finish()
	return o
}

// inAMinute returns a function that returns the time a minute after the call of inAMinute.
func inAMinute() func() time.Time {
	at := time.Now().Add(time.Minute)
	return func() time.Time { return at }
}

// The timer that ends a wait for credit stops with the last message, however often takeAll had to wait.
func TestTakeAllLeavesNoTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, sent := waitingOutbox(), uint64(0)
		go o.takeAll(inAMinute(), func(*message) { sent++ })
		waits := 0
		for !o.isDone() {
			synctest.Wait()
			o.acknowledge(0, int64(sent+2)*leastMessage) // more credit, and nothing is acknowledged
			waits++
		}
		synctest.Wait()
		kept := len(o.flow.kept)
		if waits < 3 || kept == 0 {
			t.Fatalf("%d messages are kept after %d waits: the test needs several waits, and messages that are not acknowledged", kept, waits)
		}
		time.Sleep(time.Hour)
		if got := len(o.flow.kept); got != kept {
			t.Errorf("%d messages are kept an hour later, want %d: a timer was left", got, kept)
		}
	})
}

func TestTakeAllWaitsForCreditUntilTheBudgetEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, began := waitingOutbox(), time.Now()
		o.takeAll(inAMinute(), func(*message) {})
		if took := time.Since(began); took != time.Minute || o.waiting != 0 {
			t.Errorf("%v, and %d bytes still wait; want a minute, and none", took, o.waiting)
		}
	})
}

// A node that works for long asks the asker now and then whether the call goes on, also if all that it has
// sent is acknowledged. It does not if the reply is complete.
func TestRemindersOfAnOpenReply(t *testing.T) {
	o := new(outbox)
	o.init(1<<20, 1<<20, &store{most: most}, nil)
	o.withCredit(appendHead(nil, "n", 1), 1<<20)
	o.accept(memberOf("a"))
	o.takeLocked()
	var at []int
	for beat := range 34 {
		if len(o.unacknowledged(false)) > 0 {
			at = append(at, beat)
		}
		o.takeLocked()
		o.acknowledge(o.flow.next, 1<<20)
	}
	if want := []int{1, 2, 4, 8, 16, 32}; !slices.Equal(at, want) {
		t.Errorf("reminders with the beats %v, want %v", at, want)
	}
	o.finish()
	o.takeLocked()
	o.acknowledge(o.flow.next, 1<<20)
	if got := o.unacknowledged(true); len(got) != 0 {
		t.Errorf("%d reminders of a complete reply", len(got))
	}
}

// A reply that waited for credit, and has got it, is not abandoned when the budget ends.
func TestTakeAllAbandonsNoReplyThatHasCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, sent := new(outbox), 0
		o.init(1<<20, 1<<20, &store{most: most}, nil)
		o.withCredit(appendHead(nil, "n", 1), 2*leastMessage)
		o.accept(memberOf("a"))
		for range 10 {
			o.result(memberOf("a"), make([]byte, leastMessage*3/4), nil)
		}
		go o.takeAll(inAMinute(), func(*message) { sent++ })
		synctest.Wait()
		before := sent
		o.acknowledge(0, 1<<20)
		time.Sleep(time.Minute + time.Second)
		o.finish()
		synctest.Wait()
		if len(o.flow.kept) != sent || sent != 11 {
			t.Errorf("%d messages were sent, %d of them before there was credit, and %d are kept", sent, before, len(o.flow.kept))
		}
	})
}
