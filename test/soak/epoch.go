package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/books"
)

// The topics. The books have only the calls on the first.
var (
	asked      = dispatch.NewTopic[int, int]("soak.asked")
	loose      = dispatch.NewTopic[int, int]("soak.loose")
	nested     = dispatch.NewTopic[int, int]("soak.nested", dispatch.WithTimeout(20*time.Millisecond))
	everything = dispatch.NewPattern[int, int]("soak.>")
)

// epoch is the life of one bus.
type epoch struct {
	d         *dispatch.Dispatcher[int, int]
	auditor   auditor
	lates     lates
	witnesses []*books.Witness
	end       end
	most      int // the largest number of goroutines that was seen

	requests atomic.Int64
	values   atomic.Int64
}

func newEpoch(by end) *epoch {
	e := &epoch{end: by}
	e.auditor.files = make(map[dispatch.CallID]*file)
	e.lates = lates{report: e.auditor.report, seen: make(map[int]bool)}
	e.d = dispatch.New[int, int](
		dispatch.WithLogger(slog.New(slog.DiscardHandler)), dispatch.WithMaxAbandoned(4),
		dispatch.WithMaxInFlight(32), dispatch.WithSlowListener(20*time.Millisecond),
	)
	e.addAudience()
	e.addCast()
	return e
}

func (e *epoch) must(_ *dispatch.Registration, err error) { e.auditor.report(err) }

// live runs the bus for this time, and then ends it while goroutines still send requests and
// add registrations.
func (e *epoch) live(life time.Duration) {
	var busy sync.WaitGroup
	for range 8 {
		busy.Go(e.send)
	}
	for i := range 3 {
		busy.Go(func() { e.pass(i) })
	}
	for end := time.Now().Add(life); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		e.most = max(e.most, runtime.NumGoroutine())
	}
	e.auditor.report(e.end.run(e))
	busy.Wait()
}

// atRest checks that no record is missing, and no call is left.
func (e *epoch) atRest() {
	e.auditor.finish()
	for _, w := range e.witnesses {
		if n := w.Open(); n > 0 {
			e.auditor.report(fmt.Errorf("%s heard results of %d calls without an end", w.Name, n))
		}
	}
	if s := e.d.Bus().Snapshot(); len(s.Calls)+len(s.Abandoned) > 0 || s.State != "closed" {
		e.auditor.report(fmt.Errorf("at rest the bus is %s, calls %v, abandoned %v", s.State, s.Calls, s.Abandoned))
	}
}

// end is a way to end a bus.
type end struct {
	name string
	run  func(*epoch) error
}

var ends = []end{
	{"shutdown", func(e *epoch) error {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err := e.d.Shutdown(ctx)
		e.auditor.cut.Store(true) // nothing is left that the end could cut off
		return err
	}},
	{"close", func(e *epoch) error {
		e.auditor.cut.Store(true)
		return e.d.Close()
	}},
	{"hurry", func(e *epoch) error {
		e.auditor.cut.Store(true)
		ctx, cancel := context.WithTimeout(context.Background(), upTo(30*time.Millisecond))
		defer cancel()
		if err := e.d.Shutdown(ctx); err != nil && !errors.As(err, new(*dispatch.ShutdownError)) {
			return err
		}
		return nil
	}},
}
