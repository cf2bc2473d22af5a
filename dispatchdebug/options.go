package dispatchdebug

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"
)

// An Option is given to [New]: [WithAuth], [WithToken], [WithRetention], [WithListenerTimes] or
// [WithSummarize]. If an option is given more than once, the last one wins.
type Option interface{ apply(*config) error }

// ErrInvalidOption is wrapped by the error with which [New] panics if an option has an invalid
// value.
var ErrInvalidOption = errors.New("dispatchdebug: invalid option")

type config struct {
	auth      func(*http.Request) (view, sensitive bool)
	calls     int // kept in each bucket of a topic
	bytes     int // for all calls and figures
	summarize func(any) string
	callbacks bool
	token     string
}

// The defaults of WithRetention, and its least number of bytes.
const (
	defaultCalls = 10
	defaultBytes = 16 << 20
	leastBytes   = 1 << 20
)

func newConfig(opts []Option) (config, error) {
	c := config{auth: fromThisMachine, calls: defaultCalls, bytes: defaultBytes}
	for i, o := range opts {
		if o == nil {
			return c, fmt.Errorf("%w: nil Option at index %d", ErrInvalidOption, i)
		}
		if err := o.apply(&c); err != nil {
			return c, err
		}
	}
	return c, nil
}

// WithAuth sets the function that decides which requests get the page. It replaces the default
// rule, by which only requests from the same machine do. The handler calls f for every request,
// concurrently. f returns whether the request gets the page, and whether the page contains
// sensitive parts: texts of errors, stacks of panics, and summaries of payloads. If view is
// false, the response is 403 Forbidden.
//
// The default rule checks four things, of which f may have to take care as well: the address of
// the peer; the Host, because a name of another site can be made to point to this machine (DNS
// rebinding); the headers that proxies add; and Sec-Fetch-Site, with which a browser says that a
// page of another site has made the request. Some proxies look like a browser, so behind a proxy
// use WithAuth or [WithToken].
func WithAuth(f func(r *http.Request) (view, sensitive bool)) Option { return withAuth(f) }

type withAuth func(*http.Request) (view, sensitive bool)

func (f withAuth) apply(c *config) error {
	if f == nil {
		return fmt.Errorf("%w: WithAuth(nil)", ErrInvalidOption)
	}
	c.auth, c.token = f, ""
	return nil
}

// WithToken shows the page, with its sensitive parts, to all requests that have this token. It
// replaces the default rule, by which only requests from the same machine get the page. The token
// must have at least 16 bytes. Use a random token, such as that of [crypto/rand.Text], and HTTPS
// if the network is not trusted. A browser opens the page with ?token=… once and then has a cookie.
// A script sends the header Authorization: Bearer …. Of WithToken and [WithAuth], the last one
// wins.
func WithToken(token string) Option { return withToken(token) }

type withToken string

func (o withToken) apply(c *config) error {
	if len(o) < leastToken {
		return fmt.Errorf("%w: WithToken: has %d bytes, wants at least %d", ErrInvalidOption, len(o), leastToken)
	}
	c.auth, c.token = hasToken(string(o)), string(o)
	return nil
}

// WithListenerTimes measures every callback of every listener. Waterfalls show the callbacks, and
// topics show how long each listener takes. Without this option the page shows only what the
// Snapshot contains about listeners. The option costs about a microsecond for each callback, see
// [dispatch.Observer].
func WithListenerTimes() Option { return withListenerTimes{} }

type withListenerTimes struct{}

func (withListenerTimes) apply(c *config) error { c.callbacks = true; return nil }

// WithRetention bounds what the handler keeps. A topic has eight buckets of calls; in each, it
// keeps the given number of calls, the newest ones. All calls and all figures of topics and
// members together take at most about the given number of bytes, which must be at least 1 MiB.
// Figures take at most half of the bytes: above that, the figures of the topics that were unused
// for longest are dropped. If calls and figures together still take too many bytes, the oldest calls
// of the fullest bucket are dropped. The default is 10 calls and 16 MiB.
func WithRetention(calls, bytes int) Option { return withRetention{calls, bytes} }

type withRetention struct{ calls, bytes int }

func (o withRetention) apply(c *config) error {
	if o.calls < 1 || o.bytes < leastBytes {
		return fmt.Errorf("%w: WithRetention(%d, %d): wants at least 1 call and %d bytes", ErrInvalidOption, o.calls, o.bytes, leastBytes)
	}
	c.calls, c.bytes = o.calls, o.bytes
	return nil
}

// WithSummarize keeps the text that f returns for each request and for the first result of each
// member, cut to n bytes. Without this option, nothing of any payload is kept.
//
// f is called concurrently. It is called with a request while the sender waits, and with a result
// some time later, when other code may use the value too. f must not modify its argument. If f
// panics, the page says so instead of the summary. The option makes calls cost more, because it
// needs a CallStart hook, see [dispatch.Observer].
func WithSummarize(f func(v any) string, n int) Option { return withSummarize{f, n} }

type withSummarize struct {
	f func(any) string
	n int
}

func (o withSummarize) apply(c *config) error {
	if o.f == nil || o.n < 1 {
		return fmt.Errorf("%w: WithSummarize: wants a function and at least 1 byte, has %d", ErrInvalidOption, o.n)
	}
	c.summarize = func(v any) (s string) {
		defer func() {
			if p := recover(); p != nil {
				s = cut(fmt.Sprintf("(no summary: panic: %v)", p), o.n)
			}
		}()
		return cut(o.f(v), o.n)
	}
	return nil
}

// cut shortens s to at most n bytes, between two characters. The result does not keep s in
// memory.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const mark = "…"
	if n < len(mark) {
		return ""
	}
	n -= len(mark)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.Clone(s[:n]) + mark
}
