package property

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/books"
)

// listener is a witness that may be removed.
type listener struct {
	registered
	books.Witness
}

func (s *schedule) addListener() {
	l := &listener{Witness: books.Witness{
		Name:    fmt.Sprint("listener-", len(s.audience)),
		Hearing: books.Hearing(s.draw(int(books.All), int(books.AnyRank), "hearing")),
		Give:    s.hear,
	}}
	opts := []dispatch.ListenerOption{dispatch.WithName(l.Witness.Name), dispatch.OnDone(l.Done)}
	switch l.Hearing {
	case books.Some:
		opts = append(opts, dispatch.WithMailbox(s.draw(1, 3, "mailbox"), dispatch.Overflow(s.draw(0, 1, "overflow"))))
	case books.AnyRank:
		opts = append(opts, dispatch.WithConcurrency(s.draw(2, 4, "concurrency")))
	case books.All:
	}
	pause, bad := s.ticks(0, 3, "pause"), s.chance(4, "panics")
	listen := func(ctx context.Context, r books.Result) {
		l.Listen(ctx, r)
		time.Sleep(pause)
		if bad && r.Seq%2 == 0 {
			panic(errBroken)
		}
	}
	r, err := s.d.AddListener(asked, listen, opts...)
	if err != nil {
		s.Fatalf("AddListener: %v", err)
	}
	l.Registration = r
	s.audience = append(s.audience, l)
}

// hear stores the testimony of a witness.
func (s *schedule) hear(t books.Testimony) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.testimonies[t.Report.Call] = append(s.testimonies[t.Report.Call], t)
}

// hearLate is the OnLate hook.
func (s *schedule) hearLate(r books.Result, by time.Duration) {
	if r.Seq != -1 || by < 0 || !books.Answers(r.Value, r.Call.Request()) {
		s.Errorf("late by %v: %d of %v, Seq %d", by, r.Value, r.From, r.Seq)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late[r.Value]++
}
