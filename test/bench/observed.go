package main

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// watched is an observer and what its hooks are.
type watched struct {
	name     string
	observer dispatch.Observer
}

// hooks are observers with one hook each that does nothing, between one without any
// hook and one with all.
func hooks() []watched {
	same := func(ctx context.Context) context.Context { return ctx }
	all := dispatch.Observer{
		CallStart:     func(ctx context.Context, _ dispatch.CallStarted) context.Context { return same(ctx) },
		CallEnd:       func(context.Context, dispatch.Report) {},
		MemberStart:   func(ctx context.Context, _ dispatch.MemberInfo) context.Context { return same(ctx) },
		MemberEnd:     func(context.Context, dispatch.MemberInfo, dispatch.Outcome) {},
		Result:        func(context.Context, dispatch.MemberInfo, dispatch.ResultInfo) {},
		ListenerStart: func(ctx context.Context, _ dispatch.ListenerInfo) context.Context { return same(ctx) },
		ListenerEnd:   func(context.Context, dispatch.ListenerInfo, time.Duration, bool) {},
	}
	return []watched{
		{"no-hook", dispatch.Observer{}},
		{"CallStart", dispatch.Observer{CallStart: all.CallStart}},
		{"CallEnd", dispatch.Observer{CallEnd: all.CallEnd}},
		{"MemberStart", dispatch.Observer{MemberStart: all.MemberStart}},
		{"MemberEnd", dispatch.Observer{MemberEnd: all.MemberEnd}},
		{"Result", dispatch.Observer{Result: all.Result}},
		{"ListenerStart", dispatch.Observer{ListenerStart: all.ListenerStart}},
		{"ListenerEnd", dispatch.Observer{ListenerEnd: all.ListenerEnd}},
		{"all", all},
	}
}

// observed compares calls that nobody observes with calls that somebody does, hook by
// hook. A call without an observer is what all other parts measure. Those hooks are
// left out that are called only when something goes wrong.
func (b *bench) observed() error {
	t := newComparisons("unobserved", "observed")
	for _, n := range []int{1, 10, 100} {
		s := setup{work: quick, producers: n, listeners: 1}
		for _, w := range hooks() {
			_, err := b.compare(t, fmt.Sprintf("%v/hook=%s", s, w.name), byDispatch.with(s), func() (side, error) {
				d := dispatch.New[int, int](dispatch.WithObserver(w.observer))
				return newDispatchedOn(d, dispatch.NewTopic[int, int]("benchmark"), s)
			}, bars{none, none})
			if err != nil {
				return err
			}
		}
	}
	t.print(b.out)
	return nil
}
