package dispatch_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// Senders that wait for long are logged once, with the listener that keeps most places, and
// are in the Snapshot.
func TestSendersThatWaitAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithMaxInFlight(4), dispatch.WithSlowListener(time.Hour), dispatch.WithTimeout(time.Minute))
		produce(t, d, "a", quick(1))
		must(d.AddProducer(other, slow(40*time.Hour, 1)))
		release := make(chan struct{})
		listen(t, d, func(context.Context, result) { <-release }, dispatch.WithName("stuck"))
		listen(t, d, func(context.Context, result) {}, dispatch.WithName("quick"))
		must(d.AddListener(other, func(context.Context, result) {}, dispatch.WithName("idle")))
		for range 4 {
			<-send(t, d).Done() // the listener has the first one in hand, and keeps three places
		}
		synctest.Wait()
		must(d.Send(t.Context(), other, 0, dispatch.WithTimeout(50*time.Hour)))
		for range 3 {
			go d.Send(t.Context(), ask, 0)
		}
		synctest.Wait()
		if s := d.Bus().Snapshot(); s.MaxInFlight != 4 || s.SendersWaiting != 3 || s.Sent != 5 {
			t.Errorf("%d senders wait for %d places, %d are sent", s.SendersWaiting, s.MaxInFlight, s.Sent)
		}
		time.Sleep(time.Hour - time.Nanosecond)
		for _, line := range logged.all() {
			if strings.Contains(line, "senders") {
				t.Errorf("logged too early: %s", line)
			}
		}
		time.Sleep(3 * time.Hour)
		var lines []string
		for _, line := range logged.all() {
			if strings.Contains(line, "senders") {
				lines = append(lines, line[:strings.Index(line, " added_at")])
			}
		}
		wantLines(t, lines, "WARN senders wait for a place dispatch=[topic=kit.ask senders_waiting=3 max_in_flight=4 calls_under_way=1 listener=stuck places_kept=3")
		close(release)
		synctest.Wait()
		if s := d.Bus().Snapshot(); s.SendersWaiting != 0 || s.Sent != 8 {
			t.Errorf("%d senders wait, %d are sent", s.SendersWaiting, s.Sent)
		}
		time.Sleep(100 * time.Hour)
	})
}

// It is logged again when senders wait once more, and names no listener if none is to blame.
func TestSendersThatWaitForProducersAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithMaxInFlight(1), dispatch.WithSlowListener(time.Second), dispatch.WithTimeout(time.Minute))
		produce(t, d, "a", slow(3*time.Second, 1))
		for range 2 {
			send(t, d)
			<-send(t, d).Done()
			synctest.Wait()
		}
		wantLines(t, logged.all(),
			"WARN senders wait for a place dispatch=[topic=kit.ask senders_waiting=1 max_in_flight=1 calls_under_way=1]",
			"WARN senders wait for a place dispatch=[topic=kit.ask senders_waiting=1 max_in_flight=1 calls_under_way=1]")
	})
}

// What was refused, for whatever reason, was not sent.
func TestRefusedRequestsAreNotCountedAsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		bad := dispatch.NewTopic[string, string](ask.Name())
		if _, err := dispatch.On[string, string](d.Bus()).Send(t.Context(), bad, ""); !errors.Is(err, dispatch.ErrTopicType) {
			t.Errorf("error %v", err)
		}
		first := send(t, d)
		<-first.Done()
		synctest.Wait()
		d.Close()
		if _, err := d.Send(t.Context(), ask, 0); !errors.Is(err, dispatch.ErrClosed) {
			t.Errorf("error %v", err)
		}
		if n := d.Bus().Snapshot().Sent; n != 1 || first.ID() != 1 {
			t.Errorf("%d are sent, the first is %v", n, first.ID())
		}
	})
}

// A sender whose place comes just when it would be logged does not keep the next one from
// being logged.
func TestASenderThatIsNotLoggedDoesNotSilenceTheNext(t *testing.T) {
	for range 50 { // which of the two comes first is left to chance
		synctest.Test(t, func(t *testing.T) {
			d, logged := newDispatcher(dispatch.WithMaxInFlight(1), dispatch.WithSlowListener(time.Second))
			produce(t, d, "a", slow(time.Second, 1))
			send(t, d)
			send(t, d) // for a second
			produce(t, d, "b", slow(3*time.Second, 1))
			send(t, d) // for a second again
			synctest.Wait()
			before := logged.count("senders wait")
			<-send(t, d).Done() // for three
			synctest.Wait()
			if got := logged.count("senders wait"); got != before+1 {
				t.Errorf("%d were logged before a sender that waits for long, %d after it", before, got)
			}
			<-time.After(time.Minute)
		})
	}
}

// Hooks that do not send leave it to the listener to hold back senders.
func TestHooksKeepTheBound(t *testing.T) {
	for _, hook := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher(dispatch.WithMaxInFlight(4), dispatch.WithSlowListener(time.Hour))
			var opts []dispatch.ListenerOption
			if hook {
				opts = append(opts, dispatch.OnDone(func(dispatch.Report) {}))
			}
			produce(t, d, "a", quick(1))
			l := listen(t, d, func(context.Context, result) { time.Sleep(time.Second) }, opts...)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			sent := 0
			for {
				if _, err := d.Send(ctx, ask, 0); err != nil {
					break
				}
				if sent++; ctx.Err() != nil {
					break
				}
			}
			if sent > 30 {
				t.Errorf("hook %v: a listener that takes 1 s for each has let %d calls in", hook, sent)
			}
			l.Remove()
			time.Sleep(time.Hour)
		})
	}
}

// A bus that shuts down gives no more places, so no sender begins to wait for one.
func TestNoSenderBeginsToWaitDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithMaxInFlight(1))
		produce(t, d, "a", slow(time.Second, 1))
		send(t, d)
		go d.Shutdown(t.Context())
		synctest.Wait()
		began := time.Now()
		_, err := d.Send(t.Context(), ask, 1)
		if took := time.Since(began); !errors.Is(err, dispatch.ErrClosed) || took != 0 {
			t.Errorf("Send: %v after %v", err, took)
		}
	})
}

// A listener that comes after the last result of a call has no result of the call to wait for.
func TestListenerAfterTheLastResultKeepsNoPlace(t *testing.T) {
	for name, opts := range map[string][]dispatch.ListenerOption{
		"plain": nil, "concurrent": {dispatch.WithConcurrency(2)}, "bounded": {dispatch.WithMailbox(1, dispatch.DropOldest)},
	} {
		start := func(t *testing.T) *dispatcher {
			d, _ := newDispatcher(dispatch.WithMaxInFlight(1), dispatch.WithTimeout(time.Minute))
			produce(t, d, "quick", quick(1))
			produce(t, d, "late", slowly(2*time.Second, failing(errBroken)))
			return d
		}
		t.Run("hook sends/"+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := start(t)
				c := send(t, d)
				time.Sleep(time.Second)
				sent := false
				listen(t, d, ignore, append(opts, dispatch.OnDone(func(dispatch.Report) {
					if sent {
						return
					}
					sent = true
					ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
					defer cancel()
					if _, err := d.Send(ctx, other, 0); err != nil {
						t.Errorf("Send in OnDone: %v", err)
					}
				}))...)
				<-c.Done()
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				if !sent {
					t.Error("OnDone was not called")
				}
			})
		})
		t.Run("busy/"+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := start(t)
				c := send(t, d)
				time.Sleep(time.Second)
				release := make(chan struct{})
				listen(t, d, func(context.Context, result) { <-release }, append(opts, dispatch.OnOutcome(func(dispatch.Outcome) { <-release }), dispatch.OnDone(func(dispatch.Report) { <-release }))...)
				<-c.Done()
				synctest.Wait()
				if full(t, d) {
					t.Error("the call keeps its place although it has ended and its result has reached every listener that gets it")
				}
				close(release)
			})
		})
	}
}

// The context of a sender that waits for a place ends with a cause of the sender's.
func TestTheErrorOfASenderThatGaveUp(t *testing.T) {
	for name, test := range map[string]struct {
		cause error
		kind  error
		end   func(ctx context.Context, cause error) (context.Context, func())
	}{
		"deadline": {errors.New("out\nof time"), context.DeadlineExceeded, func(ctx context.Context, cause error) (context.Context, func()) {
			ctx, cancel := context.WithTimeoutCause(ctx, time.Second, cause)
			return ctx, cancel
		}},
		"canceled": {dispatch.ErrSatisfied, context.Canceled, func(ctx context.Context, cause error) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(cause) })
			return ctx, func() { cancel(nil) }
		}},
		"long": {errors.New(strings.Repeat("x", 1<<20)), context.Canceled, func(ctx context.Context, cause error) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(cause) })
			return ctx, func() { cancel(nil) }
		}},
	} {
		bubble(t, name, func(t *testing.T) {
			d, _ := newDispatcher(dispatch.WithMaxInFlight(1))
			produce(t, d, "a", slow(3*time.Second, 1))
			send(t, d)
			ctx, stop := test.end(t.Context(), test.cause)
			defer stop()
			_, err := d.Send(ctx, ask, 1)
			for _, is := range []error{dispatch.ErrOverloaded, test.cause, test.kind} {
				if !errors.Is(err, is) {
					t.Errorf("%.100q is not %.100q", err, is)
				}
			}
			if text := err.Error(); strings.Contains(text, "\n") || strings.Count(text, "dispatch: ") != 1 || len(text) > 2<<10 {
				t.Errorf("the text is %.100q, of %d bytes: want one line of bounded length with one prefix", text, len(text))
			}
		})
	}
}
