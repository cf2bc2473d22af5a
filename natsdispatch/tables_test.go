package natsdispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestTable(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(1000+int64(seconds), 0) }
	say := func(event string, epoch int64, seq uint64) announcement {
		return announcement{Node: "n", Topic: "t", Event: event, Epoch: epoch, Seq: seq, BeatMS: 1000}
	}
	draining := say(eventChange, 5, 1)
	draining.Draining = true
	for _, c := range []struct {
		name    string
		say     []announcement
		present bool
		gone    []int64 // boot ids
		twin    bool
	}{
		{"hello", []announcement{say(eventHello, 5, 0)}, true, nil, false},
		{"a beat without hello", []announcement{say(eventBeat, 5, 7)}, true, nil, false},
		{"an event that is not known", []announcement{say("sneeze", 5, 7)}, true, nil, false},
		{"bye", []announcement{say(eventHello, 5, 0), say(eventBye, 5, 1)}, false, []int64{5}, false},
		{"bye of one who was not there", []announcement{say(eventBye, 5, 1)}, false, nil, false},
		{"a straggler after the bye", []announcement{say(eventHello, 5, 0), say(eventBye, 5, 2), say(eventBeat, 5, 1)}, false, []int64{5}, false},
		{"a straggler after the bye of one who was not there", []announcement{say(eventBye, 5, 2), say(eventBeat, 5, 1)}, false, nil, false},
		{"a new process after the bye", []announcement{say(eventHello, 5, 0), say(eventBye, 5, 2), say(eventHello, 6, 0)}, true, []int64{5}, false},
		{"bye of another one", []announcement{say(eventHello, 5, 0), say(eventBye, 6, 9)}, true, nil, false},
		{"started again", []announcement{say(eventHello, 5, 9), say(eventHello, 6, 0)}, true, []int64{5}, false},
		{"started again with a smaller boot id", []announcement{say(eventHello, 5, 0), say(eventBeat, 4, 9)}, true, []int64{5}, false},
		{"twins", []announcement{say(eventHello, 5, 0), say(eventHello, 6, 0), say(eventBeat, 5, 1)}, true, []int64{5}, true},
		{"twins that are both heard again", []announcement{say(eventHello, 5, 0), say(eventHello, 6, 0), say(eventBeat, 5, 1), say(eventBeat, 6, 1)}, true, []int64{5}, true},
		{"three processes of one name", []announcement{say(eventHello, 5, 0), say(eventHello, 6, 0), say(eventHello, 7, 0), say(eventBeat, 5, 1), say(eventBeat, 6, 1), say(eventBeat, 7, 1), say(eventBeat, 5, 2)}, true, []int64{5, 6}, true},
		{"a predecessor that leaves", []announcement{say(eventHello, 5, 0), say(eventHello, 6, 0), draining, say(eventBye, 5, 2)}, true, []int64{5}, false},
		{"a straggler after a change", []announcement{say(eventChange, 5, 3), say(eventBeat, 5, 2)}, true, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := table{most: 100}
			var gone []int64
			twin := false
			for _, a := range c.say {
				h := table.hear(a, at(0))
				twin = twin || h.twin
				for _, d := range h.gone {
					gone = append(gone, d.epoch)
				}
			}
			if got := len(table.on("t")) == 1; got != c.present || !slices.Equal(gone, c.gone) || twin != c.twin {
				t.Errorf("present: %v, gone: %v, twin: %v; want %v, %v, %v", got, gone, twin, c.present, c.gone, c.twin)
			}
		})
	}
}

// A node that falls silent is remembered for a while, and then forgotten.
func TestTableOfThoseWhoAreSilent(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(1000+int64(seconds), 0) }
	table := table{forget: 10 * time.Second, most: 100}
	seq := uint64(0)
	say := func(node string, beatMS int64, now time.Time) heard {
		seq++
		return table.hear(announcement{Node: node, Topic: "t", Event: eventBeat, Epoch: 5, Seq: seq, BeatMS: beatMS}, now)
	}
	say("n", 1000, at(0))
	say("m", 0, at(0))
	if gone, next := table.expire(at(2), nil); gone != nil || next != at(3) {
		t.Errorf("after two beats: gone %v, next at %v", gone, next)
	}
	table.excuse(at(2))
	if gone, next := table.expire(at(3), nil); gone != nil || next != at(5) {
		t.Errorf("after an excuse: gone %v, next at %v", gone, next)
	}
	gone, next := table.expire(at(5), nil)
	if len(gone) != 1 || gone[0].node != "n" || !errors.Is(gone[0].why, dispatch.ErrGone) || !strings.Contains(gone[0].why.Error(), "n was last heard 5 s ago") || next != at(2).Add(3*DefaultBeat) {
		t.Errorf("after three beats: gone %v, next at %v", gone, next)
	}
	if on := table.on("t"); len(on) != 2 || on[1].left == nil || on[0].left != nil || table.here() != 1 {
		t.Errorf("on the topic are %v", on)
	}
	if gone, _ := table.expire(at(6), nil); gone != nil {
		t.Errorf("gone again: %v", gone)
	}
	if h := say("n", 1000, at(7)); !h.arrived || !h.changed || h.gone != nil || table.here() != 2 {
		t.Errorf("back again: %+v", h)
	}
	say("m", 0, at(9))
	table.expire(at(10), nil)
	if table.expire(at(17), nil); len(table.on("t")) != 1 {
		t.Errorf("remembered for longer than it should be: %v", table.on("t"))
	}
}

// An announcement that somebody repeats keeps no node present, and does not bring one back.
func TestTableIgnoresRepeatedAnnouncements(t *testing.T) {
	table := table{forget: time.Hour, most: 100}
	say := func(seq uint64, now time.Time) heard {
		return table.hear(announcement{Node: "n", Topic: "t", Event: eventBeat, Epoch: 5, Seq: seq, BeatMS: 1000}, now)
	}
	say(7, second(0))
	for _, seq := range []uint64{7, 6} {
		say(seq, second(2))
	}
	if gone, _ := table.expire(second(3), nil); len(gone) != 1 {
		t.Errorf("after three beats: gone %v", gone)
	}
	for _, seq := range []uint64{7, 6} {
		if h := say(seq, second(4)); h.arrived || table.here() != 0 {
			t.Errorf("announcement %d has brought the node back: %+v", seq, h)
		}
	}
	if h := say(8, second(5)); !h.arrived || table.here() != 1 {
		t.Errorf("a new announcement: %+v", h)
	}
}

// If all nodes fall silent together, the asker is cut off.
func TestTableOfThoseWhoAreSilentTogether(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(1000+int64(seconds), 0) }
	for _, c := range []struct {
		name  string
		heard map[place]int // when each node was last heard, in seconds
		cut   error         // why the asker is cut off; nil: this is not known
		want  error
		left  int
	}{
		{"one of two", map[place]int{{"t", "a"}: 0, {"t", "b"}: 3}, nil, dispatch.ErrGone, 1},
		{"both", map[place]int{{"t", "a"}: 0, {"t", "b"}: 1}, nil, dispatch.ErrUnreachable, 2},
		{"one on two topics", map[place]int{{"t", "a"}: 0, {"u", "a"}: 0}, nil, dispatch.ErrGone, 2},
		{"a dead connection", map[place]int{{"t", "a"}: 0, {"t", "b"}: 3}, errClosedConnection, dispatch.ErrUnreachable, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := table{forget: time.Hour, most: 100}
			for p, when := range c.heard {
				table.hear(announcement{Node: p.node, Topic: p.topic, Event: eventBeat, Epoch: 5, BeatMS: 1000}, at(when))
			}
			gone, _ := table.expire(at(3), c.cut)
			if len(gone) != c.left || table.here() != len(c.heard)-c.left {
				t.Errorf("%d have left: %v; want %d", len(gone), gone, c.left)
			}
			for _, d := range gone {
				if !errors.Is(d.why, c.want) {
					t.Errorf("%s: %v, want %v", d.node, d.why, c.want)
				}
			}
		})
	}
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0 ms", 70 * time.Millisecond: "70 ms", 7400 * time.Millisecond: "7 s", 119 * time.Second: "119 s", 5 * time.Minute: "5 min"} {
		if got := ago(d); got != want {
			t.Errorf("%v is written as %q, want %q", d, got, want)
		}
	}
}

func TestWhatWasRefused(t *testing.T) {
	for text, want := range map[string]refused{
		`nats: permissions violation: Permissions Violation for Subscription to "a.b"`:                 {"a.b", false},
		`nats: permissions violation: Permissions Violation for Subscription to "a.b" using queue "q"`: {"a.b", false},
		`nats: permissions violation: Permissions Violation for Publish to "a"`:                        {"a", true},
	} {
		if got, ok := whatWasRefused(errors.New(text)); !ok || got != want {
			t.Errorf("%s is read as %+v", text, got)
		}
	}
	if what, ok := whatWasRefused(errors.New("nats: maximum subscriptions exceeded")); ok {
		t.Errorf("it has no subject, and is read as %+v", what)
	}
}

func TestAnnouncementOfABadNode(t *testing.T) {
	for _, body := range []string{
		"", "{}", "[]", `{"node":"n","topic":"t"}`, `{"node":"n","topic":"t","epoch":-1}`, `{"node":"","topic":"t","epoch":1}`,
		`{"node":"*","topic":"t","epoch":1}`, `{"node":"n","topic":"t u","epoch":1}`, `{"node":"n","topic":"` + strings.Repeat("t", longestTopic+1) + `","epoch":1}`,
	} {
		if a, err := parseAnnouncement([]byte(body)); err == nil {
			t.Errorf("%s is read as %+v", body, a)
		}
	}
	for ms, want := range map[int64]time.Duration{0: 3 * DefaultBeat, -1: 3 * DefaultBeat, 10: 30 * time.Millisecond, 1 << 40: 3 * time.Hour, math.MaxInt64: 3 * time.Hour} {
		a := announcement{BeatMS: ms}
		if got := a.patience(); got != want {
			t.Errorf("a beat every %d ms: patience %v, want %v", ms, got, want)
		}
	}
}

// The times in messages are numbers of other programs, and need not be Durations.
func TestTimesOfOtherProgramsAreBounded(t *testing.T) {
	for n, want := range map[int64]time.Duration{
		math.MinInt64: 0, -1: 0, 0: 0, 7: 7 * time.Millisecond, 10_001: 10 * time.Second, math.MaxInt64: 10 * time.Second,
		math.MaxInt64/1_000_000 + 1: 10 * time.Second, 1 << 44: 10 * time.Second,
	} {
		if got := inUnits(n, time.Millisecond, 10*time.Second); got != want {
			t.Errorf("%d ms are %v, want %v", n, got, want)
		}
	}
	for budget, want := range map[string]time.Duration{"-9223372036854775808": 0, "-9223372036854776": 0, "9223372036854775807": 4611686018427387000} {
		h := nats.Header{headerVersion: {"1"}, headerCall: {"c"}, headerCodec: {"json"}, headerBudget: {budget}}
		if r, err := parseRequest(h); err != nil || r.budget != want {
			t.Errorf("a budget of %s µs is %d ns, %v; want %d", budget, r.budget, err, want)
		}
	}
}

// earBook is an ear that records what it is told.
type earBook struct {
	lines []string
	known map[dispatch.Member]bool
	deaf  bool // it cannot read results
}

func (e *earBook) expect(m dispatch.Member) { e.lines = append(e.lines, "expect "+m.String()) }

func (e *earBook) accept(expected dispatch.Member, members []dispatch.Member) {
	if expected != (dispatch.Member{}) {
		e.lines = append(e.lines, "accept "+expected.String())
	}
	for i, m := range members {
		if e.known[m] {
			members[i] = dispatch.Member{}
			continue
		}
		e.known[m] = true
		e.lines = append(e.lines, "name "+m.String())
	}
}

func (e *earBook) result(m dispatch.Member, value []byte) error {
	if e.deaf {
		return errors.New("unreadable")
	}
	e.lines = append(e.lines, fmt.Sprintf("result %v %s", m, value))
	return nil
}

func (e *earBook) flush() {}

func (e *earBook) all(expected dispatch.Member, members []dispatch.Member, array []byte) error {
	var values []json.RawMessage
	if err := json.Unmarshal(array, &values); err != nil || e.deaf || len(values) != len(members) {
		return errors.New("unreadable")
	}
	e.accept(expected, members)
	for i, m := range members {
		if m != (dispatch.Member{}) {
			e.lines = append(e.lines, fmt.Sprintf("result %v %s", m, values[i]), "end "+m.String()+" ok")
		}
	}
	return nil
}

func (e *earBook) end(m dispatch.Member, err error) {
	line := "end " + m.String()
	for _, is := range []error{dispatch.ErrLost, dispatch.ErrGone, dispatch.ErrIncompatible, ErrTooLarge, dispatch.ErrOverloaded} {
		if errors.Is(err, is) {
			line += " " + codeOf(is)
		}
	}
	if errors.Is(err, dispatch.ErrDecline) {
		line += " declined" // ErrDecline has no code, because the state is enough
	}
	if err == nil {
		line += " ok"
	}
	e.lines = append(e.lines, line)
}

// The end of the connection is an event of each request of an inquiry. Each of them ends the whole inquiry, and a
// group ends once.
func TestGroupEndsOnceIfAnInquiryFailsTwice(t *testing.T) {
	book := new(earBook)
	q := &inquiry{to: book, waiting: 1}
	q.asks = []*asked{{by: q, request: request{group: "g"}, waits: true, expected: dispatch.Member{Node: anybody, Group: "g"}}}
	for range 2 {
		q.fail(errClosedConnection)
	}
	if want := []string{"end */g"}; !slices.Equal(book.lines, want) || q.waiting != 0 {
		t.Errorf("%q, and %d are waited for; want %q, and none", book.lines, q.waiting, want)
	}
}

func TestTally(t *testing.T) {
	type message struct {
		seq  uint64
		body string
	}
	for _, c := range []struct {
		name     string
		say      []message
		after    func(*tally)
		want     []string
		resolved bool
		deaf     bool
		expected bool
	}{
		{
			name: "all in one message", say: []message{{0, "accept a b\nresult 0 1 1\nx\nend 0 1 ok\nend 1 0 ok\nfinal 2 1\n"}},
			want: []string{"name n/a", "name n/b", "result n/a x", "end n/a ok", "end n/b ok"}, resolved: true,
		},
		{
			name: "an end that comes before its result", say: []message{{0, "accept a\nend 0 1 ok\n"}, {1, "result 0 1 1\nx\n"}},
			want: []string{"name n/a", "result n/a x", "end n/a ok"},
		},
		{
			name: "members that become known later", say: []message{{0, "accept a\n"}, {1, "accept far/g/b\nend 1 0 ok\n"}},
			want: []string{"name n/a", "name far/g/b", "end far/g/b ok"},
		},
		{
			name: "a member named twice", say: []message{{0, "accept a a\nresult 1 1 1\nx\nend 1 1 ok\nend 0 0 ok\nfinal 2 1\n"}},
			want: []string{"name n/a", "end n/a ok"}, resolved: true,
		},
		{
			name: "a message twice", say: []message{{0, "accept a\nresult 0 1 1\nx\n"}, {0, "accept a\nresult 0 1 1\nx\n"}},
			want: []string{"name n/a", "result n/a x"},
		},
		{
			name: "a second end", say: []message{{0, "accept a\nend 0 1 ok\nend 0 0 declined - \"no\"\n"}},
			want: []string{"name n/a", "end n/a declined"},
		},
		{
			name: "a result after the end", say: []message{{0, "accept a\nend 0 0 ok\nresult 0 1 1\nx\nend 0 1 ok\n"}},
			want: []string{"name n/a", "end n/a ok"},
		},
		{
			name: "results lost", say: []message{{0, "accept a\nresult 0 1 1\nx\nend 0 3 ok\n"}, {2, "final 1 3\n"}},
			want: []string{"name n/a", "result n/a x", "end n/a lost"}, resolved: true,
		},
		{
			name: "the names lost", say: []message{{1, "final 2 0\n"}},
			want: []string{"name n/*", "end n/* lost"}, resolved: true,
		},
		{
			name: "late", say: []message{{0, "accept a b\nend 0 0 late deadline \"\"\nend 1 0 ok\nfinal 2 0\n"}},
			want: []string{"name n/a", "name n/b", "end n/b ok"},
		},
		{
			name: "late, and then in time after all", say: []message{{0, "accept a\nend 0 0 late deadline \"\"\nend 0 0 ok\nfinal 1 0\n"}},
			want: []string{"name n/a", "end n/a ok"}, resolved: true,
		},
		{
			name: "a reject", say: []message{{0, "reject rejected overloaded \"full\"\n"}, {1, "accept a\n"}},
			want: []string{"name n/*", "end n/* overloaded"}, resolved: true,
		},
		{
			name: "a reject after an accept", say: []message{{0, "accept a\nreject rejected overloaded \"full\"\nend 0 0 ok\n"}},
			want: []string{"name n/a", "end n/a ok"},
		},
		{
			name: "pieces", say: []message{{0, "accept a\npart 0 2\nab\n"}, {1, "part 0 2\ncd\nresult 0 1 5\ne\n"}},
			want: []string{"name n/a", "result n/a abcde"},
		},
		{
			name: "pieces of two values that add up to one", say: []message{{0, "accept a\npart 0 2\nab\n"}, {2, "result 0 1 3\nz\nend 0 2 ok\nfinal 1 2\n"}},
			want: []string{"name n/a", "end n/a lost"}, resolved: true,
		},
		{
			name: "a value that is too large", say: []message{{0, "accept a\nresult 0 11 11\n01234567890\nend 0 1 ok\n"}},
			want: []string{"name n/a", "end n/a too-large"},
		},
		{
			name: "pieces that are too large", say: []message{{0, "accept a\npart 0 6\n012345\npart 0 6\n012345\nresult 0 0 12\n\n"}},
			want: []string{"name n/a", "end n/a too-large"},
		},
		{
			name: "a value that cannot be read", deaf: true, say: []message{{0, "accept a\nresult 0 1 1\nx\nend 0 1 ok\n"}},
			want: []string{"name n/a", "end n/a incompatible"},
		},
		{
			name: "all of version 2", expected: true, say: []message{{0, "all 5 a b\n[1,2]\n"}},
			want: []string{"accept n/*", "name n/a", "name n/b", "result n/a 1", "end n/a ok", "result n/b 2", "end n/b ok"}, resolved: true,
		},
		{
			name: "all, of which a value is too large", say: []message{{0, "all 15 a b\n[1,22222222222]\n"}},
			want: []string{"name n/a", "name n/b", "result n/a 1", "end n/a ok", "end n/b too-large"}, resolved: true,
		},
		{
			name: "all, which cannot be read", deaf: true, say: []message{{0, "all 5 a b\n[1,2]\n"}},
			want: []string{"name n/a", "name n/b", "end n/a incompatible", "end n/b incompatible"}, resolved: true,
		},
		{
			name: "all of too many", say: []message{{0, "all 13 a b c d e f\n[1,1,1,1,1,1]\n"}},
			want: []string{
				"name n/a", "name n/b", "name n/c", "name n/d", "name n/e",
				"result n/a 1", "end n/a ok", "result n/b 1", "end n/b ok", "result n/c 1", "end n/c ok", "result n/d 1", "end n/d ok", "result n/e 1", "end n/e ok",
				"name n/*", "end n/* too-large",
			}, resolved: true,
		},
		{
			name: "what is missing is forgotten", say: []message{{0, "accept a b\nend 1 0 ok\n"}, {1, "forgotten\n"}},
			want: []string{"name n/a", "name n/b", "end n/b ok", "end n/a lost"}, resolved: true,
		},
		{
			name: "gone before the accept", after: func(t *tally) { t.fail(dispatch.ErrGone) },
			want: []string{"name n/*", "end n/* gone"}, resolved: true,
		},
		{
			name: "members that replace the expected one", expected: true, say: []message{{0, "accept a\n"}, {1, "accept b\n"}},
			want: []string{"accept n/*", "name n/a", "name n/b"},
		},
		{
			name: "no member", expected: true, say: []message{{0, "accept\nfinal 0 0\n"}},
			want: []string{"accept n/*"}, resolved: true,
		},
		{
			name: "no member, and the accept is lost", expected: true, say: []message{{1, "final 0 0\n"}},
			want: []string{"accept n/*"}, resolved: true,
		},
		{
			name: "the names of the expected one lost", expected: true, say: []message{{1, "final 2 0\n"}},
			want: []string{"end n/* lost"}, resolved: true,
		},
		{
			name: "some of the names lost", expected: true, say: []message{{0, "accept a\n"}, {2, "end 0 0 ok\nfinal 2 0\n"}},
			want: []string{"accept n/*", "name n/a", "end n/a ok", "name n/*", "end n/* lost"}, resolved: true,
		},
		{
			name: "a reject of the expected one", expected: true, say: []message{{0, "reject rejected overloaded \"full\"\n"}},
			want: []string{"end n/* overloaded"}, resolved: true,
		},
		{
			name: "gone after it", say: []message{{0, "accept a b c\nend 0 0 ok\nend 1 0 late - \"\"\n"}}, after: func(t *tally) { t.fail(dispatch.ErrGone); t.fail(dispatch.ErrGone) },
			want: []string{"name n/a", "name n/b", "name n/c", "end n/a ok", "end n/b gone", "end n/c gone"}, resolved: true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			book := &earBook{known: make(map[dispatch.Member]bool), deaf: c.deaf}
			tally := &tally{node: "n", standIn: dispatch.Member{Node: "n", Name: anybody}, limit: 10, most: 5, to: book}
			if c.expected {
				tally.expected = tally.standIn
			}
			for _, h := range c.say {
				if _, err := tally.hear(h.seq, []byte(h.body)); err != nil {
					t.Errorf("message %d: %v", h.seq, err)
				}
			}
			if c.after != nil {
				c.after(tally)
			}
			if !slices.Equal(book.lines, c.want) || tally.resolved() != c.resolved {
				t.Errorf("told %q, resolved: %v; want %q, %v", book.lines, tally.resolved(), c.want, c.resolved)
			}
		})
	}
}

func TestOnward(t *testing.T) {
	first, err := onward(t.Context(), "t", "a", []string{"m"})
	if err != nil || first.hops != 1 || !slices.Equal(first.path, []string{"a"}) || !slices.Equal(first.targets, []string{"m"}) {
		t.Errorf("the first hop is %+v, %v", first, err)
	}
	second, err := onward(withRoute(t.Context(), first), "t", "b", nil)
	if err != nil || second.hops != 2 || !slices.Equal(second.path, []string{"a", "b"}) || !slices.Equal(second.targets, []string{"m"}) {
		t.Errorf("the second hop is %+v, %v; want it to go on", second, err)
	}
	other, err := onward(withRoute(t.Context(), first), "u", "b", nil)
	if err != nil || other.hops != 2 || !slices.Equal(other.path, []string{"b"}) || other.targets != nil {
		t.Errorf("another topic begins with %+v, %v; want a path of its own", other, err)
	}
	if _, err := onward(withRoute(t.Context(), route{hops: mostHops}), "t", "b", nil); !errors.Is(err, dispatch.ErrTooDeep) {
		t.Errorf("after %d hops: %v, want %v", mostHops, err, dispatch.ErrTooDeep)
	}
}

// An error that was sent over the wire ends a member in the state that the member had on the node,
// and errors.Is reaches the more precise of two sentinels.
func TestErrorsKeepTheirStates(t *testing.T) {
	topic := dispatch.NewTopic[string, string]("t")
	for _, c := range []struct {
		failure failure
		is      error
		kind    string
	}{
		{failure{dispatch.StateRejected, "queue-full", "x"}, dispatch.ErrQueueFull, "queue_full"},
		{failure{dispatch.StateRejected, "overloaded", "x"}, dispatch.ErrOverloaded, "overloaded"},
		{failure{dispatch.StateGone, "removed", "x"}, dispatch.ErrRemoved, "removed"},
		{failure{dispatch.StateGone, noCode, "x"}, dispatch.ErrGone, "gone"},
		{failure{dispatch.StateDeclined, noCode, "x"}, dispatch.ErrDecline, "declined"},
		{failure{dispatch.StateFailed, "goexit", "x"}, dispatch.ErrGoexit, "goexit"},
		{failure{dispatch.StateFailed, "too-large", "x"}, ErrTooLarge, ""},
		{failure{dispatch.StatePanicked, noCode, "x"}, nil, "panic"},
		{failure{dispatch.StateFailed, "gone", "x"}, nil, ""},
		{failure{dispatch.StateFailed, "overloaded", "x"}, nil, ""},
		{failure{dispatch.StateFailed, "closed", "x"}, nil, ""},
		{failure{dispatch.StateFailed, "timeout", "x"}, nil, ""},
		{failure{dispatch.StateLate, "timeout", "x"}, dispatch.ErrTimeout, "timeout"},
	} {
		d := dispatch.New[string, string]()
		m, err := dispatch.Member{Node: "n", Name: "a"}, c.failure.error("n")
		if _, err := d.AddRelay(topic, func(_ context.Context, _ string, to *dispatch.Roster[string]) error {
			to.Name(m)
			to.End(m, err)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		call, sendErr := d.Send(t.Context(), topic, "")
		if sendErr != nil {
			t.Fatal(sendErr)
		}
		<-call.Done()
		kind := ""
		if typed, ok := errors.AsType[interface {
			error
			ErrorType() string
		}](err); ok {
			kind = typed.ErrorType()
		}
		o := call.Report().Outcomes[0]
		if o.State != c.failure.state || c.is != nil && !errors.Is(o.Err, c.is) || kind != c.kind {
			t.Errorf("%+v ends as %v of type %q with %#v", c.failure, o.State, kind, o.Err)
		}
		for _, other := range []error{dispatch.ErrGone, dispatch.ErrOverloaded, dispatch.ErrClosed, dispatch.ErrTimeout} {
			if c.is == nil && errors.Is(err, other) {
				t.Errorf("%+v leads to what has ended somebody else", c.failure)
			}
		}
	}
}

func TestFingerprint(t *testing.T) {
	type reading struct {
		Volts float64
		Pin   string `json:"pin"`
		note  string
	}
	type elsewhere struct {
		Volts float64
		P     string `json:"pin"`
	}
	type other struct {
		Volts float32
		Pin   string `json:"pin"`
	}
	type list struct {
		Next *list
		At   time.Time
	}
	_ = reading{note: ""}
	fingerprint := Fingerprint[string, reading]()
	if fingerprint != "37b5d762f5611b63" { // it is on the wire, where programs of different versions compare it
		t.Errorf("fingerprint %q", fingerprint)
	}
	if got := Fingerprint[string, elsewhere](); got != fingerprint {
		t.Error("types of the same structure have different fingerprints")
	}
	distinct := map[string]string{}
	for what, f := range map[string]string{
		"reading": fingerprint, "other field": Fingerprint[string, other](), "other way round": Fingerprint[reading, string](),
		"pointer": Fingerprint[string, *reading](), "slice": Fingerprint[string, []reading](), "array": Fingerprint[string, [3]reading](),
		"map": Fingerprint[string, map[string]reading](), "list": Fingerprint[string, list](), "time": Fingerprint[string, time.Time](),
		"any": Fingerprint[string, any](), "embedded pin": Fingerprint[string, struct{ Pin }](), "embedded net": Fingerprint[string, struct{ Net }](),
		"big": Fingerprint[string, big.Int](), "pointer to big": Fingerprint[string, *big.Int](),
	} {
		if same := distinct[f]; same != "" {
			t.Errorf("%s and %s have the same fingerprint", what, same)
		}
		distinct[f] = what
	}
}

// Pin and Net can be embedded. JSON writes them as fields with these names.
type (
	Pin string
	Net string
	net string
)

// The structure of types is that of package encoding/json: an embedded field that is no struct has the name of its
// type, and is left out if it is not exported. Of a type that writes itself, the whole path of the package counts.
func TestStructureOfTypes(t *testing.T) {
	for _, c := range []struct {
		of   reflect.Type
		want string
	}{
		{reflect.TypeFor[struct{ Pin }](), "{Pin string;}"},
		{reflect.TypeFor[struct{ *Pin }](), "{Pin *string;}"},
		{reflect.TypeFor[struct {
			net
			Pin `json:"pin"`
		}](), "{pin string;}"},
		{reflect.TypeFor[struct{ *ring }](), "{+ *{Next ^2;};}"},
		{reflect.TypeFor[big.Int](), "math/big.big.Int"},
		{reflect.TypeFor[*big.Int](), "*math/big.big.Int"},
		{reflect.TypeFor[[]*time.Time](), "[]*time.time.Time"},
	} {
		var d description
		if d.add(c.of); d.String() != c.want {
			t.Errorf("the structure of %v is %s, want %s", c.of, &d, c.want)
		}
	}
}

type ring struct{ Next *ring }

// The byes that the table remembers are bounded. Old ones give way to new ones.
func TestTableOfByes(t *testing.T) {
	table := table{most: 100}
	say := func(node int, event string, seq uint64, at time.Duration) heard {
		return table.hear(announcement{Node: fmt.Sprint(node), Topic: "t", Event: event, Epoch: 5, Seq: seq}, time.Unix(1000, 0).Add(at))
	}
	for i := range mostByes + 1 {
		say(i, eventBye, 2, 0)
	}
	if n := len(table.byes); n != mostByes {
		t.Errorf("%d byes are remembered", n)
	}
	if h := say(mostByes, eventBeat, 1, 0); !h.arrived {
		t.Error("a bye is remembered for which there was no room")
	}
	say(mostByes, eventBye, 2, straggles)
	if h := say(mostByes, eventBeat, 1, straggles); h.arrived || len(table.byes) != 1 {
		t.Errorf("the straggler has arrived: %v; %d byes are remembered", h.arrived, len(table.byes))
	}
}
