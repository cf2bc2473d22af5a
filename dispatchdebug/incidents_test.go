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

	"golang.org/x/sync/semaphore"

	"github.com/seed-bb4b4d74/dispatch"
)

// An incident is something that goes wrong. The first suspect has to be its cause.
type incident struct {
	bus     []dispatch.BusOption
	play    func(*bench)
	suspect string // the name, the kinds, the lost time and the text of the first suspect; empty if there must be none
	verdict string // on the call that the suspect links to, with its culprits and critical rows; not compared if it is empty
}

func testIncidents(t *testing.T, incidents map[string]incident) {
	for name, in := range incidents {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bus := dispatch.NewBus(append(in.bus, dispatch.WithLogger(slog.New(slog.DiscardHandler)))...)
				b := &bench{t, New(bus), dispatch.On[string, string](bus)}
				in.play(b)
				suspect := ""
				if all := b.data("").Suspects; len(all) > 0 {
					s := all[0]
					suspect = fmt.Sprintf("%s %v %v: %s", s.Name, s.Kinds, s.Lost, s.Text)
					if in.verdict != "" {
						c := b.waterfall(s.Call)
						want(t, "verdict", fmt.Sprintf("%s [%s] [%s]", c.Verdict, c.culprits(), c.critical()), in.verdict)
					}
				}
				want(t, "first suspect", suspect, in.suspect)
				b.h.Close()
				if err := bus.Close(); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Hour)
			})
		})
	}
}

func (b *bench) addTo(topic, name string, s site, opts ...dispatch.ProducerOption) *dispatch.Registration {
	b.t.Helper()
	r, err := b.d.AddProducer(dispatch.NewTopic[string, string](topic), s, append(opts, dispatch.WithName(name))...)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// callOn sends n requests to a topic, one after the other.
func (b *bench) callOn(n int, topic string, opts ...dispatch.CallOption) {
	b.t.Helper()
	for range n {
		b.sendTo(topic, opts...)
		time.Sleep(10 * time.Millisecond)
	}
}

// sendTo sends a request to a topic, and waits for the end of the call.
func (b *bench) sendTo(topic string, opts ...dispatch.CallOption) {
	c, err := b.d.Send(b.t.Context(), dispatch.NewTopic[string, string](topic), "vdd", opts...)
	if err != nil {
		if !errors.Is(err, dispatch.ErrClosed) { // it was still waiting at the end of the test
			b.t.Error(err)
		}
		return
	}
	<-c.Done()
}

// A relay that returns long after its members have ended is named, and not a member.
func TestARelayThatReturnsLateIsASuspect(t *testing.T) {
	const ms = time.Millisecond
	relay := func(b *bench, name string, returns time.Duration) {
		b.relay(name, func(ctx context.Context, _ string, to *dispatch.Roster[string]) error {
			m := dispatch.Member{Node: name + "-node", Name: "site"}
			to.Name(m)
			time.Sleep(3 * ms)
			to.Result(m, "3.3")
			to.End(m, nil)
			return context.Cause(until(ctx, returns))
		})
	}
	calls := func(b *bench) {
		b.add("quick", after(5*ms, "", nil))
		b.callOn(4, measure.Name())
	}
	testIncidents(t, map[string]incident{
		"one relay": {
			play:    func(b *bench) { relay(b, "gateway", 800*ms); calls(b) },
			suspect: "gateway [delaying] 3.192s: kept 4 of 4 calls waiting after the end of all their members, typically 798 ms",
			verdict: "Complete after 803 ms because a relay returned only then; the last to answer was [quick (5 ms)] []",
		},
		"two relays": {
			play:    func(b *bench) { relay(b, "gateway", 0); relay(b, "spare", 800*ms); calls(b) },
			suspect: "cell.measure [delaying] 3.192s: has relays that kept 4 of 4 calls waiting after the end of all their members, typically 798 ms",
		},
		"with a member that fails": {
			play: func(b *bench) {
				relay(b, "gateway", 800*ms)
				b.add("fails", after(2*ms, "", fmt.Errorf("contact is open")))
				calls(b)
			},
			suspect: "gateway [delaying] 3.192s: kept 4 of 4 calls waiting after the end of all their members, typically 798 ms",
			verdict: "Ended after 803 ms because a relay returned only then, without an answer from [fails (failed)] []",
		},
		"in flight": {
			play: func(b *bench) {
				relay(b, "gateway", 4*time.Second)
				b.add("quick", after(5*ms, "", nil))
				b.send(dispatch.WithTimeout(5 * time.Second))
				time.Sleep(3 * time.Second)
			},
			suspect: "gateway [waiting] 3s: has a call in flight for 3 s of 5 s though all its 2 members have ended: it has not returned",
		},
	})
}

// until returns a context that has ended: after this time, or when its parent ends.
func until(ctx context.Context, d time.Duration) context.Context {
	select {
	case <-time.After(d):
		return context.Background()
	case <-ctx.Done():
		return ctx
	}
}

// Calls that end because too few producers came have their topic as a suspect, also when none is in flight.
func TestATopicThatHadTooFewProducersIsASuspect(t *testing.T) {
	testIncidents(t, map[string]incident{"too few": {
		play: func(b *bench) {
			b.add("quick", after(5*time.Millisecond, "", nil))
			b.callOn(3, measure.Name(), dispatch.WithMinProducers(2), dispatch.WithTimeout(time.Second))
		},
		suspect: "cell.measure [producers] 3s: had too few producers until the end of 3 of 3 calls, just now",
		verdict: "Ended at its deadline of 1 s because there were too few producers. [] []",
	}})
}

// Under WithGrace, a member that returns the error of its context is late and does not run on. The call ends
// after its members' deadline.
func TestAMemberThatReturnsInItsGraceDoesNotRunOn(t *testing.T) {
	const ms = time.Millisecond
	inBubble(t, func(b *bench) {
		b.add("watches", after(300*ms, "", nil))
		b.add("is-deaf", deaf(900*ms))
		b.add("has-its-own", deaf(900*ms), dispatch.WithTimeout(50*ms))
		c := b.send(dispatch.WithTimeout(500*ms), dispatch.WithGrace(400*ms))
		time.Sleep(200 * ms)
		w := b.waterfall(c.ID())
		want(t, "in flight", w.row(t, "watches").bars(), "running 0s+100ms")
		want(t, "in flight, at its own timeout", w.row(t, "has-its-own").bars(), "running 0s+50ms, late 50ms+150ms…")
		<-c.Done()
		time.Sleep(200 * ms)
		w = b.waterfall(c.ID())
		want(t, "verdict", w.Verdict+" "+w.culprits(), "Ended 400 ms after its deadline of 100 ms without an answer from "+
			"is-deaf (still running), watches (late), has-its-own (still running)")
		want(t, "ended", w.row(t, "watches").bars(), "running 0s+100ms")
		var hangs []string
		for m, f := range b.h.recorder.archive.topics[measure.Name()].members {
			if f.hangs != 0 {
				hangs = append(hangs, m.Name)
			}
		}
		slices.Sort(hangs)
		want(t, "hangs", hangs, "[has-its-own is-deaf]")
	})
}

// The error of a member that has ended is shown while its call is in flight.
func TestErrorsOfACallInFlight(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("fails", after(0, "", errors.New("contact is open")))
		b.add("bad", func(context.Context, string) (string, error) { panic("no site") })
		b.add("goes-on", after(500*time.Millisecond, "", nil))
		c := b.send()
		time.Sleep(100 * time.Millisecond)
		w := b.waterfall(c.ID())
		want(t, "error", w.row(t, "fails").Error, "contact is open")
		if w.row(t, "bad").Stack == "" {
			t.Error("a panic has no stack")
		}
		want(t, "a search", len(b.data("q=contact&call="+c.ID().String()).Call.Rows), 1)
	})
}

// If no member is quick, and calls use half of their time, those that run for most of it are suspects.
func TestSlowCallsHaveASuspectIfNoMemberIsQuick(t *testing.T) {
	const ms = time.Millisecond
	testIncidents(t, map[string]incident{
		"all are slow": {
			play: func(b *bench) {
				b.add("a", after(3000*ms, "", nil))
				b.add("b", after(3020*ms, "", nil))
				b.add("c", after(3010*ms, "", nil))
				b.callOn(3, measure.Name(), dispatch.WithTimeout(5*time.Second))
			},
			suspect: "b [delaying] 9.06s: kept 3 of 3 calls waiting, typically 3.02 s",
			verdict: "Complete after 3.02 s; the last to answer was [b (3.02 s)] [b]",
		},
		"one of them delays all others": {
			play: func(b *bench) {
				b.add("hog", after(800*ms, "", nil))
				for i := range 6 {
					b.add(fmt.Sprint("site-", i+1), after(20*ms, "", nil))
				}
				b.callOn(3, measure.Name(), dispatch.WithTimeout(1500*ms), dispatch.WithParallelism(1))
			},
			suspect: "hog [delaying] 2.4s: kept 3 of 3 calls waiting, typically 800 ms",
		},
		"calls that have much time left": {
			play: func(b *bench) {
				b.add("a", after(2000*ms, "", nil))
				b.add("b", after(2020*ms, "", nil))
				b.callOn(3, measure.Name(), dispatch.WithTimeout(5*time.Second))
			},
		},
	})
}

// asks returns a site that asks a topic.
func (b *bench) asks(topic string) site {
	return func(ctx context.Context, req string) (string, error) {
		_, err := b.d.Gather(ctx, dispatch.NewTopic[string, string](topic), req)
		return "", err
	}
}

// The member that nested calls wait for is named, and not their sender, also if it is no slower than the other members of
// its topic.
func TestTheLeafOfNestedCallsIsASuspectIfItIsAlone(t *testing.T) {
	const ms = time.Millisecond
	shop := func(b *bench, leaf func(*bench), calls int) {
		b.addTo("price", "pricing", b.asks("stock"))
		b.addTo("price", "cache", after(ms, "", nil))
		b.addTo("stock", "shelf", b.asks("level"))
		leaf(b)
		b.callOn(calls, "price")
	}
	testIncidents(t, map[string]incident{
		"alone": {
			play: func(b *bench) {
				shop(b, func(b *bench) { b.addTo("level", "bin", after(1200*ms, "", nil)) }, 4)
			},
			suspect: "bin [delaying] 4.796s: typically takes 1.2 s; pricing waits for it in a nested call",
			verdict: "Complete after 1.2 s; the last to answer was [bin (1.2 s)] [bin]",
		},
		"as slow as the other": {
			play: func(b *bench) {
				shop(b, func(b *bench) {
					b.addTo("level", "bin", after(1200*ms, "", nil))
					b.addTo("level", "bag", after(1190*ms, "", nil))
				}, 4)
			},
			suspect: "bin [delaying] 4.796s: typically takes 1.2 s; pricing waits for it in a nested call",
		},
		"quick, and the sender is slow": {
			play: func(b *bench) {
				b.addTo("price", "pricing", func(ctx context.Context, req string) (string, error) {
					time.Sleep(time.Second)
					return b.asks("level")(ctx, req)
				})
				b.addTo("price", "cache", after(ms, "", nil))
				b.addTo("level", "bin", after(200*ms, "", nil))
				b.callOn(4, "price")
			},
			suspect: "pricing [delaying] 4.796s: kept 4 of 4 calls waiting, typically 1.2 s longer than others",
		},
		"two that send calls to each other": {
			play: func(b *bench) {
				depth := 0
				b.addTo("ping", "ping", func(ctx context.Context, req string) (string, error) {
					if depth++; depth%3 == 0 {
						return after(1200*ms, "", nil)(ctx, req)
					}
					return b.asks("pong")(ctx, req)
				})
				b.addTo("ping", "cache", after(ms, "", nil))
				b.addTo("pong", "pong", b.asks("ping"))
				b.callOn(4, "ping")
			},
			suspect: "pong [delaying] 14.388s: typically takes 1.2 s; ping waits for it in a nested call",
		},
	})
}

// The row of the senders that wait for places names the listener that is behind.
func TestTheListenerThatKeepsPlacesIsNamed(t *testing.T) {
	const ms = time.Millisecond
	listen := func(b *bench, name string, d time.Duration) {
		if _, err := b.d.AddListener(measure, func(context.Context, dispatch.Result[string, string]) { time.Sleep(d) }, dispatch.WithName(name)); err != nil {
			b.t.Fatal(err)
		}
	}
	play := func(listeners func(*bench)) func(*bench) {
		return func(b *bench) {
			b.add("quick", after(ms, "", nil))
			listen(b, "datalog", 0)
			listeners(b)
			for range 10 { // one after the other, so that both listeners have the same first result
				go b.sendTo(measure.Name())
				time.Sleep(2 * ms)
			}
			for range 4 { // so that the page sees for how long senders wait
				time.Sleep(time.Second)
				b.data("")
			}
		}
	}
	bus := []dispatch.BusOption{dispatch.WithMaxInFlight(4)}
	testIncidents(t, map[string]incident{
		"one": {
			bus: bus, play: play(func(b *bench) { listen(b, "trend", 10*time.Minute) }),
			suspect: "WithMaxInFlight [places] 15s: 5 senders wait for a place, 0 of 4 calls in flight; trend is behind with the calls in the other 4",
		},
		"two": {
			bus: bus, play: play(func(b *bench) {
				listen(b, "trend", 10*time.Minute)
				listen(b, "report", 9*time.Minute)
			}),
			suspect: "WithMaxInFlight [places] 15s: 5 senders wait for a place, 0 of 4 calls in flight; " +
				"trend and 1 more of the listeners are behind with the calls in the other 4",
		},
	})
}

// A queue before a producer that does not run is that of a semaphore, which another producer holds.
func TestAQueueForASemaphoreThatAnotherProducerHolds(t *testing.T) {
	const ms = time.Millisecond
	testIncidents(t, map[string]incident{
		"held by another": {
			play: func(b *bench) {
				s := semaphore.NewWeighted(1)
				b.addTo("scan", "scanner", after(3*time.Second, "", nil), dispatch.WithSemaphore(s))
				b.addTo("read", "meter", after(5*ms, "", nil), dispatch.WithSemaphore(s))
				b.callOn(4, "scan") // so that it takes no longer than usual
				go b.sendTo("scan")
				time.Sleep(ms)
				go b.sendTo("read")
				time.Sleep(time.Second)
			},
			suspect: "meter [queue] 1s: has a queue: 1 call waits in it, the first for 1 s, though it runs nothing: another producer may hold its semaphore",
		},
		"held by itself": {
			play: func(b *bench) {
				b.addTo("read", "meter", after(3*time.Second, "", nil), dispatch.WithSemaphore(semaphore.NewWeighted(1)))
				go b.sendTo("read")
				time.Sleep(ms)
				go b.sendTo("read")
				time.Sleep(900 * ms)
			},
			suspect: "meter [queue] 900ms: has a queue: 1 call waits in it, the first for 900 ms",
		},
	})
}

// A member that its relay names late has no queue that the bus can see.
func TestAMemberThatIsNamedLateHasNoQueue(t *testing.T) {
	const ms = time.Millisecond
	relay := func(b *bench) {
		b.add("quick", after(5*ms, "", nil))
		b.relay("gateway", func(ctx context.Context, _ string, to *dispatch.Roster[string]) error {
			time.Sleep(1800 * ms)
			m := dispatch.Member{Node: "cell-1", Name: "site"}
			to.Name(m)
			time.Sleep(900 * ms)
			to.Result(m, "3.3")
			to.End(m, nil)
			return nil
		})
	}
	testIncidents(t, map[string]incident{
		"ended": {
			play:    func(b *bench) { relay(b); b.callOn(4, measure.Name(), dispatch.WithTimeout(5*time.Second)) },
			suspect: "cell-1/site [delaying] 10.78s: kept 4 of 4 calls waiting, typically 2.7 s longer than others",
			verdict: "Complete after 2.7 s; the last to answer was [cell-1/site (2.7 s)] [cell-1/site]",
		},
		"in flight": {
			play: func(b *bench) {
				relay(b)
				b.send(dispatch.WithTimeout(5 * time.Second))
				time.Sleep(2550 * ms)
			},
			suspect: "cell-1/site [waiting] 750ms: has not answered for 2.55 s of 5 s",
		},
	})
}

// A group whose replicas all have a queue is one suspect.
func TestAGroupThatHasAQueueIsOneSuspect(t *testing.T) {
	const ms = time.Millisecond
	inBubble(t, func(b *bench) {
		b.add("quick", after(5*ms, "", nil))
		for i := range 2 {
			b.add(fmt.Sprint("probe-", i+1), after(100*ms, "", nil), dispatch.WithGroup("probes"), dispatch.WithConcurrency(1))
		}
		for range 20 {
			go b.sendTo(measure.Name())
		}
		time.Sleep(2 * time.Second)
		var names []string
		for _, s := range b.data("suspects=all").Suspects {
			names = append(names, fmt.Sprint(s.Name, s.Kinds))
		}
		want(t, "suspects", names, "[probes[queue]]")
	})
}

// A name that calls ask for, and that no member has, is a suspect as long as calls ask for it.
func TestANameThatNoMemberHasIsASuspect(t *testing.T) {
	const ms = time.Millisecond
	targets := dispatch.WithTargets("site-1", "site-l")
	testIncidents(t, map[string]incident{
		"misspelt": {
			play: func(b *bench) {
				b.add("site-1", after(5*ms, "", nil))
				b.callOn(3, measure.Name(), targets)
			},
			suspect: "site-l [nobody] 0s: is asked by name and does not exist, in 3 of its last 3 calls, just now",
			verdict: "Ended after 5 ms without an answer from [site-l (gone)] [site-1]",
		},
		"added later": {
			play: func(b *bench) {
				b.add("site-1", after(5*ms, "", nil))
				b.callOn(3, measure.Name(), targets)
				b.add("site-l", after(5*ms, "", nil))
				b.callOn(1, measure.Name(), targets)
			},
		},
		"removed": {
			play: func(b *bench) {
				b.add("site-1", after(5*ms, "", nil))
				r := b.addTo(measure.Name(), "leaves", deaf(time.Second))
				go b.sendTo(measure.Name())
				time.Sleep(100 * ms)
				r.Remove()
				time.Sleep(2 * time.Second)
			},
		},
	})
}

// Three or more members that are equally late are one row.
func TestMembersThatAreEquallyLateAreOneRow(t *testing.T) {
	const ms = time.Millisecond
	for n, wanted := range map[int][2]string{
		2: {"[site-1[] 890ms site-2[] 890ms]", "[site-1[] 975ms site-2[] 975ms]"},
		5: {"[site-1[site-2 site-3 site-4 site-5] 910ms]", "[site-1[site-2 site-3 site-4 site-5] 1s]"},
	} {
		inBubble(t, func(b *bench) {
			b.add("quick", after(5*ms, "", nil))
			for i := range n {
				b.add(fmt.Sprint("site-", i+1), after(time.Duration(300+20*i)*ms, "", nil))
			}
			suspects := func() (list []string) {
				for _, s := range b.data("suspects=all").Suspects {
					list = append(list, fmt.Sprint(s.Name, s.Also, " ", s.Lost))
				}
				return list
			}
			b.callOn(4, measure.Name(), dispatch.WithTimeout(200*ms))
			c := b.send(dispatch.WithTimeout(200 * ms))
			time.Sleep(110 * ms)
			want(t, "in flight", suspects(), wanted[0])
			<-c.Done() // requests share a snapshot for a moment, and it still has the call
			want(t, "ended", suspects(), wanted[1])
		})
	}
}
