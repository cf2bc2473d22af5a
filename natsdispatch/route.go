package natsdispatch

import (
	"context"
	"fmt"
	"slices"

	"github.com/seed-bb4b4d74/dispatch"
)

// route says how a request has come to this process. It is in the context of the call that a node makes for
// the request.
type route struct {
	topic   string
	hops    int      // how many requests have led to this one, this one included
	path    []string // the ids of the buses through which the request has come on this topic
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

// mostHops bounds how many requests can lead to one another, like the bound for calls within one process.
const mostHops = 64

// onward returns the route of a request that the bus sends with this context. If a producer sends a request on
// another topic, this request has a new path, because it may go back to the bus from which the first one came.
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
