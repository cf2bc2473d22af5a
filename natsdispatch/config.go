package natsdispatch

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// config is what both sides have.
type config struct {
	subjects
	codecs    []Codec
	types     string
	typesSet  bool
	maxResult int
	messages  int
	bytes     int
	onError   func(error)
	inject    func(ctx context.Context, set func(key, value string))
	extract   func(ctx context.Context, get func(key string) string) context.Context
}

type serveConfig struct {
	config
	node        string
	beat        time.Duration
	maxRequests int
	sign        Sign
	micro       string
	publish     bool
}

type joinConfig struct {
	config
	window    time.Duration
	discovery time.Duration
	resend    int
	maxHops   int
	verify    Verify
}

func defaults() config {
	return config{
		subjects:  subjects{DefaultPrefix, DefaultSpace},
		maxResult: DefaultMaxResult, messages: defaultMessages, bytes: defaultBytes,
		onError: func(err error) { slog.Default().Error("natsdispatch", "error", err) },
	}
}

func newServeConfig(opts []ServeOption) (serveConfig, error) {
	c := serveConfig{config: defaults(), beat: DefaultBeat, maxRequests: DefaultMaxRequests}
	for i, o := range opts {
		if o == nil {
			return c, fmt.Errorf("%w: nil ServeOption at index %d", dispatch.ErrInvalidOption, i)
		}
		if err := o.applyServe(&c); err != nil {
			return c, err
		}
	}
	if c.codecs == nil {
		c.codecs = []Codec{JSON{}, Gob{}}
	}
	if c.node == "" {
		host, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("%w: WithNode is missing, and the host has no name: %w", dispatch.ErrInvalidOption, err)
		}
		c.node = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	return c, nil
}

func newJoinConfig(opts []JoinOption) (joinConfig, error) {
	c := joinConfig{config: defaults(), window: DefaultAcceptWindow, discovery: DefaultDiscovery, maxHops: 1}
	for i, o := range opts {
		if o == nil {
			return c, fmt.Errorf("%w: nil JoinOption at index %d", dispatch.ErrInvalidOption, i)
		}
		if err := o.applyJoin(&c); err != nil {
			return c, err
		}
	}
	if c.codecs == nil {
		c.codecs = []Codec{JSON{}}
	}
	return c, nil
}
