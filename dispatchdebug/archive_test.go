package dispatchdebug

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// end adds a call with this duration and these members to the archive.
func (a *archive) end(id int, topic string, took time.Duration, rows ...row) *record {
	r := &record{id: dispatch.CallID(id), topic: topic, started: time.Unix(0, 0), elapsed: took, ended: true, rows: rows}
	a.mu.Lock()
	defer a.mu.Unlock()
	t, late, failed := a.addLocked(r)
	r.settle()
	a.keepLocked(r, t, late, failed)
	return r
}

func member(name string, s dispatch.State) row {
	return row{member: dispatch.Member{Name: name}, state: s, started: 0, ended: time.Millisecond, returned: unknown}
}

func newTestArchive(perBucket, bytes int) *archive {
	return newArchive(perBucket, bytes, time.Unix(0, 0))
}

func TestQuickCallsDoNotPushOutOthers(t *testing.T) {
	a := newTestArchive(3, leastBytes)
	a.end(1, "t", 2*time.Second, member("a", dispatch.StateOK))
	a.end(2, "t", time.Millisecond, member("a", dispatch.StateFailed))
	a.end(3, "t", time.Millisecond, member("a", dispatch.StateLate))
	for i := range 1000 {
		a.end(10+i, "t", 20*time.Microsecond, member("a", dispatch.StateOK))
	}
	for _, id := range []dispatch.CallID{1, 2, 3, 1007, 1008, 1009} {
		if a.records[id] == nil {
			t.Errorf("call %d is gone", id)
		}
	}
	if len(a.records) != 6 || a.letGo != 997 {
		t.Errorf("%d calls are kept and %d let go of, want 6 and 997", len(a.records), a.letGo)
	}
	if got := a.topics["t"].counts; got != [buckets]uint64{0: 1000, 1: 2, 4: 1, bucketLate: 1, bucketFailed: 1} {
		t.Errorf("counts: %v", got)
	}
}

func TestBytesAreBounded(t *testing.T) {
	a := newTestArchive(1000, leastBytes)
	a.end(1, "slow", 2*time.Second, member("a", dispatch.StateOK))
	w := member("a", dispatch.StateFailed)
	w.err = strings.Repeat("e", mostError)
	for i := range 5000 {
		a.end(10+i, fmt.Sprint("topic-", i%7), 20*time.Microsecond, w)
		if a.bytes+a.figures > leastBytes {
			t.Fatalf("%d bytes are kept after %d calls", a.bytes, i)
		}
	}
	if a.records[1] == nil {
		t.Error("a slow call went before the quick ones")
	}
	n := 0
	for _, r := range a.records {
		n += r.bytes
	}
	if n != a.bytes || n < leastBytes/2 {
		t.Errorf("%d bytes are counted and %d kept", a.bytes, n)
	}
	// The bound also holds if one call alone needs more bytes.
	big := make([]row, mostRows)
	for i := range big {
		big[i] = member(fmt.Sprint(i, strings.Repeat("n", mostName)), dispatch.StateFailed)
		big[i].err = strings.Repeat("e", 10*mostError)
	}
	a.end(3, "big", time.Minute, big...)
	if a.bytes > leastBytes {
		t.Errorf("%d bytes are kept", a.bytes)
	}
}

func TestRecordsThatGrowStayWithinTheBytes(t *testing.T) {
	a := newTestArchive(10, leastBytes)
	r := a.end(1, "t", time.Second, member("a", dispatch.StateOK))
	a.mu.Lock()
	defer a.mu.Unlock()
	r.rows[0].summary = strings.Repeat("s", 1000)
	before := a.bytes
	if a.grownLocked(r); a.bytes != before+1000 {
		t.Errorf("%d bytes more, want 1000", a.bytes-before)
	}
	r.rows[0].summary = strings.Repeat("s", leastBytes)
	if a.grownLocked(r); a.bytes != 0 || len(a.records) != 0 {
		t.Errorf("%d bytes are kept in %d calls", a.bytes, len(a.records))
	}
}

// Figures are within the bytes, too. The figures that were unused for longest are dropped.
func TestFiguresAreBounded(t *testing.T) {
	a := newTestArchive(1, leastBytes)
	a.end(1, "first", time.Microsecond)
	a.end(2, "second", time.Microsecond)
	for i := range 3000 {
		a.end(10+2*i, fmt.Sprint("topic-", i), time.Microsecond, member("a", dispatch.StateOK))
		a.end(11+2*i, "first", time.Microsecond, member("b", dispatch.StateOK))
		if a.bytes+a.figures > leastBytes || a.figures > leastBytes/2 {
			t.Fatalf("%d bytes of calls and %d of figures are kept", a.bytes, a.figures)
		}
	}
	if a.topics["second"] != nil || a.topics["first"] == nil || a.topics["topic-2999"] == nil {
		t.Error("the topic that was used least recently is not the one that went")
	}
	if a.figures < leastBytes/4 {
		t.Errorf("figures take %d bytes: there is room for more", a.figures)
	}
	for i := range 3 * mostMembersOfTopic {
		a.end(1_000_000+i, "busy", time.Microsecond, member(fmt.Sprint("m", i), dispatch.StateOK))
	}
	if n := len(a.topics["busy"].members); n > mostMembersOfTopic || n < 100 {
		t.Errorf("%d members of a topic", n)
	}
	if a.topics["busy"].members[dispatch.Member{Name: fmt.Sprint("m", 3*mostMembersOfTopic-1)}] == nil {
		t.Error("the newest member went")
	}
	members, figures := 0, 0
	for _, f := range a.topics {
		members += len(f.members)
		figures += f.bytes
	}
	if members != a.members || figures != a.figures || figures > leastBytes/2 {
		t.Errorf("%d members in %d bytes are counted, there are %d in %d", a.members, a.figures, members, figures)
	}
}

// A call that is pinned stays when it is in no bucket any more, and goes with its last pin.
func TestPinnedCallsStay(t *testing.T) {
	a := newTestArchive(1, leastBytes)
	hangs := member("a", dispatch.StateLate)
	hangs.neverReturned = true
	r := a.end(1, "t", time.Second, hangs)
	a.end(2, "t", time.Second, member("a", dispatch.StateLate))
	if a.records[1] == nil {
		t.Fatal("the call of a run that has not returned is gone")
	}
	a.mu.Lock()
	a.viewLocked(r.id)
	a.viewLocked(r.id)
	a.returnedLocked("t", dispatch.Member{Name: "a"}, 1)
	a.mu.Unlock()
	if a.records[1] == nil {
		t.Fatal("a call that is looked at is gone")
	}
	for i := range mostViewed {
		other := a.end(10+i, "t", time.Second, member("a", dispatch.StateOK))
		a.mu.Lock()
		a.viewLocked(other.id)
		a.mu.Unlock()
	}
	if a.records[1] != nil {
		t.Error("it stays for ever")
	}
	if a.pins != 0 {
		t.Errorf("%d pins are left", a.pins)
	}
	// Pins are within the bytes.
	big := hangs
	big.err = strings.Repeat("e", leastBytes/64)
	for i := range 200 {
		big.member.Name = fmt.Sprint("b", i)
		a.end(1000+i, "t", time.Second, big)
	}
	if a.bytes+a.figures > leastBytes {
		t.Errorf("%d bytes are kept", a.bytes+a.figures)
	}
}

func TestAMemberKnowsItsNewestRuns(t *testing.T) {
	a := newTestArchive(1, leastBytes)
	w := member("a", dispatch.StateFailed)
	w.err = "broken"
	a.end(1, "t", time.Second, w)
	for i := range 9 {
		a.end(2+i, "t", time.Second, member("a", dispatch.StateOK))
	}
	f := a.topics["t"].members[dispatch.Member{Name: "a"}]
	if f.runs != 10 || f.failedRuns != 1 || f.failed.count() != 1 || f.lastBadCall != 1 || f.lastCall != 10 || f.lastError != "broken" {
		t.Errorf("got %+v", f)
	}
	if a.totals != (totals{Calls: 10, Failed: 1}) {
		t.Errorf("got %+v", a.totals)
	}
}

func TestSettleKeepsThoseInTrouble(t *testing.T) {
	for _, hours := range []time.Duration{0, 2 * time.Hour} {
		testSettle(t, hours)
	}
}

func testSettle(t *testing.T, hours time.Duration) {
	r := new(record)
	for i := range 2 * mostRows {
		w := member(fmt.Sprint(i), dispatch.StateOK)
		switch i {
		case 5, 399:
			w.state = dispatch.StateLate
		case 7:
			w.ended = time.Minute
		default:
			w.ended += hours
		}
		r.rows = append(r.rows, w)
	}
	r.settle()
	if len(r.rows) != mostRows || r.left != mostRows {
		t.Fatalf("%d rows, %d left out", len(r.rows), r.left)
	}
	last := -1
	found := map[string]bool{}
	for _, w := range r.rows {
		var n int
		if _, err := fmt.Sscan(w.member.Name, &n); err != nil || n <= last {
			t.Errorf("%q comes after %d", w.member.Name, last)
		}
		last = n
		found[w.member.Name] = true
	}
	for _, name := range []string{"5", "7", "399"} {
		if !found[name] && (name != "7" || hours == 0) {
			t.Errorf("%s is not kept", name)
		}
	}
}

// Every plain call is counted. One in ten milliseconds is kept, with its slowest members.
func TestPlainCallsAreCounted(t *testing.T) {
	const n, ms = mostRows + 100, time.Millisecond
	r := newRecorder(config{calls: 10, bytes: defaultBytes})
	end := func(id dispatch.CallID, at time.Duration, change func([]dispatch.Outcome)) {
		report := dispatch.Report{
			Call: id, Topic: "t", Reason: dispatch.ReasonAllEnded, Started: r.began.Add(at), Elapsed: 20 * ms, Budget: time.Second,
		}
		for i := range n {
			report.Outcomes = append(report.Outcomes, dispatch.Outcome{
				Member: dispatch.Member{Name: fmt.Sprint("m", i)}, State: dispatch.StateOK, Started: true, Results: 1, Began: ms, Elapsed: 2 * ms,
			})
		}
		for _, i := range []int{7, 250} {
			report.Outcomes[i].Elapsed = 20 * ms
		}
		if change != nil {
			change(report.Outcomes)
		}
		r.observer().CallEnd(t.Context(), report)
	}
	end(1, 0, nil)
	end(2, 5*ms, nil)
	end(3, 30*ms, nil)
	end(4, 35*ms, func(o []dispatch.Outcome) { o[3].State, o[3].Err = dispatch.StateFailed, errors.New("broken") })
	end(5, 40*ms, nil)
	a := r.archive
	a.catchUp()
	if len(a.behind) > 0 || a.figures != a.topics["t"].bytes {
		t.Errorf("%d topics are behind, figures have %d bytes of %d", len(a.behind), a.figures, a.topics["t"].bytes)
	}
	kept := slices.Sorted(maps.Keys(a.records))
	want(t, "kept", fmt.Sprint(kept), "[1 3 4]")
	want(t, "calls", a.topics["t"].calls, 5)
	for i := range n {
		f := a.topics["t"].members[dispatch.Member{Name: fmt.Sprint("m", i)}]
		took := ms
		if i == 7 || i == 250 {
			took = 19 * ms
		}
		if got := f.took.quantile(0.5).took; f.runs != 5 || got != took || f.bytes < memberBytes+f.took.bytes() {
			t.Fatalf("member %d: %d runs of %v, %d bytes", i, f.runs, got, f.bytes)
		}
	}
	plain := a.records[3]
	want(t, "rows and others of a plain call", fmt.Sprint(len(plain.rows), plain.left), fmt.Sprint(mostRows, 100))
	names := make([]string, 0, mostRows)
	for _, w := range plain.rows {
		names = append(names, w.member.Name)
	}
	if !slices.Contains(names, "m7") || !slices.Contains(names, "m250") || names[0] != "m0" {
		t.Errorf("the slowest are not there, in order: %v", names)
	}
	if a.topics["t"].members[dispatch.Member{Name: "m3"}].failedRuns != 1 {
		t.Error("the failure is not counted")
	}
}

// What is last of a member is that of its newest run, also if its call is not kept.
func TestTheLastRunIsTheNewest(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("declines", after(0, "", dispatch.ErrDecline))
		took, err := 3*time.Millisecond, errors.New("probe is open")
		b.add("site", func(ctx context.Context, s string) (string, error) { return after(took, "", err)(ctx, s) })
		b.call()
		took, err = 5*time.Millisecond, nil
		id := b.call() // soon after the failure, so it is not kept
		time.Sleep(time.Minute)
		if b.data("call=" + id.String()).Call.Known {
			t.Error("the call is kept")
		}
		for i, is := range []string{"declined 0s 2", "ok 5ms 2"} {
			m := b.data("topic=cell.measure").Topic.Members[i]
			want(t, m.Name, fmt.Sprint(m.LastState, " ", m.Last, " ", m.LastCall), is)
		}
	})
}

// A late member of another process keeps no call, because nothing tells of its return. So there is room for the calls
// of runs here.
func TestCallsAreKeptForRunsHere(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.relay("relay", func(ctx context.Context, _ string, to *dispatch.Roster[string]) error {
			for i := range mostPins {
				to.Name(dispatch.Member{Node: "cell-7", Name: fmt.Sprint("site-", i)})
			}
			<-ctx.Done()
			return nil
		})
		b.call()
		b.add("hangs", deaf(30*time.Minute))
		id := b.call(dispatch.WithTargets("hangs"))
		for range 2 * defaultCalls {
			b.call(dispatch.WithTargets("cell-7/*"))
		}
		if !b.data("call=" + id.String()).Call.Known {
			t.Error("the call of a run that has not returned is not kept")
		}
	})
}

// Plain calls are frequent, so counting them makes no garbage.
func TestPlainCallsAllocateNothing(t *testing.T) {
	r := newRecorder(config{calls: 10, bytes: defaultBytes})
	hook := r.observer().CallEnd
	reports := make([]dispatch.Report, 2) // of two topics
	for i := range reports {
		reports[i] = dispatch.Report{
			Topic: fmt.Sprint("t", i), Reason: dispatch.ReasonAllEnded, Started: r.began, Elapsed: time.Millisecond, Budget: time.Second,
			Outcomes: []dispatch.Outcome{{Member: dispatch.Member{Name: "m"}, State: dispatch.StateOK, Started: true, Results: 1, Elapsed: time.Millisecond}},
		}
	}
	ctx := t.Context()
	calls := func() {
		for range 10 * mostPlain {
			for i := range reports {
				reports[i].Call++
				hook(ctx, reports[i])
			}
		}
	}
	calls()
	if n := testing.AllocsPerRun(10, calls); n > 0 {
		t.Errorf("%v allocations for %d calls, want none", n, 2*10*mostPlain)
	}
	r.archive.catchUp()
	for i := range reports {
		if n := r.archive.topics[reports[i].Topic].calls; n != uint64(reports[i].Call) {
			t.Errorf("%d calls of topic %d are counted, want %d", n, i, reports[i].Call)
		}
	}
}

func TestFind(t *testing.T) {
	for _, n := range []int{10, 1000} {
		r := new(record)
		for i := range n {
			r.rowOf(dispatch.Member{Name: fmt.Sprint(i)}, i%2 == 1)
		}
		for _, step := range []int{1, n - 1, 7} { // in order, backwards, and in neither way
			for k := range n {
				i := k * step % n
				if w := r.find(dispatch.Member{Name: fmt.Sprint(i)}, i%2 == 1); w != &r.rows[i] {
					t.Fatalf("%d of %d is not found", i, n)
				}
			}
		}
		if r.find(dispatch.Member{Name: "0"}, true) != nil {
			t.Error("a replica is taken for a member")
		}
	}
}

// The bytes that are counted are those that there are, also after very many members that come and go.
func TestBytesOfForgottenMembersAreNotCounted(t *testing.T) {
	a := newTestArchive(1, leastBytes)
	for i := range 5 * mostMembersOfTopic {
		rows := []row{member(fmt.Sprint("pod-", i), dispatch.StateOK)}
		for k := range 20 {
			rows = append(rows, member(fmt.Sprint("site-", k), dispatch.StateOK))
		}
		a.end(1+i, "busy", time.Microsecond, rows...)
	}
	busy := a.topics["busy"]
	bytes := topicBytes + len("busy") + busy.took.bytes() + seatBytes*len(busy.seats)
	for m, f := range busy.members {
		bytes += f.bytes + len(m.Name)
	}
	if a.figures != bytes {
		t.Errorf("figures are counted as %d bytes, they take %d", a.figures, bytes)
	}
}
