package natsdispatch

import "time"

// WithNode sets the node's name in reports. The name has 1 to 128 bytes of UTF-8, and must be unique in its
// space: if two processes serve a topic under the same name, the error handlers of both and of their askers receive
// [dispatch.ErrDuplicate]. Two processes of the same name that serve different topics are not noticed.
// Without this option the name consists of the host name, the process number and
// four random characters.
func WithNode(name string) ServeOption {
	return serveOption(func(c *serveConfig) error {
		if err := checkNodeName(name); err != nil {
			return invalid("WithNode", "%v", err)
		}
		c.node = name
		return nil
	})
}

// WithBeat sets the interval of the node's beats, from a millisecond to an hour. After three missed
// beats an asker considers the node gone. It is DefaultBeat without this option.
func WithBeat(d time.Duration) ServeOption {
	return serveOption(func(c *serveConfig) error {
		if d < time.Millisecond || d > longestBeat {
			return invalid("WithBeat", "%v is not within 1ms and %v", d, longestBeat)
		}
		c.beat = d
		return nil
	})
}

// WithMaxRequests bounds how many requests the node processes at a time; it refuses further requests,
// which are Rejected with [dispatch.ErrOverloaded]. It is
// DefaultMaxRequests without this option.
func WithMaxRequests(n int) ServeOption {
	return serveOption(func(c *serveConfig) error {
		c.maxRequests = n
		return positive("WithMaxRequests", n)
	})
}

// WithMaxBudget bounds how long the node works on one request, even if the call has more
// time. Members that need longer are Late. Results that were given in time are sent as long as the asker takes
// them in: the node waits for it as long again. It is DefaultMaxBudget without this option.
func WithMaxBudget(d time.Duration) ServeOption {
	return serveOption(func(c *serveConfig) error {
		c.maxBudget = d
		return positive("WithMaxBudget", d)
	})
}

// WithMaxRemembered bounds how many ids of requests and cancels the node remembers, so that a
// request that arrives twice does not run twice. Beyond the bound the node forgets the ids whose time
// ends first, and counts them. Without this option the bound is DefaultMaxRemembered. An id takes less than 100 bytes.
func WithMaxRemembered(n int) ServeOption {
	return serveOption(func(c *serveConfig) error {
		c.remember = n
		return positive("WithMaxRemembered", n)
	})
}

// WithMaxWaiting bounds how many bytes all replies of the node hold: replies that wait to be sent, and
// replies that were sent and that the asker has not acknowledged. Beyond the bound the node gives up the
// oldest sent replies and counts them; if the asker then misses a part of such a reply, its
// members are Failed with [dispatch.ErrLost]. If this does not free enough memory, a member whose result has no
// room is Failed, and its error names this option. It is DefaultMaxWaiting without this option.
func WithMaxWaiting(bytes int) ServeOption {
	return serveOption(func(c *serveConfig) error {
		c.maxWaiting = int64(bytes)
		return positive("WithMaxWaiting", bytes)
	})
}

// WithMaxBacklog bounds how many bytes of results of all requests wait on the node because
// producers are faster than the askers and the network. Results wait on the node's bus when more than
// 8 MiB of a reply cannot be sent. Every 50 ms the node estimates their size from the results that
// it has sent. Beyond the bound it stops the unfinished members of a large request: they are
// Failed with [dispatch.ErrLost], their contexts are canceled with [dispatch.ErrOverloaded], and their
// results that were not sent are dropped. It is DefaultMaxBacklog without this option.
func WithMaxBacklog(bytes int) ServeOption {
	return serveOption(func(c *serveConfig) error {
		c.maxBacklog = int64(bytes)
		return positive("WithMaxBacklog", bytes)
	})
}

// WithSign makes the node sign all its messages; see [WithVerify].
func WithSign(sign Sign) ServeOption {
	return serveOption(func(c *serveConfig) error {
		if sign == nil {
			return invalid("WithSign", "nil func")
		}
		c.sign = sign
		return nil
	})
}

// WithMicro shows the node to the tools of NATS, such as nats micro ls, info and
// stats, as a service called "dispatch" of this version, which has the form 1.2.3, with one
// endpoint for each topic. The service counts the requests of askers. A request counts as an error if it was
// refused, or if a member has neither answered nor declined and the asker has not canceled it. The processing time of a request lasts from
// its arrival to the last message of the reply.
func WithMicro(version string) ServeOption {
	return serveOption(func(c *serveConfig) error {
		if !semanticVersion.MatchString(version) {
			return invalid("WithMicro", "%q is no version of the form 1.2.3", version)
		}
		c.micro = version
		return nil
	})
}
