package dispatchdebug

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"
)

// An Option is given to [New]. Of two options of the same kind the later one
// counts.
type Option interface{ apply(*config) error }

// ErrInvalidOption is wrapped by the error with which [New] panics if the value of
// an option is invalid.
var ErrInvalidOption = errors.New("dispatchdebug: invalid option")

type config struct {
	auth      func(*http.Request) (view, sensitive bool)
	calls     int // kept for each topic and bucket
	bytes     int // that all kept calls may take
	summarize func(any) string
	callbacks bool
	token     string
}

// What is kept unless WithRetention says otherwise.
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

// WithAuth decides who may see the page, in place of the rule that only this
// machine may. The function is called for every request, concurrently. It returns
// whether the page is shown at all, and whether what is sensitive is shown with it:
// the texts of errors, the stacks of panics, and summaries of payloads. Where it
// returns false for view the answer is 403 Forbidden.
//
// The rule it replaces looks at the peer's address and at the Host, which guards
// against pages of other sites whose name is made to point to this machine, and refuses
// requests that a proxy has passed on. Some proxies cannot be told from a browser: behind
// a proxy WithAuth or [WithToken] is a must. A function that trusts the network has to
// think of all this.
func WithAuth(f func(r *http.Request) (view, sensitive bool)) Option { return withAuth(f) }

type withAuth func(*http.Request) (view, sensitive bool)

func (f withAuth) apply(c *config) error {
	if f == nil {
		return fmt.Errorf("%w: WithAuth(nil)", ErrInvalidOption)
	}
	c.auth, c.token = f, ""
	return nil
}

// WithToken shows the page, with what is sensitive, to those who have this token, from
// wherever they ask, in place of the rule that only this machine may. It has at least 16
// bytes; use a random one, such as that of [crypto/rand.Text], and HTTPS if the network is not
// trusted. A browser is given it as ?token=… once, and has a cookie from then on; a
// script sends it as Authorization: Bearer …. Of WithToken and [WithAuth] the later one
// counts.
func WithToken(token string) Option { return withToken(token) }

type withToken string

func (o withToken) apply(c *config) error {
	if len(o) < leastToken {
		return fmt.Errorf("%w: WithToken: has %d bytes, wants at least %d", ErrInvalidOption, len(o), leastToken)
	}
	c.auth, c.token = hasToken(string(o)), string(o)
	return nil
}

// WithListenerTimes measures every callback of every listener: waterfalls show them, and
// topics how long each listener takes. Without it the page has only what the Snapshot
// tells of listeners. It makes calls cost more, see [dispatch.Observer]: about a
// microsecond for each callback.
func WithListenerTimes() Option { return withListenerTimes{} }

type withListenerTimes struct{}

func (withListenerTimes) apply(c *config) error { c.callbacks = true; return nil }

// WithRetention bounds what is kept: the newest calls of each topic in each bucket, of
// which a topic has eight, and no more than about so many bytes in all, at least 1 MiB,
// with the figures of topics and members. Figures take at most half of the bytes; beyond
// that, those of the topics that were not used for longest go. Then the oldest calls of the
// fullest bucket go. Without this option that is 10 calls and 16 MiB.
func WithRetention(calls, bytes int) Option { return withRetention{calls, bytes} }

type withRetention struct{ calls, bytes int }

func (o withRetention) apply(c *config) error {
	if o.calls < 1 || o.bytes < leastBytes {
		return fmt.Errorf("%w: WithRetention(%d, %d): wants at least 1 call and %d bytes", ErrInvalidOption, o.calls, o.bytes, leastBytes)
	}
	c.calls, c.bytes = o.calls, o.bytes
	return nil
}

// WithSummarize keeps of each request, and of the first result of each member, what
// f makes of it, cut to n bytes. Without it nothing of any payload is kept.
//
// It is called concurrently: with a request while its sender waits, with a result
// some time later, when others may have the value as well. It makes calls cost more: they
// have a CallStart hook, see [dispatch.Observer]. It must not change what
// it is given. If it panics, the page says so in place of the summary.
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

// cut shortens s to at most n bytes, between two characters, and in a way that
// lets go of what is cut off.
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
