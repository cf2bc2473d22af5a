package dispatch

import (
	"context"
	"time"
)

// The context of the replica that is asked first ends when the group is answered
// by another one, which the call's own context does not. Such a context is that
// of a member of the nested call, so there has to be one as soon as somebody wants
// to know of the end. Most producers never do.

// Deadline returns the end of the call, less the grace.
func (g *groupMember) Deadline() (time.Time, bool) { return g.of.Deadline() }

// Done returns a channel that is closed when the call ends, its grace begins, or
// another replica has answered.
func (g *groupMember) Done() <-chan struct{} { return g.context().Done() }

// Err returns nil until then.
func (g *groupMember) Err() error {
	if inner := g.inner.Load(); inner != nil {
		return inner.members[0].Err()
	}
	if c := g.of.call; c.over.Load() || c.graced.Load() {
		return g.context().Err()
	}
	return nil
}

// Value returns the sender's value for the key.
func (g *groupMember) Value(key any) any {
	if key == (callKey{}) {
		return g
	}
	return g.context().Value(key)
}

// context returns that of the nested call. Where there is none because the call
// has ended, or this replica has answered, the call's own serves as well.
func (g *groupMember) context() context.Context {
	inner := g.inner.Load()
	if inner == nil {
		inner = g.of.call.typed.nest(g)
	}
	if inner == nil {
		return g.of.call.context()
	}
	return inner.context()
}

func (g *groupMember) nesting() int32       { return g.of.call.depth + 1 }
func (g *groupMember) sentOn(b *Bus) CallID { return g.of.call.sentOn(b) }

func (g *groupMember) callInfo() CallInfo {
	info := g.of.call.info()
	info.Member = g.first.member()
	return info
}
