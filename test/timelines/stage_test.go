package timelines_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// The types and topics of all documents: a test cell asks several sites for the voltage at a
// pin.

type (
	dispatcher = dispatch.Dispatcher[string, float64]
	topic      = dispatch.Topic[string, float64]
	producer   = dispatch.Producer[string, float64]
	result     = dispatch.Result[string, float64]
)

var measure = dispatch.NewTopic[string, float64]("cell.measure", dispatch.WithTimeout(4*time.Second))

// stage is a cell whose producers and listeners are recorded.
type stage struct {
	t     *testing.T
	cell  *dispatcher
	began time.Time

	mu        sync.Mutex // guards the fields below
	producers []actor    // in the order of registration
	runs      []*run
	results   []moment // in the order of time
	late      []moment
	callbacks []*run // of the listener that is drawn, if one is
	reports   []dispatch.Report
	dropped   uint64 // by the listener that is drawn
}

// snapshot records the figures of the bus that the picture needs.
func (s *stage) snapshot() {
	topics := s.cell.Bus().Snapshot().Topics
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range topics {
		for _, l := range t.Listeners {
			s.dropped += l.Dropped // the stage itself drops nothing
		}
	}
}

// actor is a producer that a picture has a row for.
type actor struct {
	name  string
	added time.Duration
}

// run is one run of a producer, or one callback of a listener.
type run struct {
	name     string
	call     dispatch.CallID
	seq      int // of the result that the callback is for
	from, to time.Duration
	told     time.Duration // when its context ended; negative if it has not
	err      error
}

// moment is the time of a result.
type moment struct {
	name string
	call dispatch.CallID
	seq  int
	at   time.Duration
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, began: time.Now()}
	s.watch(dispatch.New[string, float64](dispatch.WithLogger(slog.New(slog.DiscardHandler))))
	return s
}

// watch makes the stage record the calls of the cell.
func (s *stage) watch(cell *dispatcher) {
	s.cell = cell
	_, err := cell.AddListener(measure, func(_ context.Context, r result) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.results = append(s.results, moment{r.From.Name, r.Call.ID(), r.Seq, s.now()})
	}, dispatch.WithName("stage"), dispatch.OnDone(func(r dispatch.Report) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reports = append(s.reports, r)
	}))
	s.check(err)
	cell.OnLate(func(r result, _ time.Duration) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.late = append(s.late, moment{r.From.Name, r.Call.ID(), r.Seq, s.now()})
	})
}

func (s *stage) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Error(err)
	}
}

func (s *stage) now() time.Duration { return time.Since(s.began) }

// add registers a producer and gives it a row.
func (s *stage) add(name string, p producer, opts ...dispatch.ProducerOption) {
	s.t.Helper()
	_, err := s.cell.AddProducer(measure, s.drawn(name, p), append(opts, dispatch.WithName(name))...)
	s.check(err)
}

// drawn returns a producer that records its runs, and gives it a row.
func (s *stage) drawn(name string, p producer) producer {
	s.row(name)
	return func(ctx context.Context, pin string) (float64, error) {
		r := s.enter(ctx, name)
		volts, err := p(ctx, pin)
		s.leave(r, err)
		return volts, err
	}
}

func (s *stage) row(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.producers = append(s.producers, actor{name, s.now()})
}

func (s *stage) enter(ctx context.Context, name string) *run {
	info, _ := dispatch.CallFrom(ctx)
	r := &run{name: name, call: info.ID, from: s.now(), to: -1, told: -1}
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if now := s.now(); r.to < 0 || r.to == now {
			r.told = now
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs = append(s.runs, r)
	return r
}

func (s *stage) leave(r *run, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.to, r.err = s.now(), err
}

// answersAfter returns a producer that answers after d, and gives up when its
// context ends.
func answersAfter(d time.Duration) producer {
	return func(ctx context.Context, _ string) (float64, error) {
		select {
		case <-time.After(d):
			return 3.3, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// failsAfter returns a producer that fails after d.
func failsAfter(d time.Duration) producer {
	return func(context.Context, string) (float64, error) {
		time.Sleep(d)
		return 0, errors.New("probe is open")
	}
}

// deafFor returns a producer that answers after d and ignores its context.
func deafFor(d time.Duration) producer {
	return func(context.Context, string) (float64, error) {
		time.Sleep(d)
		return 3.3, nil
	}
}

// averages returns a producer that measures until its context ends, and then needs d to return
// its result.
func averages(d time.Duration) producer {
	return func(ctx context.Context, _ string) (float64, error) {
		<-ctx.Done()
		time.Sleep(d)
		return 3.3, nil
	}
}

// yields returns a stream producer that yields n results, one after each d, the
// first at once.
func (s *stage) yields(name string, n int, d time.Duration) dispatch.StreamProducer[string, float64] {
	s.row(name)
	return func(ctx context.Context, _ string) iter.Seq2[float64, error] {
		return func(yield func(float64, error) bool) {
			r := s.enter(ctx, name)
			defer s.leave(r, nil)
			for i := range n {
				if i > 0 {
					time.Sleep(d)
				}
				if !yield(float64(i), nil) {
					return
				}
			}
		}
	}
}

// takes returns a listener that needs d for each result, and gives it a row.
func (s *stage) takes(name string, d time.Duration) dispatch.Listener[string, float64] {
	return func(_ context.Context, r result) {
		c := &run{name: name, seq: r.Seq, from: s.now()}
		time.Sleep(d)
		s.mu.Lock()
		defer s.mu.Unlock()
		c.to = s.now()
		s.callbacks = append(s.callbacks, c)
	}
}
