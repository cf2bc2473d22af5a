package main

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// endless is the behavior of a stream that goes on until its context ends.
func endless(_ *epoch, ctx context.Context) error { return sleep(ctx, upTo(10*time.Millisecond)) }

// stream returns a stream producer with this behavior before each result. Only an endless
// stream has no end of its own.
func (e *epoch) stream(b behaviour) dispatch.StreamProducer[int, int] {
	return func(ctx context.Context, req int) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for range rand.IntN(6) {
				if err := b(e, ctx); err != nil {
					yield(0, err)
					return
				}
				if !yield(e.value(req), nil) {
					return
				}
			}
			for rand.IntN(2) == 0 && ctx.Err() == nil {
				if !yield(e.value(req), nil) {
					return
				}
			}
		}
	}
}

// relay returns a relay to a few members on a node. The relay sometimes misuses its roster.
func (e *epoch) relay(node string) dispatch.Relay[int, int] {
	return func(ctx context.Context, req int, to *dispatch.Roster[int]) error {
		for i := range rand.IntN(4) {
			m := dispatch.Member{Node: node, Name: fmt.Sprint("member-", i)}
			to.Name(m)
			for range rand.IntN(3) {
				if err := sleep(ctx, upTo(4*time.Millisecond)); err != nil && rand.IntN(2) == 0 {
					return err
				}
				to.Result(m, e.value(req))
			}
			misuse(to, m)
			e.endAfar(to, m)
			misuse(to, m)
		}
		switch rand.IntN(20) {
		case 0:
			return errBroken
		case 1:
			panic(errBroken)
		case 2:
			time.Sleep(upTo(200 * time.Millisecond))
		}
		return nil
	}
}

// endAfar ends a member in a random way, or not at all.
func (e *epoch) endAfar(to *dispatch.Roster[int], m dispatch.Member) {
	errs := []error{nil, nil, nil, errBroken, dispatch.ErrDecline, dispatch.ErrGone, dispatch.ErrOverloaded, &dispatch.PanicError{Value: 1}, dispatch.ErrUnreachable}
	if i := rand.IntN(len(errs) + 1); i < len(errs) {
		to.End(m, errs[i])
	}
}

// misuse sometimes does what a relay must not do.
func misuse(to *dispatch.Roster[int], m dispatch.Member) {
	switch rand.IntN(30) {
	case 0:
		to.Name(m)
	case 1:
		to.Name(dispatch.Member{})
	case 2:
		to.End(dispatch.Member{Name: "stranger"}, nil)
	}
}
