package property

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/books"
)

// addProducer adds a producer or relay of a random kind.
func (s *schedule) addProducer() {
	n, kind := len(s.producers), s.draw(0, 7, "kind")
	sc := s.script("script")
	var r *dispatch.Registration
	var err error
	switch kind {
	case 0, 1:
		r, err = s.d.AddRelay(asked, s.relay(sc, n), dispatch.WithName(fmt.Sprint("relay-", n)))
	case 2, 3:
		name := fmt.Sprint("stream-", n)
		r, err = s.d.AddStreamProducer(asked, s.stream(name, sc), s.limits(name)...)
	case 4, 5:
		name := fmt.Sprint("replica-", n)
		group := dispatch.WithGroup(fmt.Sprint("group-", s.draw(0, 1, "group")))
		r, err = s.d.AddProducer(asked, s.producer(name, sc, false), append(s.limits(name), group)...)
	default:
		name := fmt.Sprint("plain-", n)
		r, err = s.d.AddProducer(asked, s.producer(name, sc, true), s.limits(name)...)
	}
	if err != nil {
		s.Fatalf("to add a producer: %v", err)
	}
	s.producers = append(s.producers, &registered{Registration: r})
}

// limits returns the options of a producer.
func (s *schedule) limits(name string) []dispatch.ProducerOption {
	opts := []dispatch.ProducerOption{dispatch.WithName(name)}
	if n := s.draw(0, 5, "concurrency"); n == 1 || n == 2 {
		opts = append(opts, dispatch.WithConcurrency(n))
		if s.chance(2, "queue") {
			opts = append(opts, dispatch.WithMaxQueue(1))
		}
	}
	return opts
}

// isMany reports whether a member can have any number of results. A relay that
// fails is a member, too.
func isMany(m dispatch.Member) bool {
	return m.Node != "" || strings.HasPrefix(m.Name, "stream-") || strings.HasPrefix(m.Name, "relay-")
}

// value makes a result. A result that counts must be a result of the call, or late. Of
// replicas, only the first result is used, so theirs do not count.
func (s *schedule) value(req int, counts bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values++
	v := books.Value(req, s.values)
	if counts {
		s.given[v] = true
	}
	return v
}

// begins records that a producer is asked.
func (s *schedule) begins(ctx context.Context, name string) {
	info, _ := dispatch.CallFrom(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs[info.ID] == nil {
		s.runs[info.ID] = make(map[string]int)
	}
	s.runs[info.ID][name]++
}

func (s *schedule) producer(name string, sc script, counts bool) dispatch.Producer[int, int] {
	return func(ctx context.Context, req int) (int, error) {
		s.begins(ctx, name)
		st := sc.of(req, 0)
		if err := st.wait(ctx); err != nil {
			return 0, err
		}
		if err := s.finish(st); err != nil {
			return 0, err
		}
		return s.value(req, counts), nil
	}
}

func (s *schedule) stream(name string, sc script) dispatch.StreamProducer[int, int] {
	return func(ctx context.Context, req int) iter.Seq2[int, error] {
		s.begins(ctx, name)
		return func(yield func(int, error) bool) {
			st := sc.of(req, 0)
			for range st.count {
				if err := st.wait(ctx); err != nil {
					yield(0, err)
					return
				}
				if !yield(s.value(req, true), nil) {
					return
				}
			}
			if err := s.finish(st); err != nil {
				yield(0, err)
			}
		}
	}
}

// relay returns a relay to a few members on its own node. It does what its script says for one
// member after the other, and then for itself.
func (s *schedule) relay(sc script, n int) dispatch.Relay[int, int] {
	node := fmt.Sprint("node-", n)
	return func(ctx context.Context, req int, to *dispatch.Roster[int]) error {
		own := sc.of(req, 0)
		for i := range own.count {
			m, st := dispatch.Member{Node: node, Name: fmt.Sprint("member-", i)}, sc.of(req, i+1)
			if !to.Name(m) {
				return nil // the call is over
			}
			for range st.count {
				if err := st.wait(ctx); err != nil {
					return err
				}
				to.Result(m, s.value(req, true))
			}
			to.Name(m) // a misuse
			if err := s.finish(st); st.ending != isDeaf {
				to.End(m, err)
			}
			to.End(m, nil) // a misuse
		}
		return s.finish(own)
	}
}
