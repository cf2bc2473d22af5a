package dispatchdebug

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// said returns what the page says about the suspects, in their order.
func (b *bench) said() (list []string) {
	for _, s := range b.data("").Suspects {
		list = append(list, s.Name+" "+s.Text)
	}
	return list
}

// A call that waited for its turn for most of its time is no reason to say that the producer,
// which runs it now, does not answer.
func TestACallThatBeganLateWaitedInAQueue(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("serial", after(600*time.Millisecond, "", nil), dispatch.WithConcurrency(1))
		b.send()
		b.send()
		time.Sleep(550 * time.Millisecond)
		want(t, "while it waits", b.said(), []string{"serial has not answered for 550 ms of 1 s; has a queue: 1 call waits in it, the first for 550 ms"})
		time.Sleep(150 * time.Millisecond)
		want(t, "when it runs", b.said(), []string{"serial had a queue: the call that it runs waited 600 ms for its turn"})
	})
}

// Members that take no longer than usual are not suspects if another member does.
func TestOnlyThoseThatExceedTheirUsualTimeAreNamed(t *testing.T) {
	inBubble(t, func(b *bench) {
		more := time.Duration(0)
		b.add("usual", after(1400*time.Millisecond, "", nil))
		b.add("slower", func(ctx context.Context, s string) (string, error) {
			return after(1100*time.Millisecond+more, "", nil)(ctx, s)
		})
		for range enoughRuns {
			b.call(dispatch.WithTimeout(2 * time.Second))
		}
		more = time.Second
		c := b.send(dispatch.WithTimeout(2 * time.Second))
		time.Sleep(1200 * time.Millisecond)
		want(t, "after half of the time", b.said(), []string{"slower has not answered for 1.2 s of 2 s"})
		<-c.Done()
	})
}

// If all members take as long as usual, and that is more than half of what the call has, they
// are named.
func TestACallThatHasUsedHalfOfItsTimeHasASuspect(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("usual", after(700*time.Millisecond, "", nil))
		for range enoughRuns {
			b.call()
		}
		b.send()
		time.Sleep(520 * time.Millisecond)
		want(t, "after half of the time", b.said(), []string{"usual has not answered for 520 ms of 1 s"})
	})
}

// No call waits for a listener, so calls lose no time to one that is behind.
func TestCallsLoseNoTimeToAListener(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("site", after(time.Millisecond, "", nil))
		if _, err := b.d.AddListener(measure, func(context.Context, dispatch.Result[string, string]) { time.Sleep(time.Minute) }, dispatch.WithName("log")); err != nil {
			t.Fatal(err)
		}
		b.call()
		time.Sleep(30 * time.Second)
		s := b.data("").Suspects
		if len(s) != 1 || s[0].Name != "log" || s[0].Lost != 0 || s[0].Severity != "bad" {
			t.Errorf("suspects: %+v", s)
		}
	})
}

// The count since recording began is at least the count of the last minute.
func TestCallsAreCountedWhenTheyEnd(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("site", after(100*time.Millisecond, "", nil))
		b.call()
		b.send()
		bus := b.data("").Bus
		want(t, "sent, ended, in the last minute", [3]uint64{bus.Sent, bus.Calls, bus.Minute.Calls}, [3]uint64{2, 1, 1})
	})
}

// The first calls of a topic with a group may wait in a queue while a replica runs.
func TestAGroupWithAQueueInItsFirstCalls(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("meter-1", after(900*time.Millisecond, "", nil), dispatch.WithGroup("meters"), dispatch.WithConcurrency(1))
		b.send()
		b.send()
		time.Sleep(600 * time.Millisecond)
		want(t, "suspects", b.said(), []string{
			"meters/meter-1 has not answered for 600 ms of 1 s", "meters has a queue: 1 call waits in it, the first for 600 ms",
		})
	})
}

// If senders wait for places, the page says whose they are: those of calls in flight, with the member that these lose
// most time to, and those of calls that have ended and that listeners are behind with.
func TestSendersThatWaitForPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := dispatch.NewBus(dispatch.WithMaxInFlight(3), dispatch.WithLogger(slog.New(slog.DiscardHandler)))
		b := &bench{t, New(bus), dispatch.On[string, string](bus)}
		defer b.h.Close()
		inner := dispatch.NewTopic[string, string]("inner")
		if _, err := b.d.AddProducer(inner, after(time.Hour, "", nil)); err != nil {
			t.Fatal(err)
		}
		slow := true
		b.add("always", func(ctx context.Context, s string) (string, error) {
			if slow {
				for range 4 {
					if _, err := b.d.Send(ctx, inner, s); err != nil {
						return "", err
					}
				}
				return after(time.Hour, "", nil)(ctx, s)
			}
			return "", nil
		})
		b.add("serial", after(900*time.Millisecond, "", nil), dispatch.WithConcurrency(1))
		places := func() (text string) {
			for _, s := range b.data("suspects=all").Suspects {
				if s.Kind == "places" {
					text += s.Text
				}
			}
			return text
		}
		for range 5 {
			go func() {
				c, err := b.d.Send(t.Context(), measure, "vdd")
				if err != nil {
					t.Error(err)
					return
				}
				<-c.Done()
			}()
		}
		time.Sleep(800 * time.Millisecond)
		want(t, "calls in flight", places(), "2 senders wait for a place, 3 of 3 calls in flight; 3 of these wait for serial")
		time.Sleep(time.Minute)
		synctest.Wait()
		slow = false
		if _, err := b.d.AddListener(measure, func(context.Context, dispatch.Result[string, string]) { time.Sleep(10 * time.Minute) }); err != nil {
			t.Fatal(err)
		}
		for range 5 { // the listener has come to the last result of the first
			go func() {
				if _, err := b.d.Send(t.Context(), measure, "vdd", dispatch.WithTargets("always")); err != nil {
					t.Error(err)
				}
			}()
		}
		time.Sleep(time.Minute)
		want(t, "calls that have ended", places(), "1 sender waits for a place, 0 of 3 calls in flight; listener-1 is behind with the calls in the other 3")
		time.Sleep(2 * time.Hour)
	})
}

// overdue is a context that ends later than its deadline.
type overdue struct {
	context.Context
	deadline time.Time
}

func (o overdue) Deadline() (time.Time, bool) { return o.deadline, true }

// A call that waits for the end of its sender's context has used all of its time, and not more.
func TestACallHasUsedAtMostAllOfItsTime(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("never", after(time.Hour, "", nil))
		c, err := b.d.Send(overdue{b.t.Context(), time.Now().Add(500 * time.Millisecond)}, measure, "vdd")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(550 * time.Millisecond)
		row := b.data("").Calls.Rows[0]
		want(t, "elapsed and used", fmt.Sprint(row.Elapsed, row.Used), "550ms 1")
		<-c.Done()
	})
}

func TestEvidence(t *testing.T) {
	want(t, "with a call", evidence(suspect{Topic: "cell.measure", Call: 7}), "?call=7")
	want(t, "with a topic", evidence(suspect{Topic: "cell.measure"}), "?topic=cell.measure")
	want(t, "of a connection", evidence(suspect{Name: "nats"}), "#elsewhere")
}

// The suspect is the replica that is to blame, and not its group.
func TestOneBadReplicaOfAGroup(t *testing.T) {
	for kind, bad := range map[string]site{
		"failed":   after(0, "", errors.New("probe is open")),
		"delaying": after(700*time.Millisecond, "", nil),
		"stuck":    deaf(time.Hour),
	} {
		t.Run(kind, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.add("site-1", after(5*time.Millisecond, "", nil))
				for i, one := range []site{after(5*time.Millisecond, "", nil), bad, after(5*time.Millisecond, "", nil)} {
					b.add(fmt.Sprint("meter-", i+1), one, dispatch.WithGroup("meters"))
				}
				for range 30 {
					b.call()
				}
				for range 3 {
					b.send()
				}
				for _, wait := range []time.Duration{650 * time.Millisecond, 5 * time.Second} {
					time.Sleep(wait)
					var got []string
					for _, s := range b.data("").Suspects {
						if !slices.Contains(s.Kinds, kind) {
							t.Errorf("%s is a suspect for other reasons: %s", s.Name, s.Text)
						}
						got = append(got, s.Name)
					}
					want(t, "suspects", got, []string{"meters/meter-2"})
				}
			})
		})
	}
}

// If all replicas are slow, the group is the suspect.
func TestAGroupOfSlowReplicas(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("site-1", after(5*time.Millisecond, "", nil))
		for i := range 3 {
			b.add(fmt.Sprint("meter-", i+1), after(700*time.Millisecond, "", nil), dispatch.WithGroup("meters"))
		}
		for range 30 {
			b.call()
		}
		s := b.data("").Suspects
		want(t, "suspects", len(s), 1)
		want(t, "suspect", s[0].Name, "meters")
	})
}
