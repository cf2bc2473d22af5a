package servertest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// Results of quick producers are sent at any size. Nothing waits for room before the node has started to
// send.
func TestQuickLargeResults(t *testing.T) {
	for _, c := range []struct{ members, bytes int }{{1, 9_000_000}, {1, 15_000_000}, {10, 1_000_000}} {
		t.Run(fmt.Sprintf("%dx%d", c.members, c.bytes), func(t *testing.T) {
			s := startServer(t)
			far, near := newBus(), newBus()
			value := strings.Repeat("x", c.bytes)
			for i := range c.members {
				produce(t, far, fmt.Sprint("m", i), func(context.Context, string) (string, error) { return value, nil })
			}
			serve(t, connect(t, s.ClientURL()), far, "far")
			join(t, connect(t, s.ClientURL()), near, []string{"far"})
			call := send(t, near, "x")
			report := ended(t, call)
			if !report.Complete() || len(report.Outcomes) != c.members {
				t.Fatalf("the call ended as %v: %v", report.Reason, report.Err())
			}
			for r := range call.Results() {
				if len(r.Value) != c.bytes {
					t.Errorf("a result of %d bytes, want %d", len(r.Value), c.bytes)
				}
			}
			noMisuse(t, near)
		})
	}
}

// An accept that does not fit into a message is split. The text of an error is cut.
func TestSmallMessages(t *testing.T) {
	s := startServer(t, func(o *server.Options) { o.MaxPayload = 2048 })
	far, near := newBus(), newBus()
	const members = 500
	for i := range members {
		produce(t, far, fmt.Sprintf("m%04d", i), echo("a"))
	}
	produce(t, far, "fails", func(context.Context, string) (string, error) {
		return "", fmt.Errorf("%w: %s", dispatch.ErrIncompatible, strings.Repeat("é\n", 1_000_000))
	})
	serve(t, connect(t, s.ClientURL()), far, "far")
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	report := ended(t, send(t, near, "x"))
	if len(report.Outcomes) != members+1 {
		t.Errorf("%d outcomes, want %d", len(report.Outcomes), members+1)
	}
	for _, o := range report.Outcomes {
		if (o.State == dispatch.StateOK) != (o.Member.Name != "fails") {
			t.Errorf("%v ended as %v with %v", o.Member, o.State, o.Err)
		}
	}
	text := outcome(t, report, "far/fails").Err
	if !errors.Is(text, dispatch.ErrIncompatible) || !strings.HasSuffix(text.Error(), "…") || len(text.Error()) > 1024 {
		t.Errorf("the error is %v", text)
	}
	noMisuse(t, near)
}

func TestLongErrorTextIsCut(t *testing.T) {
	s := startServer(t)
	far, near := newBus(), newBus()
	produce(t, far, "a", func(context.Context, string) (string, error) { return "", errors.New(strings.Repeat("é", 2_000_000)) })
	serve(t, connect(t, s.ClientURL()), far, "far")
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	if err := outcome(t, ended(t, send(t, near, "x")), "far/a").Err; errors.Is(err, dispatch.ErrLost) || len(err.Error()) > 4096+10 || len(err.Error()) < 4000 {
		t.Errorf("the error has %d bytes: %.100v", len(err.Error()), err)
	}
}

func TestServerWithTooSmallMessages(t *testing.T) {
	s := startServer(t, func(o *server.Options) { o.MaxPayload = 2047 })
	if _, err := natsdispatch.Serve(connect(t, s.ClientURL()), newBus(), measure); !errors.Is(err, natsdispatch.ErrConnection) || !strings.Contains(err.Error(), "max_payload of the server is 2047") {
		t.Errorf("Serve: %v", err)
	}
	if _, err := natsdispatch.Join(connect(t, s.ClientURL()), newBus(), measure); !errors.Is(err, natsdispatch.ErrConnection) || !strings.Contains(err.Error(), "max_payload of the server is 2047") {
		t.Errorf("Join: %v", err)
	}
}

func TestCaps(t *testing.T) {
	s := startServer(t)
	t.Run("budget", func(t *testing.T) {
		far, near := newBus(), newBus()
		began := make(chan context.Context, 1)
		produce(t, far, "a", hang(began))
		var told failures
		node := serve(t, connect(t, s.ClientURL()), far, "far", natsdispatch.WithMaxBudget(200*time.Millisecond), natsdispatch.WithErrorHandler(told.add), natsdispatch.WithSpace("budget"))
		join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithSpace("budget"))
		call := send(t, near, "x", dispatch.WithTimeout(time.Hour))
		ctx := receive(t, "the producer to begin", began)
		receive(t, "the end of its budget", ctx.Done())
		call.Cancel(nil)
		if all := told.list(); len(all) != 1 || !strings.Contains(all[0].Error(), "WithMaxBudget(200ms)") || node.Stats().Capped != 1 {
			t.Errorf("the error handler was told %q, capped are %d", all, node.Stats().Capped)
		}
	})
	t.Run("members", func(t *testing.T) {
		far, near := newBus(), newBus()
		for i := range 5 {
			produce(t, far, fmt.Sprint("m", i), echo("a"))
		}
		serve(t, connect(t, s.ClientURL()), far, "far", natsdispatch.WithSpace("members"))
		join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithMaxMembers(3), natsdispatch.WithSpace("members"))
		report := ended(t, send(t, near, "x"))
		want(t, report, dispatch.ReasonAllEnded, "far/m0 ok", "far/m1 ok", "far/m2 ok", "far/* failed")
		if err := outcome(t, report, "far/*").Err; !errors.Is(err, natsdispatch.ErrTooLarge) || !strings.Contains(err.Error(), "far has 5 members; WithMaxMembers allows 3") {
			t.Errorf("the rest ends with %v", err)
		}
		noMisuse(t, near)
	})
	t.Run("ids", func(t *testing.T) {
		far := newBus()
		produce(t, far, "a", echo("a"))
		node := serve(t, connect(t, s.ClientURL()), far, "far", natsdispatch.WithMaxRemembered(10), natsdispatch.WithSpace("ids"))
		near := newBus()
		join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithSpace("ids"))
		for range 15 {
			ended(t, send(t, near, "x"))
		}
		if stats := node.Stats(); stats.Remembered != 10 || stats.Forgotten != 5 {
			t.Errorf("%+v", stats)
		}
	})
}

func TestCapOfNodes(t *testing.T) {
	s := startServer(t)
	near := newBus()
	var told failures
	startAgent(t, connect(t, s.ClientURL()), "a")
	remote := join(t, connect(t, s.ClientURL()), near, []string{"a"}, natsdispatch.WithMaxNodes(1), natsdispatch.WithErrorHandler(told.add))
	startAgent(t, connect(t, s.ClientURL()), "b")
	until(t, "the other one to be reported", func() bool { return len(told.list()) > 0 })
	if all := told.list(); len(remote.Nodes()) != 1 || remote.Stats().Excess == 0 || len(all) != 1 || !strings.Contains(all[0].Error(), "node b is one more than WithMaxNodes(1)") {
		t.Errorf("present are %v, and the error handler was told %q", remote.Nodes(), all)
	}
}

// A program that answers a request in very many names does not fill the memory of the asker.
func TestCapOfNamesThatAnswer(t *testing.T) {
	s := startServer(t)
	near := newBus()
	a := startAgent(t, connect(t, s.ClientURL()), "a")
	remote := join(t, connect(t, s.ClientURL()), near, []string{"a"}, natsdispatch.WithMaxNodes(10))
	call := send(t, near, "x")
	m := a.take()
	for i := range 100 {
		a.sayAs(m, fmt.Sprint("b", i), 0, "accept m", "end 0 0 ok", "final 1 0")
	}
	a.say(m, "accept m", "end 0 0 ok", "final 1 0")
	report := ended(t, call)
	if o := outcome(t, report, "a/m"); o.State != dispatch.StateOK || len(report.Outcomes) > 20 || remote.Stats().Stray < 80 {
		t.Errorf("%d members, of which %v; %d replies are stray", len(report.Outcomes), o, remote.Stats().Stray)
	}
	noMisuse(t, near)
}

// A signature is not valid in another space.
func TestSignatureIsOfOneSpace(t *testing.T) {
	s := startServer(t)
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	verify := natsdispatch.WithVerify(natsdispatch.VerifyNKey(func(string) (string, bool) { return public, true }))
	far := newBus()
	produce(t, far, "a", echo("a"))
	nc := connect(t, s.ClientURL())
	announced, err := nc.SubscribeSync("dispatch.red.presence.>")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, nc, far, "far", natsdispatch.WithSpace("red"), natsdispatch.WithSign(natsdispatch.SignNKey(pair)))
	join(t, connect(t, s.ClientURL()), newBus(), []string{"far"}, natsdispatch.WithSpace("red"), verify)
	blue := join(t, connect(t, s.ClientURL()), newBus(), nil, natsdispatch.WithSpace("blue"), verify)
	m, err := announced.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	m.Subject = strings.Replace(m.Subject, ".red.", ".blue.", 1)
	if err := nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	until(t, "the announcement to be refused", func() bool { return blue.Stats().Unverified == 1 })
}

// If a request fits into a message to all nodes, and not into the message to a group, which has the name of
// the group, the group alone fails.
func TestRequestThatIsTooLargeForAGroup(t *testing.T) {
	t.Parallel()
	s := startServer(t, func(o *server.Options) { o.MaxPayload = 1 << 14 })
	far, near := newBus(), newBus()
	group := strings.Repeat("g", 100)
	produce(t, far, "m", echo("m"))
	produce(t, far, "r", echo("r"), dispatch.WithGroup(group))
	serve(t, connect(t, s.ClientURL()), far, "far")
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	for size := 1 << 14; ; size -= 20 {
		r := ended(t, send(t, near, strings.Repeat("x", size)))
		if r.Outcomes[0].Member.Node == "" { // too large for both: the relay has failed
			continue
		}
		want(t, r, dispatch.ReasonAllEnded, "far/m ok", "*/"+group+" failed")
		if err := outcome(t, r, "*/"+group).Err; !errors.Is(err, natsdispatch.ErrTooLarge) {
			t.Errorf("the group ends with %v", err)
		}
		break
	}
	noMisuse(t, near)
}

// A result that is larger than what the asker lets wait comes in pieces.
func TestResultThatIsLargerThanThePendingLimit(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	far, near := newBus(), newBus()
	produce(t, far, "m", func(context.Context, string) (string, error) { return strings.Repeat("x", 300_000), nil })
	serve(t, connect(t, s.ClientURL()), far, "far")
	r := join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithPendingLimits(1000, 200_000))
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/m ok")
	if stats := r.Stats(); stats.Dropped > 0 {
		t.Errorf("%d messages were dropped", stats.Dropped)
	}
}
