package natsdispatch

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// A census has a table of nodes and their attendance, like a Remote, and collects the events.
type census struct {
	table
	attendance
	events []string
}

func (c *census) say(at int, node, topic, event string, epoch int64, seq uint64) {
	a := announcement{Node: node, Topic: topic, Event: event, Epoch: epoch, Seq: seq, BeatMS: 1000}
	var before int64
	if p := c.table.at(place{topic, node}); p != nil {
		before = p.Epoch
	}
	now := second(at)
	if e, ok := c.attendance.hear(a, before, c.table.hear(a, now), now); ok {
		c.add(at, e)
	}
}

func (c *census) expire(at int, cut error) {
	gone, _ := c.table.expire(second(at), cut)
	for _, e := range c.left(gone, second(at)) {
		c.add(at, e)
	}
	c.attendance.forget(second(at), c.table.forget)
}

func (c *census) add(at int, e NodeEvent) {
	c.events = append(c.events, strings.TrimSpace(fmt.Sprintln(at, e.Kind, e.Node, e.After)))
}

func second(at int) time.Time { return time.Unix(1000+int64(at), 0) }

// Each thing that happens to a node is one event, however many topics the node has.
func TestEventsOfNodes(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(*census)
		want    []string
	}{
		"came and left": {func(c *census) {
			for seq, event := range []string{eventHello, eventBeat, eventChange, eventBye} {
				for _, topic := range []string{"a", "b"} {
					c.say(seq, "n", topic, event, 5, uint64(seq))
				}
			}
		}, []string{"0 came n 0s", "3 left n 0s"}},
		"silent, and heard again": {func(c *census) {
			c.say(0, "n", "a", eventHello, 5, 0)
			c.say(1, "n", "b", eventHello, 5, 0)
			c.say(1, "m", "a", eventHello, 5, 0)
			c.say(4, "m", "a", eventBeat, 5, 1)
			c.expire(3, nil)
			c.expire(4, nil)
			c.say(9, "n", "a", eventBeat, 5, 9)
			c.say(9, "n", "b", eventBeat, 5, 9)
		}, []string{"0 came n 0s", "1 came m 0s", "3 silent n 3s", "9 came n 9s"}},
		"killed, and started again at once": {func(c *census) {
			for _, epoch := range []int64{5, 6} {
				c.say(0, "n", "a", eventHello, epoch, 0)
				c.say(0, "n", "b", eventHello, epoch, 0)
			}
		}, []string{"0 came n 0s", "0 restarted n 0s"}},
		"killed, and started again after a while": {func(c *census) {
			c.say(0, "n", "a", eventHello, 5, 0)
			c.say(0, "m", "a", eventHello, 5, 0)
			c.say(3, "m", "a", eventBeat, 5, 1)
			c.expire(4, nil)
			c.say(7, "n", "a", eventHello, 6, 0)
		}, []string{"0 came n 0s", "0 came m 0s", "4 silent n 4s", "7 restarted n 7s"}},
		"a successor of one that left": {func(c *census) {
			c.say(0, "n", "a", eventHello, 5, 0)
			c.say(1, "n", "a", eventBye, 5, 1)
			c.say(2, "n", "a", eventHello, 6, 0)
		}, []string{"0 came n 0s", "1 left n 0s", "2 came n 0s"}},
		"two processes, each with topics of its own": {func(c *census) {
			c.say(0, "n", "a", eventHello, 5, 0)
			c.say(1, "n", "b", eventHello, 6, 0)
			c.say(2, "n", "a", eventBye, 5, 1)
		}, []string{"0 came n 0s", "1 came n 0s", "2 left n 0s"}},
		"twins, of which both stop": {func(c *census) {
			c.say(0, "m", "a", eventHello, 5, 0)
			for seq := range uint64(3) {
				c.say(0, "n", "a", eventBeat, 5, seq)
				c.say(0, "n", "a", eventBeat, 6, seq)
			}
			c.say(4, "m", "a", eventBeat, 5, 1)
			c.expire(4, nil)
		}, []string{"0 came m 0s", "0 came n 0s", "0 restarted n 0s", "0 twin n 0s", "4 silent n 4s"}},
		"three processes of one name": {func(c *census) {
			for seq := range uint64(3) {
				for _, epoch := range []int64{5, 6, 7} {
					c.say(0, "n", "a", eventBeat, epoch, seq)
				}
			}
		}, []string{"0 came n 0s", "0 restarted n 0s", "0 restarted n 0s", "0 twin n 0s"}},
		"we are cut off": {func(c *census) {
			for _, node := range []string{"m", "n"} {
				c.say(0, node, "a", eventHello, 5, 0)
			}
			c.expire(4, nil)
			c.say(6, "m", "a", eventBeat, 5, 9)
		}, []string{"0 came m 0s", "0 came n 0s", "4 cut off  4s", "6 came m 6s"}},
		"a bye of one who is silent": {func(c *census) {
			c.say(0, "n", "a", eventHello, 5, 0)
			c.expire(4, nil)
			c.say(5, "n", "a", eventBye, 5, 9)
		}, []string{"0 came n 0s", "4 silent n 4s", "5 left n 0s"}},
	} {
		t.Run(name, func(t *testing.T) {
			census := &census{table: table{most: 100, forget: time.Minute}}
			c.happens(census)
			if !slices.Equal(census.events, c.want) {
				t.Errorf("events are\n%q, want\n%q", census.events, c.want)
			}
			census.expire(1000, nil)
			census.expire(2000, nil)
			if len(census.stays) != 0 || len(census.twins) != 0 || len(census.places) != 0 {
				t.Errorf("kept for ever: %v, %v, %v", census.stays, census.twins, census.places)
			}
		})
	}
}

// The event of a node says when the node was last heard, even if the asker forgets the node at the same time.
func TestEventOfANodeThatIsForgottenAtOnce(t *testing.T) {
	c := &census{table: table{most: 100, forget: time.Second}}
	c.say(0, "n", "a", eventHello, 5, 0)
	c.expire(4, nil)
	if want := []string{"0 came n 0s", "4 silent n 4s"}; !slices.Equal(c.events, want) {
		t.Errorf("events are %q, want %q", c.events, want)
	}
	if len(c.places) != 0 {
		t.Error("the asker remembers the node")
	}
}

// A node reports each other process of its name once, however many there are.
func TestANodeReportsEachTwinOnce(t *testing.T) {
	var told []error
	n := &Node{link: link{onError: func(err error) { told = append(told, err) }}, epoch: 5, twins: make(map[int64]bool)}
	n.node, n.news.logger = "n", slog.New(slog.DiscardHandler)
	for range 3 {
		for epoch := 5; epoch < 8; epoch++ {
			n.hearOwn(&nats.Msg{Data: fmt.Appendf(nil, `{"node":"n","topic":"a","event":"beat","epoch":%d}`, epoch)})
		}
	}
	if len(told) != 2 || !errors.Is(told[0], dispatch.ErrDuplicate) {
		t.Errorf("the error handler was told %q, want two errors", told)
	}
	n.news.end()
}

// Each change of the connection is one event.
func TestEventsOfTheConnection(t *testing.T) {
	type turn struct {
		status nats.Status
		err    error
		read   uint64
	}
	for name, c := range map[string]struct {
		up    bool
		turns []turn
		want  []string
	}{
		"broken, back, closed": {
			true,
			[]turn{
				{nats.RECONNECTING, errors.New("EOF"), 0},
				{nats.RECONNECTING, errors.New("EOF"), 0},
				{nats.CONNECTED, nil, 0},
				{nats.CONNECTED, nil, 0},
				{nats.DRAINING_SUBS, nil, 0},
				{nats.CLOSED, errors.New("an older one"), 0},
				{nats.CLOSED, nil, 0},
			},
			[]string{
				"WARN the connection to NATS broke", "INFO the connection to NATS is back after 2 s", "INFO the connection to NATS is closed for good",
			},
		},
		"not there at first": {false, []turn{{nats.RECONNECTING, nil, 0}, {nats.CONNECTED, nil, 0}}, []string{"INFO the connection to NATS is made"}},
		"cut off as slow": {
			true,
			[]turn{{nats.RECONNECTING, errors.New("EOF"), 5 << 20}},
			[]string{"WARN the connection to NATS broke: 5 MB came just before, and the server may have cut this process off as a slow consumer"},
		},
		"refused": {
			true,
			[]turn{{nats.DISCONNECTED, nats.ErrAuthorization, 0}, {nats.CLOSED, nats.ErrAuthorization, 0}},
			[]string{"WARN the connection to NATS broke", "WARN the connection to NATS is closed for good: nats: authorization violation"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connection{up: c.up}
			var got []string
			for i, turn := range c.turns {
				if e, ok := conn.turn(turn.status, turn.err, turn.read, second(i)); ok {
					got = append(got, fmt.Sprint(e.level(), " ", e))
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("events are\n%q, want\n%q", got, c.want)
			}
		})
	}
}

// The text of an event says what has happened, to which node, and what to do.
func TestTextsOfEvents(t *testing.T) {
	for want, e := range map[string]NodeEvent{
		"node n came":                                                          {Kind: NodeCame, Node: "n"},
		"node n is heard again, after 12 s":                                    {Kind: NodeCame, Node: "n", After: 12 * time.Second},
		"node n left: it has said bye":                                         {Kind: NodeLeft, Node: "n"},
		"node n is silent: it was last heard":                                  {Kind: NodeSilent, Node: "n", After: 7 * time.Second},
		"node n has started again; its unfinished replies are lost":            {Kind: NodeRestarted, Node: "n"},
		"node n has started again, after 7 s; its unfinished replies are lost": {Kind: NodeRestarted, Node: "n", After: 7 * time.Second},
		"two processes are called n: stop one of them":                         {Kind: NodeTwin, Node: "n", Err: twinError("n")},
		"cut off: all nodes have fallen silent together; look at this":         {Kind: CutOff, Err: errSilence},
		"there is no connection to NATS yet":                                   {Kind: ConnectionDown},
		"messages are dropped because they come faster than they are dealt":    {Kind: SlowConsumer, Err: errSlow},
	} {
		if got := e.String(); !strings.HasPrefix(got, want) {
			t.Errorf("%v: %q, want %q", e.Kind, got, want)
		}
	}
	if NodeEventKind(0).String() != "NodeEventKind(0)" || NodeEventKind(99).String() != "NodeEventKind(99)" {
		t.Error("kinds that do not exist have words")
	}
}

// Events reach the logger and the function one at a time, in their order. A function that blocks does not
// block put.
func TestNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		var mu sync.Mutex // guards told
		var told []string
		block := make(chan struct{})
		n := &news{logger: logger, attrs: []slog.Attr{slog.String("space", "s")}, onNode: func(e NodeEvent) {
			mu.Lock()
			defer mu.Unlock()
			if told = append(told, e.Node); e.Node == "a" {
				<-block
			}
		}}
		n.put(NodeEvent{Kind: NodeCame, Node: "a"})
		synctest.Wait() // until the function blocks
		for i := range mostNews + 2 {
			n.put(NodeEvent{Kind: NodeLeft, Node: fmt.Sprint(i)})
		}
		if n.count() != 2 {
			t.Errorf("%d events were missed, want 2", n.count())
		}
		close(block)
		n.end()
		n.put(NodeEvent{Node: "after the end"})
		if len(told) != mostNews+1 || told[0] != "a" || told[1] != "0" || told[mostNews] != fmt.Sprint(mostNews-1) {
			t.Errorf("told were %d events, the first %q", len(told), told[:2])
		}
		first, _, _ := strings.Cut(log.String(), "\n")
		if !strings.Contains(first, `level=INFO msg="natsdispatch: node a came" natsdispatch.event=came natsdispatch.node=a natsdispatch.space=s`) {
			t.Errorf("logged: %s", first)
		}
	})
}

// No more events wait than the documentation says, also if a function blocks while it is told one that has waited.
func TestNewsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := make(chan struct{})
		n := &news{logger: slog.New(slog.DiscardHandler), onNode: func(NodeEvent) { <-next }}
		n.put(NodeEvent{Kind: NodeCame})
		synctest.Wait() // until the function blocks
		for blocked := range 3 {
			for range 2 * mostNews {
				n.put(NodeEvent{Kind: NodeCame})
			}
			next <- struct{}{} // one event was told, and the next one is
			synctest.Wait()
			n.put(NodeEvent{Kind: NodeCame})
			before := n.count()
			if n.put(NodeEvent{Kind: NodeCame}); n.count() != before+1 {
				t.Errorf("when the function has blocked %d times, more than %d events wait", blocked+2, mostNews)
			}
		}
		close(next)
		n.end()
	})
}

// lastError returns an error for a while. An error without a handler is logged, unless it is that of an event.
func TestErrorsClear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := config{logger: slog.New(slog.NewTextHandler(&log, nil))}
		l := newLink(nil, &c)
		if l.lastError() != nil {
			t.Error("there is an error before any")
		}
		l.fail(dispatch.ErrLost)
		l.failedBy(NodeEvent{Kind: NodeTwin, Err: twinError("n")}) // the event is logged, and not the error
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
			t.Errorf("%d errors are logged: %s", n, log.String())
		}
		time.Sleep(errorsClear - 1)
		if err := l.lastError(); !errors.Is(err, dispatch.ErrDuplicate) {
			t.Errorf("the last error is %v", err)
		}
		time.Sleep(time.Nanosecond)
		if err := l.lastError(); err != nil {
			t.Errorf("%v is still the last error", err)
		}
	})
}
