package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// step is an announcement that a census hears, and the change that follows.
type step struct {
	after time.Duration // since the previous step
	say   announcement  // without a node: no announcement, and the census looks for nodes that have missed their beats
	want  string        // the change; empty: none
}

func of(event string, epoch int64, seq uint64) announcement {
	return announcement{Node: "n", Topic: "t", Event: event, Epoch: epoch, Seq: seq, BeatMS: 1000, Versions: []int{1}}
}

func TestCensus(t *testing.T) {
	draining := of("change", 7, 2)
	draining.Draining = true
	grouped := of("beat", 7, 2)
	grouped.Groups = []string{"g"}
	unhurried := of("hello", 7, 0)
	unhurried.BeatMS = 0
	for _, c := range []struct {
		name   string
		steps  []step
		states []string // of the rows at the end
	}{
		{"one comes and stays", []step{{0, of("hello", 7, 0), "came"}, {time.Second, of("beat", 7, 1), ""}}, []string{"present"}},
		{"bye", []step{{0, of("hello", 7, 0), "came"}, {0, of("bye", 7, 1), "left"}, {0, of("bye", 7, 1), ""}}, nil},
		{"three beats missed", []step{
			{0, of("hello", 7, 0), "came"},
			{2999 * time.Millisecond, announcement{}, ""},
			{time.Millisecond, announcement{}, "gone"},
			{time.Hour, announcement{}, ""},
		}, []string{"gone"}},
		{"without beat_ms it beats every two seconds", []step{
			{0, unhurried, "came"}, {5999 * time.Millisecond, announcement{}, ""}, {time.Millisecond, announcement{}, "gone"},
		}, []string{"gone"}},
		{"back after a silence", []step{
			{0, of("hello", 7, 0), "came"}, {3 * time.Second, announcement{}, "gone"}, {0, of("beat", 7, 1), "came back"},
		}, []string{"present"}},
		{"killed and started again", []step{{0, of("hello", 7, 0), "came"}, {0, of("hello", 8, 0), "started again"}}, []string{"present"}},
		{"killed, gone, and heard again before its hello", []step{
			{0, of("hello", 7, 0), "came"}, {3 * time.Second, announcement{}, "gone"}, {0, of("beat", 8, 1), "started again"},
		}, []string{"present"}},
		{"twins that were there before", []step{{0, of("beat", 7, 3), "came"}, {0, of("beat", 8, 5), "came"}}, []string{"twin", "twin"}},
		{"a twin that starts", []step{
			{0, of("hello", 7, 0), "came"}, {0, of("hello", 8, 0), "started again"}, {0, of("beat", 7, 1), "came"},
		}, []string{"twin", "twin"}},
		{"a twin that is gone", []step{
			{0, of("beat", 7, 3), "came"}, {0, of("beat", 8, 5), "came"}, {2 * time.Second, of("beat", 8, 6), ""}, {time.Second, announcement{}, "gone"},
		}, []string{"gone", "present"}},
		{"draining", []step{{0, of("hello", 7, 0), "came"}, {0, draining, "changed"}, {0, draining, ""}}, []string{"draining"}},
		{"groups", []step{{0, of("hello", 7, 0), "came"}, {0, grouped, "changed"}}, []string{"present"}},
		{"an older announcement that was overtaken", []step{{0, of("hello", 7, 0), "came"}, {0, draining, "changed"}, {0, of("beat", 7, 1), ""}}, []string{"draining"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var census census
			now := time.Unix(1e9, 0)
			for i, s := range c.steps {
				now = now.Add(s.after)
				var changes []change
				if s.say.Node != "" {
					changes = census.hear(s.say, now)
				} else {
					changes = census.expire(now)
				}
				got := ""
				for _, ch := range changes {
					got += ch.what
				}
				if got != s.want {
					t.Errorf("step %d: %q, want %q", i, got, s.want)
				}
			}
			var states []string
			for _, r := range census.rows(now) {
				states = append(states, r.State)
			}
			if diff := cmp.Diff(c.states, states); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A beat has no detail, so the census keeps the detail that it knows. If the connection was broken, no node
// is gone because of that.
func TestCensusKeepsWhatItKnows(t *testing.T) {
	var c census
	now := time.Unix(1e9, 0)
	a, err := parseAnnouncement([]byte(`{"node":"n","topic":"t","event":"beat","epoch":7,"seq":1,"beat_ms":1000,"detail":{"members":["g/","a=20b"],"count":3,"in_flight":2}}`))
	if err != nil {
		t.Fatal(err)
	}
	c.hear(a, now)
	c.hear(of("beat", 7, 2), now)
	c.excuse(now.Add(time.Hour))
	if gone := c.expire(now.Add(time.Hour)); len(gone) != 0 {
		t.Errorf("gone: %v", gone)
	}
	r := c.rows(now.Add(time.Hour))[0]
	if !cmp.Equal(r.Members, []string{"g", "a b"}) || *r.Count != 3 || *r.InFlight != 2 {
		t.Errorf("row %+v", r)
	}
	a.Seq, a.Detail.Members = 3, []string{"g/"}
	b := a
	detail := *a.Detail
	b.Detail = &detail
	b.Seq, b.Detail.Members = 4, []string{"h/"}
	c.hear(a, now)
	if changes := c.hear(b, now); len(changes) != 1 || changes[0].what != "changed" {
		t.Errorf("other members: %v", changes)
	}
}

func TestTable(t *testing.T) {
	two, none := 2, 0
	rows := []row{
		{Node: "cell-7", Topic: "cell.measure", State: "present", Versions: []int{1, 2}, Members: []string{"site-1"}, Count: &two, InFlight: &two, Heard: 1500 * time.Millisecond},
		{Node: "a\x1b[2J", Topic: "t", State: "gone", Heard: 200 * time.Second},
		{Node: "idle", Topic: "t", State: "present", Versions: []int{1}, Members: []string{}, Count: &none, InFlight: &none},
	}
	const want = `NODE      TOPIC         STATE    VERSION  HEARD       IN FLIGHT  MEMBERS
cell-7    cell.measure  present  1,2      1.5 s ago   2          2: site-1
a\x1b[2J  t             gone              3m20s ago   ?          ?
idle      t             present  1        0.0 ms ago  0          0
`
	if diff := cmp.Diff(want, table(rows, 200)); diff != "" {
		t.Error(diff)
	}
	if got, want := table(rows[2:], 10), "NODE  TOP…\nidle  t  …\n"; got != want {
		t.Errorf("cut to 10 columns: %q, want %q", got, want)
	}
}

// The interval of another program's beats may be no Duration in nanoseconds.
func TestPatienceIsBounded(t *testing.T) {
	for ms, want := range map[int64]time.Duration{
		-1: missedBeats * defaultBeat, 0: missedBeats * defaultBeat, 1: 3 * time.Millisecond,
		1 << 60: missedBeats * longestBeat, 18_446_744_073_710: missedBeats * longestBeat,
	} {
		a := announcement{BeatMS: ms}
		if got := a.patience(); got != want {
			t.Errorf("beats every %d ms: %v, want %v", ms, got, want)
		}
	}
}

// A beat for all topics keeps the lives of its process present, and does not bring back a life that is
// gone.
func TestCensusHearsBeatsForAllTopics(t *testing.T) {
	now := time.Unix(1000, 0)
	var c census
	for _, topic := range []string{"t", "u"} {
		a := of("hello", 7, 0)
		a.Topic, a.BeatMS, a.AllMS = topic, 60_000, 1000
		c.hear(a, now)
	}
	other := of("hello", 8, 0)
	other.Topic = "v"
	c.hear(other, now)
	now = now.Add(2 * time.Second)
	c.beat(beat{Node: "n", Epoch: 7}, now)
	now = now.Add(2 * time.Second)
	if gone := c.expire(now); len(gone) != 1 || gone[0].topic != "v" {
		t.Errorf("gone: %v, want only what the other process has", gone)
	}
	now = now.Add(time.Second)
	if gone := c.expire(now); len(gone) != 2 {
		t.Errorf("gone: %v, want both topics", gone)
	}
	c.beat(beat{Node: "n", Epoch: 7}, now)
	for _, r := range c.rows(now) {
		if r.State != "gone" {
			t.Errorf("%s is %s", r.Topic, r.State)
		}
	}
}
