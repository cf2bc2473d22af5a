package natsdispatch

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
)

// With each beat a node with many topics announces itself on so many of them that each topic has its turn
// within a minute, unless beats are rarer.
func TestTurns(t *testing.T) {
	for _, c := range []struct {
		topics int
		beat   time.Duration
		each   int
		every  time.Duration
	}{
		{1, 2 * time.Second, 1, 2 * time.Second},
		{2, 2 * time.Second, 1, 4 * time.Second},
		{30, 2 * time.Second, 1, time.Minute},
		{31, 2 * time.Second, 2, 32 * time.Second},
		{100, 2 * time.Second, 4, 50 * time.Second},
		{3, time.Hour, 3, time.Hour},
		{3, time.Millisecond, 1, 3 * time.Millisecond},
	} {
		if each, every := turns(c.topics, c.beat); each != c.each || every != c.every {
			t.Errorf("%d topics, a beat every %v: %d each, every %v; want %d, %v", c.topics, c.beat, each, every, c.each, c.every)
		}
	}
}

// Nodes that have started together do not beat together: each beat comes up to a fifth earlier than it is announced.
func TestBeatsAreSpread(t *testing.T) {
	earliest, latest := time.Hour, time.Duration(0)
	for range 10_000 {
		d := jitter(time.Second)
		earliest, latest = min(earliest, d), max(latest, d)
	}
	if earliest < 800*time.Millisecond || earliest > 820*time.Millisecond || latest > time.Second || latest < 980*time.Millisecond {
		t.Errorf("a beat every second comes after %v to %v", earliest, latest)
	}
}

// However many probes ask for answers at random times, few goroutines wait to answer them.
func TestProbesThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := new(Node)
		n.stopped, n.stop = context.WithCancel(t.Context())
		before := runtime.NumGoroutine()
		for range 10 * mostSpread {
			n.hearProbe(&nats.Msg{Reply: "r", Header: nats.Header{headerSpread: {"10000"}}})
		}
		if got := runtime.NumGoroutine() - before; got < mostSpread/2 || got > 2*mostSpread {
			t.Errorf("%d goroutines wait, want about %d", got, mostSpread)
		}
		time.Sleep(longestSpread)
		n.answers.Wait()
		if n.spread != 0 {
			t.Errorf("%d probes are not answered", n.spread)
		}
		n.stop()
	})
}

// A beat for all topics keeps a node present. The table returns the topics on which the asker has to ask
// for an announcement.
func TestTableHearsBeatsForAllTopics(t *testing.T) {
	for _, c := range []struct {
		name  string
		beat  beat
		at    int // seconds after the last announcement
		more  []string
		heard bool
	}{
		{"nothing new", beat{Node: "n", Epoch: 6, Seq: 1, Edition: 3}, 2, nil, true},
		{"another edition", beat{Node: "n", Epoch: 6, Seq: 1, Edition: 4}, 2, []string{"t", "u"}, true},
		{"an old beat", beat{Node: "n", Epoch: 6, Seq: 0, Edition: 4}, 2, nil, false},
		{"a node of other topics", beat{Node: "m", Epoch: 6, Seq: 1, Edition: 4}, 2, nil, false},
		{"a process of this name with other topics", beat{Node: "n", Epoch: 7, Seq: 1, Edition: 4}, 2, nil, false},
		{"the predecessor on one topic", beat{Node: "n", Epoch: 5, Seq: 1, Edition: 4}, 2, []string{"u"}, false},
		{"after it was silent", beat{Node: "n", Epoch: 6, Seq: 1, Edition: 3}, 4, []string{"t", "u"}, false},
		{"another process, after it was silent", beat{Node: "n", Epoch: 7, Seq: 0, Edition: 3}, 4, []string{"t", "u"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := table{forget: time.Hour, most: 100}
			say := func(topic string, epoch int64) {
				table.hear(announcement{Node: "n", Topic: topic, Event: eventBeat, Epoch: epoch, BeatMS: 60_000, AllMS: 1000, Edition: 3}, second(0))
			}
			say("u", 5)
			say("t", 6)
			say("u", 6)
			if more := table.beat(beat{Node: "n", Epoch: 6, Seq: 0, Edition: 3}, second(0)); more != nil {
				t.Errorf("asked about %q for what it knows", more)
			}
			table.expire(second(c.at), nil)
			more := table.beat(c.beat, second(c.at))
			slices.Sort(more)
			if n := table.at(place{"t", "n"}); !slices.Equal(more, c.more) || n.heard.Equal(second(c.at)) != c.heard {
				t.Errorf("asks about %q, and it was heard at %v; want %q, %v", more, n.heard, c.more, c.heard)
			}
		})
	}
}

// The table remembers a new edition, even if nothing else of the announcement has changed.
func TestTableKnowsTheEdition(t *testing.T) {
	table := table{forget: time.Hour, most: 100}
	for seq := range uint64(2) {
		table.hear(announcement{Node: "n", Topic: "t", Event: eventBeat, Epoch: 5, Seq: seq, AllMS: 1000, Edition: seq}, second(0))
		if more := table.beat(beat{Node: "n", Epoch: 5, Seq: seq, Edition: seq}, second(0)); more != nil {
			t.Errorf("asks about %q", more)
		}
	}
}

func TestBeatMalformed(t *testing.T) {
	for _, body := range []string{``, `{`, `{"node":"n"}`, `{"epoch":5}`, `{"node":"n","epoch":-1}`, `{"node":"n","epoch":5,"seq":-1}`} {
		if b, err := parseBeat([]byte(body)); err == nil {
			t.Errorf("%s: %+v", body, b)
		}
	}
}
