package natsdispatch

import (
	"slices"
	"time"
)

// WithAcceptWindow sets how long a node may take to accept a request, within the
// time of the call; a node that has not accepted by then is Failed with [dispatch.ErrUnreachable].
// It is DefaultAcceptWindow without this option.
func WithAcceptWindow(d time.Duration) JoinOption {
	return joinOption(func(c *joinConfig) error {
		c.window = d
		return positive("WithAcceptWindow", d)
	})
}

// WithDiscovery sets how long nodes may take to announce themselves after the connection was made.
// Calls ask at once. Within this time a call does not end just because all known members have
// ended, but it waits at most a quarter of its own time, and not if the server says that no node has
// subscribed. Without this option the time is
// DefaultDiscovery.
func WithDiscovery(d time.Duration) JoinOption {
	return joinOption(func(c *joinConfig) error {
		c.discovery = d
		return positive("WithDiscovery", d)
	})
}

// WithNodes names nodes that each call expects, even if they have never announced
// themselves: a node that is missing or draining is Failed with [dispatch.ErrUnreachable], as "name/*".
// Each topic of the Join expects them. The option may be given more than once.
func WithNodes(names ...string) JoinOption {
	return joinOption(func(c *joinConfig) error {
		for _, name := range names {
			if err := checkNodeName(name); err != nil {
				return invalid("WithNodes", "%v", err)
			}
		}
		c.expected = slices.Compact(slices.Sorted(slices.Values(append(c.expected, names...))))
		return nil
	})
}

// WithForget sets how long the asker remembers a node that has fallen silent, from the time when it was last
// heard. Until then each call expects the node, and reports it as Gone at once, as "name/*". If this time is
// shorter than three beats of the node, the asker forgets the node as soon as it is silent. A node
// that says bye, as [Node.Drain] and [Node.Close] do, is forgotten at once. Without
// this option the time is DefaultForget.
func WithForget(d time.Duration) JoinOption {
	return joinOption(func(c *joinConfig) error {
		c.forget = d
		return positive("WithForget", d)
	})
}

// WithReconnectWait sets how long a call waits for a connection if there is no connection when the call
// begins, at most half of the time of the call. After that all known nodes
// are Failed with [dispatch.ErrUnreachable]. It is DefaultReconnectWait without this
// option; with 0 a call does not wait.
func WithReconnectWait(d time.Duration) JoinOption {
	return joinOption(func(c *joinConfig) error {
		if d < 0 {
			return invalid("WithReconnectWait", "%v is negative", d)
		}
		c.reconnect = d
		return nil
	})
}

// WithResend repeats a request to a group up to n times, spread over the accept
// window but not more often than every millisecond, as long as no replica accepts it. The request may then run more than once, so use this option
// only for producers for which this makes no difference.
func WithResend(n int) JoinOption {
	return joinOption(func(c *joinConfig) error {
		c.resend = n
		return positive("WithResend", n)
	})
}

// WithMaxHops lets a node forward a request that has arrived over NATS to further nodes, on the same
// topic, until the request has made n hops. Without this option n is 1: a request to a node asks only
// the node's own producers, and not the nodes that it has joined. A request never
// visits the same bus twice.
func WithMaxHops(n int) JoinOption {
	return joinOption(func(c *joinConfig) error {
		c.maxHops = n
		return positive("WithMaxHops", n)
	})
}

// WithMaxNodes bounds how many nodes the asker knows, counted once for each of their topics.
// Announcements of further nodes are counted and ignored, and the error handler is called for the
// first. At most twice as many nodes answer one request. It is DefaultMaxNodes without this option.
func WithMaxNodes(n int) JoinOption {
	return joinOption(func(c *joinConfig) error {
		c.maxNodes = n
		return positive("WithMaxNodes", n)
	})
}

// WithMaxMembers bounds how many members of one node take part in a call. If the node has more, "node/*"
// is Failed with [ErrTooLarge] for all further members. It is DefaultMaxMembers without
// this option.
func WithMaxMembers(n int) JoinOption {
	return joinOption(func(c *joinConfig) error {
		c.maxMembers = n
		return positive("WithMaxMembers", n)
	})
}

// WithWindow sets how many bytes with results all nodes of a call together may send before the asker
// acknowledges them. Neither the asker nor its server has to hold more unread bytes of a call. The nodes that the
// call expects have equal shares. A share has at least 16 KiB, so very many nodes may send more in all. A node
// that answers but was not expected has another share, beyond the window. It is DefaultWindow without this option.
func WithWindow(bytes int) JoinOption {
	return joinOption(func(c *joinConfig) error {
		if bytes > most {
			return invalid("WithWindow", "%d is more than %d", bytes, most)
		}
		c.credit = bytes
		return positive("WithWindow", bytes)
	})
}

// WithVerify makes the asker ignore and count all announcements, beats and replies for which verify
// returns an error.
func WithVerify(verify Verify) JoinOption {
	return joinOption(func(c *joinConfig) error {
		if verify == nil {
			return invalid("WithVerify", "nil func")
		}
		c.verify = verify
		return nil
	})
}
