package dispatchdebug

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// linkOf adds a link to nodes in these states.
func (b *bench) linkOf(state string, states ...string) {
	b.t.Helper()
	since := time.Now()
	if _, err := b.d.Bus().AddLink(func() dispatch.LinkSnapshot {
		l := dispatch.LinkSnapshot{
			Name: "nats:s", State: state, Since: since, Server: "nats://far", Topics: []string{"t"}, InFlight: 4, Stray: 5, Dropped: 6,
			LastError: "secret", LastErrorAt: since,
		}
		for i, state := range states {
			n := dispatch.NodeSnapshot{Name: fmt.Sprint("node-", i), State: state, Topics: []string{"t", "u", "v", "w"}, HeardAgo: time.Since(since)}
			if state != "present" {
				n.Error = "secret"
			}
			if state == "missing" {
				n.HeardAgo = -1
			}
			l.Nodes = append(l.Nodes, n)
		}
		return l
	}); err != nil {
		b.t.Fatal(err)
	}
}

// Nodes that need attention come first, and the page shows what the connection reports.
func TestConnectionsAndNodes(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.linkOf("connected", "present", "draining", "incompatible", "missing", "silent", "twin", "a state of tomorrow")
		time.Sleep(7 * time.Second)
		e := b.data("").Elsewhere
		var got []string
		for _, n := range e.Nodes {
			got = append(got, fmt.Sprint(n.Name, " ", n.State, " ", n.Tone, " ", n.Heard, " ", n.MoreTopics))
		}
		want(t, "nodes", strings.Join(got, "\n"), strings.Join([]string{
			"node-4 silent bad 7s 1", "node-6 a state of tomorrow bad 7s 1", "node-3 missing bad -1ns 1", "node-5 twin bad 7s 1",
			"node-2 incompatible bad 7s 1", "node-1 draining busy 7s 1", "node-0 present ok 7s 1",
		}, "\n"))
		want(t, "counts", fmt.Sprint(e.NodeCount, e.MoreNodes, e.Absent), "7 0 5")
		l := e.Links[0]
		want(t, "link", strings.TrimSpace(fmt.Sprintln(l.Name, l.State, l.Tone, l.Since, l.Server, l.InFlight, l.Stray, l.Dropped, l.NodeCount, l.LastError, l.ErrorAgo)),
			"nats:s connected ok 7s nats://far 4 5 6 7 secret 7s")
		want(t, "what is found", len(b.data("q=node-3").Elsewhere.Nodes), 1)
		if b.data("topic=t").Elsewhere != nil {
			t.Error("the page of a topic has all nodes")
		}
	})
}

func TestConnectionsWithoutLinks(t *testing.T) {
	inBubble(t, func(b *bench) {
		e := b.data("").Elsewhere
		want(t, "links and nodes", fmt.Sprint(e.Links != nil, len(e.Links), e.Nodes != nil, len(e.Nodes)), "true 0 true 0")
	})
}

// A broken connection and a node that does not answer are suspects, even if no call has lost
// time to them.
func TestSuspectsByWhatLinksSay(t *testing.T) {
	for state, text := range map[string]string{
		"silent":       "is silent: it was last heard 9 s ago",
		"missing":      "is expected, and was never heard of",
		"twin":         "has a twin: two processes have its name, and the answers of one are lost",
		"incompatible": "cannot be asked: it has other types, another codec or another version",
		"of tomorrow":  "is of tomorrow",
		"present":      "",
		"draining":     "",
	} {
		t.Run(state, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.linkOf("connected", "present", state)
				time.Sleep(9 * time.Second)
				found := b.data("").Suspects
				if text == "" {
					want(t, "suspects", len(found), 0)
				} else {
					want(t, "suspects", fmt.Sprint(len(found), " ", found[0].Kind, " ", found[0].Name, " ", found[0].Text), "1 silent node-1 "+text)
				}
			})
		})
	}
	t.Run("cut off", func(t *testing.T) {
		inBubble(t, func(b *bench) {
			b.linkOf("connected", "unreachable", "unreachable")
			found := b.data("").Suspects
			want(t, "suspects", fmt.Sprint(len(found), " ", found[0].Name, " ", found[0].Text), "1 nats:s is cut off: it reaches none of its 2 nodes")
		})
	})
	t.Run("reconnecting", func(t *testing.T) {
		inBubble(t, func(b *bench) {
			b.linkOf("reconnecting", "present")
			time.Sleep(3 * time.Second)
			found := b.data("").Suspects
			want(t, "suspects", fmt.Sprint(len(found), " ", found[0].Name, " ", found[0].Text), "1 nats:s has no connection: it is reconnecting, for 3 s")
		})
	})
}

// A node that does not answer has one row, which has what calls lost to its members.
func TestASilentNodeHasOneRow(t *testing.T) {
	inBubble(t, func(b *bench) {
		if _, err := b.d.AddRelay(measure, func(ctx context.Context, _ string, to *dispatch.Roster[string]) error {
			to.Name(dispatch.Member{Node: "node-0", Name: "m"})
			<-ctx.Done()
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.d.Bus().AddLink(func() dispatch.LinkSnapshot {
			return dispatch.LinkSnapshot{State: "connected", Nodes: []dispatch.NodeSnapshot{{Name: "node-0", State: "silent", Topics: []string{measure.Name()}, HeardAgo: time.Second}}}
		}); err != nil {
			t.Fatal(err)
		}
		b.send(dispatch.WithTimeout(4 * time.Second))
		time.Sleep(3 * time.Second)
		found := b.data("").Suspects
		if len(found) != 1 || found[0].Name != "node-0" || found[0].Lost < time.Second || !strings.HasSuffix(found[0].Text, "; 1 call waits for it") {
			t.Errorf("suspects are %+v", found)
		}
	})
}

func TestErrorsOfLinksAreSensitive(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.linkOf("connected", "silent")
		e := b.data("").Elsewhere
		want(t, "errors", e.Links[0].LastError+e.Nodes[0].Error+b.data("").Suspects[0].Error, "")
	}, WithAuth(func(*http.Request) (view, sensitive bool) { return true, false }))
}

// There is a link for each type of topics, with the same name and the same nodes. Rows have keys of their own, and a
// node is one suspect.
func TestLinksOfOneName(t *testing.T) {
	inBubble(t, func(b *bench) {
		state := "connected"
		for _, topic := range []string{"t", "u"} {
			if _, err := b.d.Bus().AddLink(func() dispatch.LinkSnapshot {
				return dispatch.LinkSnapshot{
					Name: "nats:s", State: state, Topics: []string{topic},
					Nodes: []dispatch.NodeSnapshot{{Name: "node-0", State: "silent", Topics: []string{topic}, HeardAgo: time.Minute}},
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		doc := b.data("")
		keys := make(map[string]bool)
		for _, l := range doc.Elsewhere.Links {
			keys[l.Key] = true
		}
		for _, n := range doc.Elsewhere.Nodes {
			keys["node "+n.Key] = true
		}
		want(t, "keys", len(keys), 4)
		want(t, "suspects", suspectsOf(doc), []string{"node-0 is silent: it was last heard 1 min ago"})
		want(t, "suspects of the other topic", len(b.data("topic=u").Suspects), 1)
		state = "reconnecting"
		time.Sleep(time.Second)
		want(t, "suspects", suspectsOf(b.data("")), []string{"nats:s has no connection: it is reconnecting", "node-0 is silent: it was last heard 1 min ago"})
	})
}

func suspectsOf(doc document) (list []string) {
	for _, s := range doc.Suspects {
		list = append(list, s.Name+" "+s.Text)
	}
	return list
}

// A topic is a suspect at most once, with all that is wrong with it. A node of the name of a kind of suspects is only
// a node.
func TestATopicIsASuspectOnce(t *testing.T) {
	inBubble(t, func(b *bench) {
		if _, err := b.d.Bus().AddLink(func() dispatch.LinkSnapshot {
			var l dispatch.LinkSnapshot
			l.State = "connected"
			for _, name := range []string{"places", "producers", "call", "nobody", "topic"} {
				l.Nodes = append(l.Nodes, dispatch.NodeSnapshot{Name: name, State: "missing", Topics: []string{measure.Name()}, HeardAgo: -1})
			}
			return l
		}); err != nil {
			t.Fatal(err)
		}
		b.call()
		lacks := b.send(dispatch.WithMinProducers(2))
		time.Sleep(600 * time.Millisecond)
		var got []string
		for _, s := range b.data("").Suspects {
			if s.Name == measure.Name() {
				got = append(got, fmt.Sprint(s.Kinds, " ", s.Text, " ", s.Call))
			}
		}
		want(t, "rows of the topic", strings.Join(got, "\n"), fmt.Sprint("[producers nobody] lacks producers: 1 call waits for 2 more producers, the first for 600 ms of 1 s; "+
			"has no producer: asked without an answer once ", lacks.ID()))
		<-lacks.Done()
	})
}
