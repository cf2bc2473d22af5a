package property

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/books"
)

// call is a call, with what the schedule knows of it.
type call struct {
	*dispatch.Call[int, int]
	entry     books.Entry
	timeout   time.Duration
	witnesses []*listener // the listeners that were registered when it was sent
	early     []books.Result
	read      chan struct{} // closed when early is complete
}

// send makes a call under a mix of policies.
func (s *schedule) send() {
	c := &call{entry: books.Entry{Many: isMany, Exact: true}, timeout: 20 * tick, read: make(chan struct{})}
	opts := s.policies(c)
	ctx := context.Background()
	switch s.draw(0, 9, "context") {
	case 0:
		canceled, cancel := context.WithCancelCause(ctx)
		time.AfterFunc(s.ticks(0, 10, "until canceled"), func() { cancel(errBroken) })
		ctx = canceled
	case 1:
		d := s.ticks(0, 12, "context's time")
		until, cancel := context.WithTimeout(ctx, d)
		context.AfterFunc(until, cancel)
		ctx, c.timeout = until, min(c.timeout, d)
	}
	for _, l := range s.audience {
		if !l.leaving {
			c.witnesses = append(c.witnesses, l)
		}
	}
	var err error
	if c.Call, err = s.d.Send(ctx, asked, len(s.calls), opts...); err != nil {
		if !errors.Is(err, dispatch.ErrOverloaded) {
			s.Errorf("Send: %v", err)
		}
		return
	}
	s.calls = append(s.calls, c)
	go func() {
		defer close(c.read)
		c.early = slices.Collect(c.Results())
	}()
}

// policies draws options, and stores those that the checks of the books need.
func (s *schedule) policies(c *call) []dispatch.CallOption {
	opts := []dispatch.CallOption{dispatch.WithNoWait()} // the goroutine that plays must not wait
	may := func(n int, label string, o func() dispatch.CallOption) {
		if s.chance(n, label) {
			opts = append(opts, o())
		}
	}
	may(2, "timeout", func() dispatch.CallOption {
		c.timeout = s.ticks(1, 15, "timeout of")
		return dispatch.WithTimeout(c.timeout)
	})
	may(4, "quorum", func() dispatch.CallOption {
		c.entry.Quorum = s.draw(1, 6, "quorum of")
		return dispatch.WithQuorum(c.entry.Quorum)
	})
	may(6, "fail fast", func() dispatch.CallOption {
		c.entry.FailFast = true
		return dispatch.WithFailFast()
	})
	if c.timeout > tick {
		may(4, "grace", func() dispatch.CallOption {
			c.entry.Grace = true
			return dispatch.WithGrace(s.ticks(1, int(c.timeout/tick)-1, "grace of"))
		})
	}
	may(4, "stall", func() dispatch.CallOption { return dispatch.WithStall(s.ticks(1, 6, "stall of")) })
	may(4, "stagger", func() dispatch.CallOption { return dispatch.WithStagger(s.ticks(1, 4, "stagger of")) })
	may(3, "hedge", func() dispatch.CallOption { return dispatch.WithHedge(s.ticks(1, 5, "hedge of")) })
	may(4, "parallelism", func() dispatch.CallOption { return dispatch.WithParallelism(s.draw(1, 4, "parallelism of")) })
	may(8, "min producers", func() dispatch.CallOption { return dispatch.WithMinProducers(s.draw(1, 9, "min producers of")) })
	may(8, "targets", func() dispatch.CallOption {
		return dispatch.WithTargets("plain-0", "stream-1", "group-0", "member-0", "nobody", "nobody")
	})
	return opts
}
