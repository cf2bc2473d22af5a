package natsdispatch

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// The values without options.
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
	DefaultMaxBacklog    = 1 << 30   // bytes of all results of a node that wait because replies cannot be sent
	DefaultWindow        = 8 << 20   // bytes of one call
	defaultMessages      = 1 << 16
	defaultBytes         = 64 << 20
)

// A ServeOption configures [Serve].
type ServeOption interface{ applyServe(*serveConfig) error }

// A JoinOption configures [Join].
type JoinOption interface{ applyJoin(*joinConfig) error }

// An Option configures [Serve] or [Join]. The documentation of each Option says whether the two sides must agree.
type Option interface {
	ServeOption
	JoinOption
}

// common is an Option that sets a field of config.
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

// WithSpace separates nodes and askers on one server: they meet only in the
// same space. The name is one token of A–Z a–z 0–9 _ -, of at most 128 bytes. Without this
// option it is DefaultSpace.
func WithSpace(name string) Option {
	return common{func(c *config) error {
		if err := checkTokens(name, false, longestSpace); err != nil {
			return invalid("WithSpace", "%v", err)
		}
		c.space = name
		return nil
	}}
}

// WithPrefix sets the beginning of all subjects, the same on both sides: tokens of
// A–Z a–z 0–9 _ - joined by dots, at most 256 bytes. Without this option it is DefaultPrefix.
func WithPrefix(prefix string) Option {
	return common{func(c *config) error {
		if err := checkTokens(prefix, true, longestPrefix); err != nil {
			return invalid("WithPrefix", "%v", err)
		}
		c.prefix = prefix
		return nil
	}}
}

// WithCodec sets the encoding of values. A node reads requests in any of the codecs and answers in the
// codec of the request. Without this option a node has [JSON] and [Gob], if they can write the types. An
// asker uses the first codec, and JSON without this option.
func WithCodec(codecs ...Codec) Option {
	return common{func(c *config) error {
		if len(codecs) == 0 {
			return invalid("WithCodec", "no codec")
		}
		all := slices.Clone(codecs)
		for i, codec := range all {
			if codec == nil {
				return invalid("WithCodec", "nil at index %d", i)
			}
			name := codec.Name()
			if err := checkTokens(name, false, longestSpace); err != nil {
				return invalid("WithCodec", "name %v", err)
			}
			switch codec.(type) {
			case JSON, *JSON, Gob, *Gob:
			default:
				all[i] = named{codec, name}
			}
		}
		c.codecs = all
		return nil
	}}
}

// WithTypes replaces the [Fingerprint] by which the two sides compare their types: an asker and a node
// with different fingerprints are incompatible. Set it to the name of a schema if the types change in
// a way that both sides can read. The empty string, on either side, turns the comparison off.
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

// WithMaxResult bounds the size of one encoded result in bytes; a
// member with a larger result is Failed with [ErrTooLarge]. The smaller bound of
// node and asker counts. It is DefaultMaxResult without this option. A result that is larger
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

// WithPendingLimits bounds the received messages that wait to be read, in messages and bytes; further
// messages are dropped and counted. Both limits are as in nats.Subscription.SetPendingLimits, but must be
// positive. A message that alone is larger than bytes is always dropped. Nodes send a large result in
// messages of at most half of the asker's bytes, but may send messages of 1 KiB, and nodes of version 1 of
// the protocol know no such limit. Without this option the limits are 65,536 messages and 64 MiB.
func WithPendingLimits(messages, bytes int) Option {
	return common{func(c *config) error {
		c.messages, c.bytes = messages, bytes
		if err := positive("WithPendingLimits: messages", messages); err != nil {
			return err
		}
		return positive("WithPendingLimits: bytes", bytes)
	}}
}

// WithErrorHandler calls f with the errors that no call reports, such as permission
// violations and messages that are dropped or cannot be sent. Without this option they are logged; see
// [WithLogger]. f is called concurrently. Close waits for f, so f must not call Close or Drain.
func WithErrorHandler(f func(error)) Option {
	return common{func(c *config) error {
		if f == nil {
			return invalid("WithErrorHandler", "nil func")
		}
		c.onError = f
		return nil
	}}
}

// WithLogger sets the logger for the events that [OnNode] describes: normal events, such as a node that
// came or left, at level Info, and events that need an operator at level Warn. Errors
// without a [WithErrorHandler] are logged at level Error. Without this option the logger is
// [slog.Default], read at each record. slog.New(slog.DiscardHandler) logs nothing.
func WithLogger(logger *slog.Logger) Option {
	return common{func(c *config) error {
		if logger == nil {
			return invalid("WithLogger", "nil logger")
		}
		c.logger = logger
		return nil
	}}
}

// OnNode calls f with the events of nodes and of the connection to NATS: each event once, one at
// a time, in order, on a separate goroutine, which also logs them. No
// lock is held during f, and only Close waits for f, so f must not
// call Close or Drain. While f blocks, up to 32,768 events wait; further events are dropped and counted as Missed in
// [RemoteStats] and [NodeStats].
//
// [Join] reports events of the nodes on its topics, and [Serve] only a twin of its own node; both report
// events of the connection. [NodeEventKind] documents the kinds.
func OnNode(f func(NodeEvent)) Option {
	return common{func(c *config) error {
		if f == nil {
			return invalid("OnNode", "nil func")
		}
		c.onNode = f
		return nil
	}}
}

// WithTraceContext sends the context of a trace with requests: an asker calls inject
// with the context of the call and sends the keys that inject sets; a node calls extract
// and uses the context that it returns for the call. Keys are sent in lower case, and
// get ignores case; get returns the empty string for a missing key. If extract returns nil, the call has the
// context that extract was given. Either function may be nil.
func WithTraceContext(
	inject func(ctx context.Context, set func(key, value string)),
	extract func(ctx context.Context, get func(key string) string) context.Context,
) Option {
	return common{func(c *config) error {
		c.inject, c.extract = inject, extract
		return nil
	}}
}
