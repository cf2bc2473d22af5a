package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/books"
)

// send makes calls of all kinds until the bus is closed.
func (e *epoch) send() {
	for err := error(nil); !errors.Is(err, dispatch.ErrClosed); {
		time.Sleep(upTo(8 * time.Millisecond))
		req := int(e.requests.Add(1))
		switch rand.IntN(12) {
		case 0:
			_, err = e.d.Gather(context.Background(), loose, req, e.options(new(books.Entry))...)
		case 1:
			err = e.first(req)
		case 2:
			err = e.streaming(req)
		case 3:
			_ = e.d.Bus().Snapshot()
		default:
			err = e.call(req)
		}
	}
}

// call makes one call whose books are checked.
func (e *epoch) call(req int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if rand.IntN(8) == 0 {
		ctx, cancel = context.WithTimeout(ctx, upTo(30*time.Millisecond))
		defer cancel()
	}
	entry := &books.Entry{Many: isMany}
	c, err := e.d.Send(ctx, asked, req, e.options(entry)...)
	switch {
	case errors.Is(err, dispatch.ErrClosed):
		return err
	case errors.Is(err, dispatch.ErrOverloaded), errors.Is(err, dispatch.ErrInvalidOption):
		return nil // no place, or a grace that is too long
	case err != nil:
		e.auditor.report(fmt.Errorf("to send: %w", err))
		return nil
	}
	switch rand.IntN(12) {
	case 0:
		time.AfterFunc(upTo(10*time.Millisecond), cancel)
	case 1:
		time.AfterFunc(upTo(10*time.Millisecond), func() { c.Cancel(errBroken) })
	}
	early := make(chan []books.Result, 1)
	go func() { early <- slices.Collect(c.Results()) }()
	<-c.Done()
	entry.Report, entry.Results = c.Report(), slices.Collect(c.Results())
	e.auditor.report(entry.Agrees(<-early))
	e.auditor.enter(entry)
	return nil
}

// options returns random options, and stores those that the checks of the books need.
func (e *epoch) options(entry *books.Entry) []dispatch.CallOption {
	timeout := 2*time.Millisecond + upTo(60*time.Millisecond)
	opts := []dispatch.CallOption{dispatch.WithTimeout(timeout)}
	may := func(n int, o func() dispatch.CallOption) {
		if rand.IntN(n) == 0 {
			opts = append(opts, o())
		}
	}
	may(5, func() dispatch.CallOption {
		entry.Quorum = 1 + rand.IntN(20)
		return dispatch.WithQuorum(entry.Quorum)
	})
	may(10, func() dispatch.CallOption {
		entry.FailFast = true
		return dispatch.WithFailFast()
	})
	may(6, func() dispatch.CallOption {
		entry.Grace = true
		return dispatch.WithGrace(1 + upTo(timeout-1))
	})
	may(5, func() dispatch.CallOption { return dispatch.WithStall(1 + upTo(10*time.Millisecond)) })
	may(5, func() dispatch.CallOption { return dispatch.WithStagger(1 + upTo(3*time.Millisecond)) })
	may(3, func() dispatch.CallOption { return dispatch.WithHedge(1 + upTo(5*time.Millisecond)) })
	may(5, func() dispatch.CallOption { return dispatch.WithParallelism(1 + rand.IntN(8)) })
	may(9, func() dispatch.CallOption { return dispatch.WithMinProducers(1 + rand.IntN(40)) })
	may(9, func() dispatch.CallOption {
		return dispatch.WithTargets("quick", "group-0", "passing-1", "member-1", "nobody")
	})
	may(9, func() dispatch.CallOption { return dispatch.WithNoWait() })
	return opts
}

func (e *epoch) first(req int) error {
	v, err := e.d.First(context.Background(), loose, req)
	if err == nil && !books.Answers(v, req) {
		e.auditor.report(fmt.Errorf("the first result is %d, to request %d", v, req))
	}
	return err
}

// streaming ranges over a stream, not always to its end.
func (e *epoch) streaming(req int) (failed error) {
	n := 0
	for r, err := range e.d.Stream(context.Background(), loose, req, dispatch.WithTimeout(30*time.Millisecond)) {
		if err != nil {
			failed = err
			continue
		}
		if r.Seq != n || !books.Answers(r.Value, req) {
			e.auditor.report(fmt.Errorf("in a stream, result %d of request %d is %d, Seq %d", n, req, r.Value, r.Seq))
		}
		if n++; rand.IntN(20) == 0 {
			return nil
		}
	}
	return failed
}
