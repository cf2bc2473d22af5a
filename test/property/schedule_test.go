package property

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/books"
)

// tick is the unit of a schedule's delays. Many things happen at the same tick.
const tick = time.Millisecond

var (
	asked     = dispatch.NewTopic[int, int]("property.asked", dispatch.WithTimeout(20*tick))
	errBroken = errors.New("broken")
)

// schedule is one run, and the record of it. Only one goroutine draws. The values that it has
// drawn for others are in their scripts.
type schedule struct {
	*rapid.T
	d         *dispatch.Dispatcher[int, int]
	release   chan struct{} // closed to let the producers that ignore their contexts return
	producers []*registered
	audience  []*listener
	calls     []*call
	cut       bool

	mu          sync.Mutex // guards the fields below
	values      int
	runs        map[dispatch.CallID]map[string]int
	given       map[int]bool // values that members gave, and must not be lost
	late        map[int]int
	testimonies map[dispatch.CallID][]books.Testimony
}

// registered is a registration that may be removed.
type registered struct {
	*dispatch.Registration
	leaving bool
}

func newSchedule(t *rapid.T) *schedule {
	s := &schedule{
		T: t, release: make(chan struct{}),
		runs:  make(map[dispatch.CallID]map[string]int),
		given: make(map[int]bool), late: make(map[int]int),
		testimonies: make(map[dispatch.CallID][]books.Testimony),
	}
	opts := []dispatch.BusOption{dispatch.WithLogger(slog.New(slog.DiscardHandler)), dispatch.WithMaxAbandoned(s.draw(1, 8, "MaxAbandoned"))}
	if n := s.draw(0, 8, "MaxInFlight"); n > 0 {
		opts = append(opts, dispatch.WithMaxInFlight(n))
	}
	s.d = dispatch.New[int, int](opts...)
	s.d.OnLate(s.hearLate)
	for range s.draw(0, 8, "producers") {
		s.addProducer()
	}
	for range s.draw(0, 4, "listeners") {
		s.addListener()
	}
	return s
}

func (s *schedule) draw(least, most int, label string) int {
	return rapid.IntRange(least, most).Draw(s.T, label)
}

func (s *schedule) chance(n int, label string) bool { return s.draw(1, n, label) == n }

func (s *schedule) ticks(least, most int, label string) time.Duration {
	return time.Duration(s.draw(least, most, label)) * tick
}

// play does things in any order.
func (s *schedule) play() {
	actions := map[string]func(){
		"send":            s.send,
		"sleep":           func() { time.Sleep(s.ticks(0, 8, "pause")) },
		"wait":            synctest.Wait,
		"add producer":    s.addProducer,
		"add listener":    s.addListener,
		"remove producer": s.removeProducer,
		"remove listener": s.removeListener,
		"cancel":          s.cancel,
	}
	names := append(slices.Sorted(maps.Keys(actions)), "send", "send", "send")
	for range s.draw(1, 24, "actions") {
		actions[rapid.SampledFrom(names).Draw(s.T, "action")]()
	}
}

// A registration is drawn as an index, because rapid prints what it draws, and other goroutines
// use the registrations at the same time.

func (s *schedule) removeProducer() {
	if n := len(s.producers); n > 0 {
		s.leave(s.producers[s.draw(0, n-1, "who leaves")])
	}
}

func (s *schedule) removeListener() {
	if n := len(s.audience); n > 0 {
		s.leave(&s.audience[s.draw(0, n-1, "who leaves")].registered)
	}
}

func (s *schedule) cancel() {
	if n := len(s.calls); n > 0 {
		s.calls[s.draw(0, n-1, "which ends")].Cancel(errBroken)
	}
}

// leave removes a registration, in one of the possible ways.
func (s *schedule) leave(r *registered) {
	r.leaving = true
	if s.chance(2, "drain") {
		ctx, cancel := context.WithTimeout(context.Background(), s.ticks(0, 8, "patience"))
		defer cancel()
		_ = r.Drain(ctx) // the time for the drain may be too short
		return
	}
	r.Remove()
}

// end ends the bus in one of the possible ways, and lets all producers return.
func (s *schedule) end() {
	switch s.draw(0, 3, "end") {
	case 0:
		s.cut = true
		s.d.Close()
	case 1:
		s.cut = true
		ctx, cancel := context.WithTimeout(context.Background(), s.ticks(0, 10, "patience"))
		defer cancel()
		_ = s.d.Shutdown(ctx)
	default:
		time.AfterFunc(40*tick, func() { close(s.release) })
		if err := s.d.Shutdown(context.Background()); err != nil {
			s.Errorf("Shutdown: %v", err)
		}
	}
	if s.cut {
		close(s.release)
	}
	time.Sleep(time.Minute) // for timers that remain
	synctest.Wait()
}
