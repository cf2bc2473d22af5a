package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

const connectionUsage = `
Connection, as for the nats command:
  -s, --server URL         servers, separated by commas            NATS_URL
      --context NAME       a context of the nats command           NATS_CONTEXT
      --no-context         ignore the context that is selected
      --user USER          user name, or token without a password  NATS_USER
      --password PASSWORD                                          NATS_PASSWORD
      --creds FILE         credentials                             NATS_CREDS
      --nkey FILE          seed of an nkey                         NATS_NKEY
      --tlscert FILE       certificate of the client               NATS_CERT
      --tlskey FILE        its key                                 NATS_KEY
      --tlsca FILE         certificate authorities                 NATS_CA
      --tlsfirst           TLS before the server's greeting
      --inbox-prefix NAME  what reply subjects begin with

Flags win over the environment, and both over the context.

Where the nodes are:
      --space NAME         natsdispatch.WithSpace                  default
      --prefix SUBJECT     natsdispatch.WithPrefix                 dispatch
`

// connection is what the flags give about the server, and about the space of the nodes.
type connection struct {
	server, context            string
	user, password             string
	creds, nkey                string
	tlsCert, tlsKey, tlsCA     string
	inboxPrefix, space, prefix string
	tlsFirst, noContext        bool
	flags                      *flag.FlagSet
}

// addTo adds the flags to a set. Environment variables are the defaults of the flags.
func (c *connection) addTo(set *flag.FlagSet, getenv func(string) string) {
	c.flags = set
	set.StringVar(&c.server, "s", getenv("NATS_URL"), "")
	for _, f := range []struct {
		to        *string
		name, env string
	}{
		{&c.server, "server", "NATS_URL"},
		{&c.context, "context", "NATS_CONTEXT"},
		{&c.user, "user", "NATS_USER"},
		{&c.password, "password", "NATS_PASSWORD"},
		{&c.creds, "creds", "NATS_CREDS"},
		{&c.nkey, "nkey", "NATS_NKEY"},
		{&c.tlsCert, "tlscert", "NATS_CERT"},
		{&c.tlsKey, "tlskey", "NATS_KEY"},
		{&c.tlsCA, "tlsca", "NATS_CA"},
	} {
		set.StringVar(f.to, f.name, getenv(f.env), "")
	}
	set.StringVar(&c.inboxPrefix, "inbox-prefix", "", "")
	set.BoolVar(&c.tlsFirst, "tlsfirst", false, "")
	set.BoolVar(&c.noContext, "no-context", false, "")
	set.StringVar(&c.space, "space", natsdispatch.DefaultSpace, "")
	set.StringVar(&c.prefix, "prefix", natsdispatch.DefaultPrefix, "")
}

// checkNames returns an error if space or prefix cannot be part of a subject.
func (c *connection) checkNames() error {
	if !isTokens(c.space, longestSpace) || strings.Contains(c.space, ".") {
		return misused("--space %.300q: it is one token of A–Z a–z 0–9 _ -, of at most %d bytes", c.space, longestSpace)
	}
	if !isTokens(c.prefix, longestPrefix) {
		return misused("--prefix %.300q: it is made of tokens of A–Z a–z 0–9 _ -, and has at most %d bytes", c.prefix, longestPrefix)
	}
	return nil
}

// The bounds of names, in bytes. A server closes the connection of a program that sends a subject that is too long.
const (
	longestPrefix = 256
	longestSpace  = 128
	longestTopic  = 255
)

// isTokens reports whether s consists of tokens that are joined by dots, and has at most longest bytes.
func isTokens(s string, longest int) bool {
	for token := range strings.SplitSeq(s, ".") {
		if token == "" || escape(token) != token {
			return false
		}
	}
	return len(s) <= longest
}

// given returns the values of the flags that the arguments have set, by their names.
func (c *connection) given() map[string]string {
	given := make(map[string]string)
	c.flags.Visit(func(f *flag.Flag) { given[f.Name] = f.Value.String() })
	return given
}

// credentials returns the user, password, credentials file and nkey of the flags or the environment. They are
// not mixed: if a flag gives one of them, the environment gives at most the password of the user.
func (c *connection) credentials() (user, password, creds, nkey string) {
	given := c.given()
	user, creds, nkey = given["user"], given["creds"], given["nkey"]
	if user == "" && creds == "" && nkey == "" {
		user, creds, nkey = c.user, c.creds, c.nkey
	}
	return user, c.password, creds, nkey
}

// settings returns the settings of the context, changed by the flags and the environment.
func (c *connection) settings(getenv func(string) string) (settings, error) {
	var s settings
	if !c.noContext {
		var err error
		if s, err = readContext(c.context, getenv); err != nil {
			return s, err
		}
	}
	switch user, password, creds, nkey := c.credentials(); {
	case user != "" || creds != "" || nkey != "":
		// A user, credentials file or nkey of the flags or the environment replaces all credentials of the context.
		s.User, s.Password, s.Token, s.Creds, s.NKey, s.UserJWT, s.UserSeed = user, password, "", creds, nkey, "", ""
		if password == "" {
			s.User, s.Token = "", user
		}
	case password != "":
		s.Password = password // of the user of the context, if it has one
	}
	for _, f := range []struct {
		to   *string
		flag string
	}{
		{&s.URL, c.server},
		{&s.Cert, c.tlsCert},
		{&s.Key, c.tlsKey},
		{&s.CA, c.tlsCA},
		{&s.InboxPrefix, c.inboxPrefix},
	} {
		if f.flag != "" {
			*f.to = f.flag
		}
	}
	if c.given()["tlsfirst"] != "" {
		s.TLSFirst = c.tlsFirst
	}
	if s.URL == "" {
		s.URL = nats.DefaultURL
	}
	return s, nil
}

// errUnavailable is wrapped by the cause of a context that ends because the server is of no more use: it
// refuses something, or the connection is closed.
var errUnavailable = errors.New("unavailable")

// unavailable returns the cause of a context that has ended, if the server is of no more use, and otherwise
// nil: the command was interrupted.
func unavailable(ctx context.Context) error {
	if cause := context.Cause(ctx); errors.Is(cause, errUnavailable) {
		return cause
	}
	return nil
}

// connect connects to the server, and returns an error if this fails. If the connection breaks later, nats.go
// reconnects. If this cannot succeed, or if the server refuses something, connect calls end, unless end is
// nil.
func (p *program) connect(ctx context.Context, c *connection, end context.CancelCauseFunc) (*nats.Conn, error) {
	if end == nil {
		end = func(err error) { p.complain(err) }
	}
	if err := c.checkNames(); err != nil {
		return nil, err
	}
	s, err := c.settings(p.getenv)
	if err != nil {
		return nil, err
	}
	opts, err := s.options()
	if err != nil {
		return nil, err
	}
	opts = append([]nats.Option{
		natsdispatch.Robust, nats.RetryOnFailedConnect(false), nats.Timeout(5 * time.Second), nats.Name("dispatch command"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				end(fmt.Errorf("%w: the server refuses: %w", errUnavailable, err))
				return
			}
			p.complain(err)
		}),
		nats.ClosedHandler(func(nc *nats.Conn) {
			if err := nc.LastError(); err != nil { // otherwise the command has closed the connection
				end(fmt.Errorf("%w: the connection to the server is closed: %w", errUnavailable, err))
			}
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				p.complain(fmt.Errorf("the connection to the server broke: %w", err))
			}
		}),
	}, opts...)
	nc, err := whileWanted(ctx, func() (*nats.Conn, error) { return nats.Connect(s.URL, opts...) })
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", redacted(s.URL), err)
	}
	if !nc.HeadersSupported() {
		nc.Close()
		return nil, fmt.Errorf("the server %s does not support headers; it must be 2.2 or later", nc.ConnectedServerVersion())
	}
	return nc, nil
}

// complain prints an error to stderr, apart from the result of the command.
func (p *program) complain(err error) {
	if !errors.Is(err, nats.ErrConnectionClosed) {
		fmt.Fprintf(p.stderr, "dispatch: %s\n", printable(err.Error()))
	}
}
