package natsdispatch

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nuid"

	"github.com/seed-bb4b4d74/dispatch"
)

// config holds the options that Serve and Join have in common.
type config struct {
	subjects
	codecs    []Codec
	types     string
	typesSet  bool
	maxResult int          // bytes of one encoded result
	messages  int          // received messages that may wait
	bytes     int          // bytes of received messages that may wait
	onError   func(error)  // nil: errors are logged
	logger    *slog.Logger // nil: slog.Default(), read at each record
	onNode    func(NodeEvent)
	inject    func(ctx context.Context, set func(key, value string))
	extract   func(ctx context.Context, get func(key string) string) context.Context
}

type serveConfig struct {
	config
	node        string
	beat        time.Duration
	maxRequests int
	maxBudget   time.Duration
	remember    int   // ids of requests and cancels
	maxWaiting  int64 // bytes of replies
	maxBacklog  int64 // bytes of results
	sign        Sign
	micro       string
	publish     bool
}

type joinConfig struct {
	config
	window     time.Duration // how long a node may take to accept a request
	discovery  time.Duration
	forget     time.Duration
	reconnect  time.Duration // how long a call waits for a connection
	expected   []string      // the nodes of WithNodes, sorted
	resend     int
	maxHops    int
	maxNodes   int
	maxMembers int // members of one node in a call
	credit     int // bytes that all nodes of a call together may send before the asker acknowledges them
	verify     Verify
}

func defaults() config {
	return config{
		subjects:  subjects{DefaultPrefix, DefaultSpace},
		maxResult: DefaultMaxResult, messages: defaultMessages, bytes: defaultBytes,
	}
}

func newServeConfig(opts []ServeOption) (serveConfig, error) {
	c := serveConfig{config: defaults(), beat: DefaultBeat, maxRequests: DefaultMaxRequests, maxBudget: DefaultMaxBudget, remember: DefaultMaxRemembered, maxWaiting: DefaultMaxWaiting, maxBacklog: DefaultMaxBacklog}
	for i, o := range opts {
		if o == nil {
			return c, fmt.Errorf("%w: nil ServeOption at index %d", dispatch.ErrInvalidOption, i)
		}
		if err := o.applyServe(&c); err != nil {
			return c, err
		}
	}
	if c.node == "" {
		host, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("%w: WithNode is missing, and the host has no name: %w", dispatch.ErrInvalidOption, err)
		}
		c.node = fmt.Sprintf("%s-%d-%s", host, os.Getpid(), strings.ToLower(nuid.Next()[18:]))
	}
	return c, nil
}

func newJoinConfig(opts []JoinOption) (joinConfig, error) {
	c := joinConfig{
		config: defaults(), window: DefaultAcceptWindow, discovery: DefaultDiscovery, forget: DefaultForget, reconnect: DefaultReconnectWait, maxHops: 1,
		maxNodes: DefaultMaxNodes, maxMembers: DefaultMaxMembers, credit: DefaultWindow,
	}
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
