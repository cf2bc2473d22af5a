package natsdispatch

import (
	"context"
	"fmt"
	"slices"

	"github.com/seed-bb4b4d74/dispatch"
)

// route is how a request has come here: the context of a call that a node makes
// has it.
type route struct {
	topic   string
	hops    int
	path    []string // of buses, on this topic
	targets []string // the members that are asked on this topic; nil: all
}

type routeKey struct{}

// routed is a context with a route.
type routed struct {
	context.Context
	route
}

func (r *routed) Value(key any) any {
	if key == (routeKey{}) {
		return &r.route
	}
	return r.Context.Value(key)
}

func withRoute(ctx context.Context, r route) context.Context { return &routed{ctx, r} }

// mostHops bounds how many requests can lead to one another, as calls within one
// process are bounded.
const mostHops = 64

// onward returns how a request goes on from the bus. A request on another topic that
// a producer sends has a path of its own, for it may well go back to where the first
// one came from.
func onward(ctx context.Context, topic, bus string, targets []string) (route, error) {
	var r route
	if come, ok := ctx.Value(routeKey{}).(*route); ok {
		r = *come
	}
	if r.topic != topic {
		r.topic, r.path, r.targets = topic, nil, targets
	}
	if r.hops++; r.hops > mostHops {
		return r, fmt.Errorf("%w: %d requests have led to this one", dispatch.ErrTooDeep, mostHops)
	}
	r.path = append(slices.Clip(r.path), bus)
	return r, nil
}
