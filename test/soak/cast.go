package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/books"
)

var errBroken = errors.New("broken")

// behaviour is what a producer does before it answers.
type behaviour func(e *epoch, ctx context.Context) error

// behaviours are those of ordinary producers, by name.
var behaviours = map[string]behaviour{
	"quick":     func(*epoch, context.Context) error { return nil },
	"slow":      func(_ *epoch, ctx context.Context) error { return sleep(ctx, upTo(8*time.Millisecond)) },
	"failing":   func(*epoch, context.Context) error { return errBroken },
	"panicking": func(*epoch, context.Context) error { panic(errBroken) },
	"declining": func(*epoch, context.Context) error { return dispatch.ErrDecline },
	"asking":    ask,
	"exiting": func(*epoch, context.Context) error {
		runtime.Goexit()
		return nil
	},
	"tardy": func(*epoch, context.Context) error {
		time.Sleep(upTo(60 * time.Millisecond))
		return nil
	},
	"deaf": func(*epoch, context.Context) error {
		if rand.IntN(20) == 0 {
			time.Sleep(upTo(400 * time.Millisecond))
		}
		return nil
	},
}

func upTo(d time.Duration) time.Duration { return rand.N(d) }

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// ask sends a request from inside the call.
func ask(e *epoch, ctx context.Context) error {
	_, err := e.d.Gather(ctx, nested, 0)
	return err
}

// flaky behaves in a random way.
func flaky(e *epoch, ctx context.Context) error {
	for _, b := range behaviours { // in random order
		return b(e, ctx)
	}
	return nil
}

// producer returns a producer with this behavior.
func (e *epoch) producer(b behaviour) dispatch.Producer[int, int] {
	return func(ctx context.Context, req int) (int, error) {
		if err := b(e, ctx); err != nil {
			return 0, err
		}
		return e.value(req), nil
	}
}

// addCast adds the producers that are never removed.
func (e *epoch) addCast() {
	for name, b := range behaviours {
		e.must(e.d.AddProducer(dispatch.AnyOf(asked, loose), e.producer(b), dispatch.WithName(name)))
	}
	e.must(e.d.AddProducer(nested, e.producer(behaviours["slow"])))
	e.must(e.d.AddProducer(everything, e.producer(behaviours["quick"]), dispatch.WithName("everywhere")))
	e.must(e.d.AddProducer(asked, e.producer(behaviours["slow"]), dispatch.WithName("serial"), dispatch.WithConcurrency(1)))
	e.must(e.d.AddProducer(asked, e.producer(behaviours["slow"]), dispatch.WithName("queued"), dispatch.WithConcurrency(1), dispatch.WithMaxQueue(2)))
	instrument := semaphore.NewWeighted(2)
	for i := range 2 {
		e.must(e.d.AddProducer(asked, e.producer(flaky), dispatch.WithName(fmt.Sprint("sharing-", i)), dispatch.WithSemaphore(instrument)))
	}
	for i := range 6 {
		group := dispatch.WithGroup(fmt.Sprint("group-", i%2))
		e.must(e.d.AddProducer(dispatch.AnyOf(asked, loose), e.producer(flaky), dispatch.WithName(fmt.Sprint("replica-", i)), group))
	}
	e.must(e.d.AddStreamProducer(asked, e.stream(endless), dispatch.WithName("stream-endless")))
	e.must(e.d.AddStreamProducer(dispatch.AnyOf(asked, loose), e.stream(flaky), dispatch.WithName("stream-flaky")))
	e.must(e.d.AddStreamProducer(asked, e.stream(behaviours["quick"]), dispatch.WithName("stream-serial"), dispatch.WithConcurrency(1)))
	e.must(e.d.AddRelay(asked, e.relay("far"), dispatch.WithName("relay-far")))
	e.must(e.d.AddRelay(dispatch.AnyOf(asked, loose), e.relay("farther"), dispatch.WithName("relay-farther")))
}

// isMany reports whether a member can have any number of results. A relay that
// fails is a member, too.
func isMany(m dispatch.Member) bool {
	return m.Node != "" || len(m.Name) > 6 && (m.Name[:6] == "stream" || m.Name[:6] == "relay-")
}

// value makes a result.
func (e *epoch) value(req int) int { return books.Value(req, int(e.values.Add(1))) }
