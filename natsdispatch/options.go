package natsdispatch

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// What holds where no option says something else.
const (
	DefaultPrefix        = "dispatch"
	DefaultSpace         = "default"
	DefaultBeat          = 2 * time.Second
	DefaultAcceptWindow  = time.Second
	DefaultDiscovery     = 250 * time.Millisecond
	DefaultForget        = 5 * time.Minute
	DefaultReconnectWait = 2 * time.Second
	DefaultMaxResult     = 16 << 20 // bytes
	DefaultMaxBudget     = time.Hour
	DefaultMaxRemembered = 1 << 16 // ids of requests
	DefaultMaxNodes      = 20_000
	DefaultMaxMembers    = 100_000 // of one node
	DefaultMaxRequests   = 4096
	DefaultMaxWaiting    = 256 << 20 // bytes of all replies of a node
	DefaultMaxBacklog    = 1 << 30   // bytes of all results of a node that wait for room among them
	DefaultWindow        = 8 << 20   // bytes of one call
	defaultMessages      = 1 << 16
	defaultBytes         = 64 << 20
)

// A ServeOption configures [Serve].
type ServeOption interface{ applyServe(*serveConfig) error }

// A JoinOption configures [Join].
type JoinOption interface{ applyJoin(*joinConfig) error }

// An Option configures either. Where the two sides have to agree, it says so.
type Option interface {
	ServeOption
	JoinOption
}

// common is an Option: a value, and what it does.
type common struct{ set func(*config) error }

func (o common) applyServe(c *serveConfig) error { return o.set(&c.config) }
func (o common) applyJoin(c *joinConfig) error   { return o.set(&c.config) }

type serveOption func(*serveConfig) error

func (o serveOption) applyServe(c *serveConfig) error { return o(c) }

type joinOption func(*joinConfig) error

func (o joinOption) applyJoin(c *joinConfig) error { return o(c) }

func invalid(option, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", dispatch.ErrInvalidOption, option, fmt.Sprintf(format, args...))
}

func positive[N int | time.Duration](option string, n N) error {
	if n <= 0 {
		return invalid(option, "%v is not positive", n)
	}
	return nil
}

// WithSpace keeps those apart who share a server: nodes and askers meet only in the
// same space. It is one token of A–Z a–z 0–9 _ -, and DefaultSpace without this
// option.
func WithSpace(name string) Option {
	return common{func(c *config) error {
		if err := checkTokens(name, false); err != nil {
			return invalid("WithSpace", "%v", err)
		}
		c.space = name
		return nil
	}}
}

// WithPrefix sets what all subjects begin with, the same on both sides: tokens of
// A–Z a–z 0–9 _ - joined by dots, DefaultPrefix without this option.
func WithPrefix(prefix string) Option {
	return common{func(c *config) error {
		if err := checkTokens(prefix, true); err != nil {
			return invalid("WithPrefix", "%v", err)
		}
		c.prefix = prefix
		return nil
	}}
}

// WithCodec sets how values are written: a node reads what is written with any of
// the codecs and answers with the same one, without this option [JSON] and [Gob]; an
// asker writes with the first, without this option JSON.
func WithCodec(codecs ...Codec) Option {
	return common{func(c *config) error {
		if len(codecs) == 0 {
			return invalid("WithCodec", "no codec")
		}
		for i, codec := range codecs {
			if codec == nil {
				return invalid("WithCodec", "nil at index %d", i)
			}
			if err := checkTokens(codec.Name(), false); err != nil {
				return invalid("WithCodec", "name %v", err)
			}
		}
		c.codecs = codecs
		return nil
	}}
}

// WithTypes sets what the types of the topic are known by instead of their
// [Fingerprint]: an asker and a node that have different ones are incompatible. Set
// it to the name of a schema if the types grow in a way that both sides can read, or
// to the empty string, on either side, to have nothing compared.
func WithTypes(fingerprint string) Option {
	return common{func(c *config) error {
		for i := range len(fingerprint) {
			if fingerprint[i] <= ' ' || fingerprint[i] > '~' {
				return invalid("WithTypes", "%q has a %q", fingerprint, fingerprint[i])
			}
		}
		c.types, c.typesSet = fingerprint, true
		return nil
	}}
}

// WithMaxResult bounds the size of one result in bytes, as the codec writes it; a
// member that gives a larger one is Failed with [ErrTooLarge]. The smaller bound of
// node and asker counts. It is DefaultMaxResult without this option. What is larger
// than the server's max_payload is sent in pieces.
func WithMaxResult(bytes int) Option {
	return common{func(c *config) error {
		if bytes > most {
			return invalid("WithMaxResult", "%d is more than %d", bytes, most)
		}
		c.maxResult = bytes
		return positive("WithMaxResult", bytes)
	}}
}

// WithPendingLimits bounds what waits for being dealt with, in messages and bytes;
// what comes beyond that is dropped and counted. Both are as in
// [nats.Subscription.SetPendingLimits], but must be positive. Without this option
// they are 65,536 messages and 64 MiB.
func WithPendingLimits(messages, bytes int) Option {
	return common{func(c *config) error {
		c.messages, c.bytes = messages, bytes
		if err := positive("WithPendingLimits: messages", messages); err != nil {
			return err
		}
		return positive("WithPendingLimits: bytes", bytes)
	}}
}

// WithErrorHandler calls f with the errors that no call reports: permission
// violations, messages that cannot be sent or are dropped. Without this option they are logged; see
// [WithLogger]. It is called concurrently.
func WithErrorHandler(f func(error)) Option {
	return common{func(c *config) error {
		if f == nil {
			return invalid("WithErrorHandler", "nil func")
		}
		c.onError = f
		return nil
	}}
}

// WithLogger sets where events are logged, as [OnNode] describes them: at level Info what is good
// or meant, such as a node that came or left, and at Warn what an operator has to look at. Errors
// that go to no [WithErrorHandler] are logged at level Error. Without this option the logger is that
// of [slog.Default], as it is when something is logged; slog.New(slog.DiscardHandler) is none.
func WithLogger(logger *slog.Logger) Option {
	return common{func(c *config) error {
		if logger == nil {
			return invalid("WithLogger", "nil logger")
		}
		c.logger = logger
		return nil
	}}
}

// OnNode calls f with what happens to nodes and to the connection to NATS: each event once, one at
// a time, in their order, on a goroutine of its own, on which they are logged as well. No
// lock is held, and nothing waits for f, except that Close returns when f has; so f must not
// call it. While f blocks, up to 32,768 events wait; what comes beyond that is counted in
// [RemoteStats] and [NodeStats] as missed.
//
// [Join] tells of the nodes on its topics, and [Serve] only of a twin of its own node; both tell
// of the connection. What the kinds mean stands beside them.
func OnNode(f func(NodeEvent)) Option {
	return common{func(c *config) error {
		if f == nil {
			return invalid("OnNode", "nil func")
		}
		c.onNode = f
		return nil
	}}
}

// WithTraceContext carries the context of a trace over: an asker has inject called
// with the context of the call and sends what that sets, a node has extract called
// and uses the context that it returns for the call. Keys are sent in lower case, and
// got without regard to case; a key that is not there is the empty string. Either may be nil.
func WithTraceContext(
	inject func(ctx context.Context, set func(key, value string)),
	extract func(ctx context.Context, get func(key string) string) context.Context,
) Option {
	return common{func(c *config) error {
		c.inject, c.extract = inject, extract
		return nil
	}}
}

// WithNode names the node in reports. The name is unique in its space: if two processes have
// the same one, that is reported to the error handlers as [dispatch.ErrDuplicate].
// Without this option the name is made of the host's name, the process's number and
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

func checkNodeName(name string) error {
	if name == "" || name == anybody || len(name) > 128 {
		return fmt.Errorf("%.40q; it must have 1 to 128 bytes, and not be *", name)
	}
	return nil
}

// WithBeat sets how often the node says that it is there, from a millisecond to an hour. Who has
// missed three beats takes it for gone. It is DefaultBeat without this option.
func WithBeat(d time.Duration) ServeOption {
	return serveOption(func(c *serveConfig) error {
		if d < time.Millisecond || d > longestBeat {
			return invalid("WithBeat", "%v is not within 1ms and %v", d, longestBeat)
		}
		c.beat = d
		return nil
	})
}

// WithMaxRequests bounds how many requests the node has in hand; what comes beyond
// that is refused, and Rejected with [dispatch.ErrOverloaded]. It is
// DefaultMaxRequests without this option.
func WithMaxRequests(n int) ServeOption {
	return serveOption(func(c *serveConfig) error {
		c.maxRequests = n
		return positive("WithMaxRequests", n)
	})
}

// WithMaxBudget bounds how long the node works on one request, whatever time the asker gives
// it. Members that need longer are late. It is DefaultMaxBudget without this option.
func WithMaxBudget(d time.Duration) ServeOption {
	return serveOption(func(c *serveConfig) error {
		c.maxBudget = d
		return positive("WithMaxBudget", d)
	})
}

// WithMaxRemembered bounds how many ids of requests and cancels the node remembers, so that a
// request that arrives twice is not run twice. Beyond that the oldest are forgotten,
// and counted. It is DefaultMaxRemembered without this option; one takes some 350 bytes.
func WithMaxRemembered(n int) ServeOption {
	return serveOption(func(c *serveConfig) error {
		c.remember = n
		return positive("WithMaxRemembered", n)
	})
}

// WithMaxWaiting bounds how many bytes all replies of the node hold: those that wait to be sent, and
// those that were sent, and of which the asker has not said yet that it has had them. Beyond that the
// oldest of the latter are given up, and counted: if the asker misses something of one of them, its
// members are Failed with [dispatch.ErrLost]. If that is not enough, a member whose result has no
// room is Failed, with an error that says so. It is DefaultMaxWaiting without this option.
func WithMaxWaiting(bytes int) ServeOption {
	return serveOption(func(c *serveConfig) error {
		c.maxWaiting = int64(bytes)
		return positive("WithMaxWaiting", bytes)
	})
}

// WithMaxBacklog bounds how many bytes of results wait on the node, all requests together, because their
// producers are faster than the askers and the network. They wait on the node's bus, once more than
// 8 MiB of a reply cannot be sent. How many bytes they are is estimated by those that were sent, every
// 50 ms. Beyond the bound the members that go on to give results to the largest of these requests are
// Failed with [dispatch.ErrLost]. Their contexts are canceled with [dispatch.ErrOverloaded], and what
// they gave and was not sent is dropped.
// It is DefaultMaxBacklog without this option.
func WithMaxBacklog(bytes int) ServeOption {
	return serveOption(func(c *serveConfig) error {
		c.maxBacklog = int64(bytes)
		return positive("WithMaxBacklog", bytes)
	})
}

// WithSign has the node sign all that it sends; see [WithVerify].
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
// endpoint for each topic. Its requests are those of askers. One is an error if it was refused, or if
// a member has neither answered nor declined; its processing time is that from its arrival to
// the last word of the reply.
func WithMicro(version string) ServeOption {
	return serveOption(func(c *serveConfig) error {
		if !semanticVersion.MatchString(version) {
			return invalid("WithMicro", "%q is no version of the form 1.2.3", version)
		}
		c.micro = version
		return nil
	})
}

// WithAcceptWindow sets how long a node may take to accept a request, within what
// time the call has; who has not by then is Failed with [dispatch.ErrUnreachable].
// It is DefaultAcceptWindow without this option.
func WithAcceptWindow(d time.Duration) JoinOption {
	return joinOption(func(c *joinConfig) error {
		c.window = d
		return positive("WithAcceptWindow", d)
	})
}

// WithDiscovery sets how long the nodes have, after the connection was made, to say that they
// are there. Calls ask at once, but until then do not end because all who are known have
// ended; they wait for at most a quarter of the time that they have. It is
// DefaultDiscovery without this option.
func WithDiscovery(d time.Duration) JoinOption {
	return joinOption(func(c *joinConfig) error {
		c.discovery = d
		return positive("WithDiscovery", d)
	})
}

// WithNodes says that nodes of these names are expected to answer every call, whether they were ever
// heard of or not: who is not there is Failed with [dispatch.ErrUnreachable], as "name/*".
// They are expected on each topic of the Join. The option may be given more than once.
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

// WithForget sets for how long a node is remembered that was there and is not heard of any more.
// Until then it is expected, and in every call it is Gone at once, as "name/*". A node
// that says bye, as [Node.Drain] and [Node.Close] have it do, is forgotten at once. It is
// DefaultForget without this option.
func WithForget(d time.Duration) JoinOption {
	return joinOption(func(c *joinConfig) error {
		c.forget = d
		return positive("WithForget", d)
	})
}

// WithReconnectWait sets how long a call waits for a connection if there is none when it
// begins, which is never more than half of the time that it has. Then all nodes that are
// known are Failed with [dispatch.ErrUnreachable]. It is DefaultReconnectWait without this
// option; 0 stands for not at all.
func WithReconnectWait(d time.Duration) JoinOption {
	return joinOption(func(c *joinConfig) error {
		if d < 0 {
			return invalid("WithReconnectWait", "%v is negative", d)
		}
		c.reconnect = d
		return nil
	})
}

// WithResend sends a request to a group up to n times more, spread over the accept
// window, as long as no replica accepts it. It may then run more than once, so it is
// for producers to which that makes no difference.
func WithResend(n int) JoinOption {
	return joinOption(func(c *joinConfig) error {
		c.resend = n
		return positive("WithResend", n)
	})
}

// WithMaxHops lets a request that has come over NATS go on over NATS, on the same
// topic, until it has made n hops. Without this option n is 1: who asks a node asks
// its own producers, and not those of nodes that it has joined. A request never
// comes to the same bus twice.
func WithMaxHops(n int) JoinOption {
	return joinOption(func(c *joinConfig) error {
		c.maxHops = n
		return positive("WithMaxHops", n)
	})
}

// WithMaxNodes bounds how many nodes are known, one for each of their topics. The
// announcements of others are counted and ignored, and the first of them is named to the
// error handler. It is DefaultMaxNodes without this option.
func WithMaxNodes(n int) JoinOption {
	return joinOption(func(c *joinConfig) error {
		c.maxNodes = n
		return positive("WithMaxNodes", n)
	})
}

// WithMaxMembers bounds how many members of one node take part in a call. If there are more, "node/*"
// is Failed with [ErrTooLarge] for all that are beyond that. It is DefaultMaxMembers without
// this option.
func WithMaxMembers(n int) JoinOption {
	return joinOption(func(c *joinConfig) error {
		c.maxMembers = n
		return positive("WithMaxMembers", n)
	})
}

// WithWindow sets how many bytes all nodes together may send in a call before it has taken them
// in, shared equally, so that neither the asker nor the server that it is connected to has
// to hold more. A node gets a share of at least 16 KiB. It is DefaultWindow without this option.
func WithWindow(bytes int) JoinOption {
	return joinOption(func(c *joinConfig) error {
		if bytes > most {
			return invalid("WithWindow", "%d is more than %d", bytes, most)
		}
		c.credit = bytes
		return positive("WithWindow", bytes)
	})
}

// WithVerify believes only what verify does: the announcements and replies of nodes
// for which it returns nil. What others send is counted and ignored.
func WithVerify(verify Verify) JoinOption {
	return joinOption(func(c *joinConfig) error {
		if verify == nil {
			return invalid("WithVerify", "nil func")
		}
		c.verify = verify
		return nil
	})
}

// Robust is an option for nats.Connect that sets what both sides want of a connection:
//
//   - It reconnects for ever, also if there is no server at first, every 250 ms with a jitter
//     of 100 ms (1 s with TLS).
//   - It buffers nothing meanwhile, so that no request is sent after its call has ended.
//   - A ping every 5 s finds out within 15 s that a connection is dead that was not closed.
//   - Its name, in what the server says of its clients, is that of the program, unless it has
//     one.
//
// What comes behind it counts:
//
//	nc, err := nats.Connect(url, natsdispatch.Robust, nats.PingInterval(time.Second))
func Robust(o *nats.Options) error {
	o.AllowReconnect = true
	o.MaxReconnect = -1
	o.ReconnectBufSize = -1
	o.RetryOnFailedConnect = true
	o.ReconnectWait = 250 * time.Millisecond
	o.ReconnectJitter, o.ReconnectJitterTLS = 100*time.Millisecond, time.Second
	o.PingInterval, o.MaxPingsOut = 5*time.Second, 2
	if o.Name == "" {
		o.Name = filepath.Base(os.Args[0])
	}
	return nil
}
