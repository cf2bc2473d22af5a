package dispatchdebug

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestCallsAreSearched(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("quick", after(time.Millisecond, "", nil))
		ok := b.call()
		b.add("fails", after(30*time.Millisecond, "", errors.New("probe is open")))
		failed := b.call()
		b.add("late", after(time.Minute, "", nil))
		late := b.call()
		for parameters, ids := range map[string]string{
			"": fmt.Sprint(late, failed, ok), "&sort=slowest": fmt.Sprint(late, failed, ok), "&outcome=failed": fmt.Sprint(late, failed), "&outcome=late": fmt.Sprint(late),
			"&outcome=ok": fmt.Sprint(late, failed, ok), "&over=20ms": fmt.Sprint(late, failed), "&over=2s": "", "&q=PROBE": fmt.Sprint(late, failed),
			"&topic=cell.measure&q=deadline": fmt.Sprint(late), "&topic=other": "",
			// As the form sends it, with fields that are empty.
			"=&q=&topic=&outcome=&over=&sort=newest": fmt.Sprint(late, failed, ok), "=&q=probe&topic=&outcome=late&over=&sort=slowest": fmt.Sprint(late),
		} {
			k := b.data("calls" + parameters).Kept
			var got []any
			for _, r := range k.Rows {
				got = append(got, r.ID)
			}
			want(t, parameters, fmt.Sprint(got...), ids)
			want(t, parameters, fmt.Sprint(k.Matching, k.Total), fmt.Sprint(len(got), 3))
		}
		if w := ask(b.h, "/?calls&outcome=failed"); w.Code != 200 || !strings.Contains(w.Body.String(), "cell.measure") {
			t.Errorf("the page: %d", w.Code)
		}
		want(t, "not a duration", ask(b.h, "/?calls&over=long").Code, 400)
	})
}

// The figures of topics and members have the last minute in slots of five seconds.
func TestTheLastMinute(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("quick", after(10*time.Millisecond, "", nil))
		b.add("fails", after(20*time.Millisecond, "", errors.New("no")))
		for range 3 {
			b.call()
		}
		time.Sleep(slotLength)
		b.call()
		doc := b.data("topic=cell.measure")
		m := doc.Topic.Members[1].Minute
		want(t, "calls", fmt.Sprint(doc.Topic.Minute.Calls[slots-2:], m.Calls[slots-2:], m.Failed[slots-2:]), "[3 1] [3 1] [3 1]")
		want(t, "p99", fmt.Sprint(m.P99[slots-3:]), "[0s 20ms 20ms]")
		want(t, "header", fmt.Sprintf("%+v", doc.Bus.Minute), "{Calls:4 Late:0 Failed:4 Panics:0 Dropped:0}")
		if page := ask(b.h, "/?topic=cell.measure").Body.String(); !strings.Contains(page, "last minute, each 5 s: 0 · 0 · 0 · 0 · 0 · 0 · 0 · 0 · 0 · 0 · 3 · 1") || !strings.Contains(page, `d="M40 14v-14h3v14zM44 14v-5h3v5z"`) {
			t.Error("the page does not have the figures, or the drawing")
		}
		time.Sleep(2 * time.Minute)
		doc = b.data("topic=cell.measure")
		want(t, "later", fmt.Sprint(doc.Bus.Minute.Calls, doc.Bus.Failed, doc.Topic.Minute.Calls), "0 4 [0 0 0 0 0 0 0 0 0 0 0 0]")
	})
}

// Requests at the same time share a snapshot.
func TestSnapshotsAreShared(t *testing.T) {
	inBubble(t, func(b *bench) {
		first := b.h.look()
		if b.h.look() != first {
			t.Error("a second look makes a second snapshot")
		}
		time.Sleep(200 * time.Millisecond)
		if b.h.look() == first {
			t.Error("a later look gets an old snapshot")
		}
	})
}

func TestListeners(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("a", after(10*time.Millisecond, "", nil))
		b.add("b", after(20*time.Millisecond, "", nil))
		_, err := b.d.AddListener(measure, func(_ context.Context, r dispatch.Result[string, string]) {
			<-time.After(100 * time.Millisecond)
			if r.From.Name == "b" {
				panic("at the listener")
			}
		}, dispatch.WithName("log"))
		if err != nil {
			t.Fatal(err)
		}
		id := b.call()
		time.Sleep(time.Second)
		c := b.waterfall(id)
		want(t, "a", c.row(t, "a").bars(), "running 0s+10ms, listener 10ms+100ms")
		want(t, "b", c.row(t, "b").bars(), "running 0s+20ms, listener 110ms+100ms")
		want(t, "heard", fmt.Sprint(c.Heard), fmt.Sprint([]heardPart{{"log", 2, 200 * time.Millisecond, 100 * time.Millisecond, 1, 1}}))
		doc := b.data("topic=cell.measure")
		if l := doc.Topic.Listening[0]; l.Delivered != 2 || l.Panicked != 1 || l.Last != 100*time.Millisecond {
			t.Errorf("listener: %+v", l)
		}
		want(t, "panics", doc.Bus.Panics, 1)
		a := b.h.recorder.archive
		rec := a.records[id]
		rec.measure()
		want(t, "bytes", doc.Page.KeptBytes, rec.bytes+a.figures)
	}, WithListenerTimes())
}

func TestSuspects(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("well", after(0, "", nil))
		b.add("stuck", deaf(20*time.Minute))
		b.add("fails", after(0, "", errors.New("probe is open")))
		b.add("panics", func(context.Context, string) (string, error) { panic("!") })
		b.add("late", after(time.Minute, "", nil))
		_, err := b.d.AddListener(measure, func(context.Context, dispatch.Result[string, string]) { <-time.After(10 * time.Minute) }, dispatch.WithName("stalled"))
		if err != nil {
			t.Fatal(err)
		}
		b.call()
		b.call()
		if _, err := b.d.Send(b.t.Context(), dispatch.NewTopic[string, string]("nobody.home"), ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		var got []string
		for _, s := range b.data("").Suspects {
			got = append(got, s.Kind+" "+s.Name+" "+s.Text)
			if s.Kind != "nobody" && !strings.Contains(s.AddedAt, "_test.go:") {
				t.Errorf("%s was added at %q", s.Name, s.AddedAt)
			}
		}
		want(t, "suspects", strings.Join(got, "\n"), strings.Join([]string{
			"behind stalled listens and is behind: 2 calls wait for it, the first for 12 s",
			"stuck stuck has 2 runs that have not returned, the oldest 11 s after its call; was late in 2 of its last 2 calls, 10 s ago",
			"late late was late in 2 of its last 2 calls, 10 s ago",
			"nobody nobody.home has no producer: asked without an answer once",
			"panicked panics panicked in 2 of its last 2 calls, 10 s ago",
			"failed fails failed in 2 of its last 2 calls, 10 s ago",
		}, "\n"))
		for range 64 {
			b.send(dispatch.WithTargets("fails"))
		}
		if n := len(b.data("topic=nobody.home").Suspects); n != 1 {
			t.Errorf("%d suspects on a topic, want its own", n)
		}
	})
}

func TestWhatIsSensitiveIsNotShown(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("fails", after(0, "", errors.New("secret")))
		b.add("panics", func(context.Context, string) (string, error) { panic("secret") })
		b.add("answers", after(0, "secret", nil))
		id := b.call()
		for _, address := range []string{"/", "/data.json", "/?topic=cell.measure", "/data.json?topic=cell.measure", "/?call=" + id.String(), "/data.json?call=" + id.String()} {
			w := ask(b.h, address)
			if w.Code != 200 || strings.Contains(w.Body.String(), "secret") || strings.Contains(w.Body.String(), "goroutine ") {
				t.Errorf("%s: %d, tells a secret", address, w.Code)
			}
		}
	}, WithAuth(func(*http.Request) (bool, bool) { return true, false }), WithSummarize(func(v any) string { return "secret" }, 100))
}

func TestSummaries(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("answers", after(0, "much too long", nil))
		b.add("odd", after(0, "odd", nil))
		c := b.waterfall(b.call())
		want(t, "request", c.Request, "<vdd>")
		want(t, "calls with this request", b.data("calls&q=vdd").Kept.Matching, 1)
		want(t, "calls with another one", b.data("calls&q=vss").Kept.Matching, 0)
		want(t, "result", c.row(t, "answers").Summary, "<much …")
		if got := c.row(t, "odd").Summary; !strings.HasPrefix(got, "(no s") {
			t.Errorf("got %q for a panic", got)
		}
	}, WithSummarize(func(v any) string {
		if v == "odd" {
			panic("odd")
		}
		return fmt.Sprintf("<%v>", v)
	}, 9))
}

// The first result of a member is summarized, and no other, even if it is nil or the summary is empty.
func TestOnlyTheFirstResultIsSummarized(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := dispatch.NewBus()
		h := New(bus, WithSummarize(func(v any) string {
			if v == "empty" {
				return ""
			}
			return fmt.Sprint(v)
		}, 100))
		defer h.Close()
		topic := dispatch.NewTopic[any, any]("cell.any")
		d := dispatch.On[any, any](bus)
		for name, first := range map[string]any{"a": nil, "b": "empty", "c": "3.3 V"} {
			stream := func(context.Context, any) iter.Seq2[any, error] {
				return func(yield func(any, error) bool) { _ = yield(first, nil) && yield("second", nil) }
			}
			if _, err := d.AddStreamProducer(topic, stream, dispatch.WithName(name)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := d.Gather(t.Context(), topic, nil); err != nil {
			t.Fatal(err)
		}
		b := &bench{t: t, h: h}
		c := b.waterfall(1)
		want(t, "request", c.Request, "<nil>")
		for name, summary := range map[string]string{"a": "<nil>", "b": "", "c": "3.3 V"} {
			want(t, "summary of "+name, c.row(t, name).Summary, summary)
		}
	})
}

func TestNoPayloadIsKeptUnlessAskedFor(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("answers", after(0, "the result", nil))
		c := b.waterfall(b.call())
		want(t, "summaries", c.Request+c.row(t, "answers").Summary, "")
		if b.h.recorder.observer().Result != nil {
			t.Error("results are asked for")
		}
	})
}

func TestCloseStopsRecording(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("a", after(0, "", nil))
		b.call()
		b.h.Close()
		b.h.Close()
		b.call()
		doc := b.data("")
		want(t, "kept", fmt.Sprint(doc.Page.Kept, doc.Page.Recording, doc.Bus.Sent), "1 false 2")
		want(t, "observers", len(b.d.Bus().Snapshot().Observers), 0)
	})
}

func TestClosedBus(t *testing.T) {
	bus := dispatch.NewBus()
	if err := bus.Close(); err != nil {
		t.Fatal(err)
	}
	h := New(bus)
	defer h.Close()
	if w := ask(h, "/data.json"); !strings.Contains(w.Body.String(), `"state":"closed"`) || !strings.Contains(w.Body.String(), `"recording":false`) {
		t.Errorf("got %s", w.Body)
	}
}

func TestCallsOfWhichTheEndWasNotToldAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(config{calls: 1, bytes: leastBytes, summarize: func(any) string { return "" }})
		begin := func(id int) {
			r.callStart(t.Context(), dispatch.CallStarted{CallInfo: dispatch.CallInfo{ID: dispatch.CallID(id), Budget: time.Second}, Started: time.Now()})
		}
		for i := range 3 * mostOpen / 2 {
			begin(1 + i)
		}
		want(t, "lost", r.archive.lost, mostOpen/2)
		time.Sleep(openFor + time.Second)
		begin(1 << 30)
		want(t, "lost and open", fmt.Sprint(r.archive.lost, len(r.archive.open)), fmt.Sprint(mostOpen/2, 1))
	})
}

func TestWhatACallCanTakeIsBounded(t *testing.T) {
	r := new(record)
	for i := range mostRuns + 10 {
		r.rowOf(dispatch.Member{Name: fmt.Sprint(i)}, false)
	}
	want(t, "rows in flight", len(r.rows), mostRuns)
	r = new(record)
	long := strings.Repeat("x", 10_000)
	for i := range mostRows {
		w := member(fmt.Sprint(i)+long, dispatch.StatePanicked)
		w.stack = strings.Repeat("s", mostStack)
		r.rows = append(r.rows, w)
	}
	r.settle()
	r.measure()
	if most := mostRows*(2*256+mostName) + mostStacks + 1000; r.bytes > most {
		t.Errorf("a call takes %d bytes, want at most %d", r.bytes, most)
	}
	if r.rows[0].stack == "" {
		t.Error("not one stack is kept")
	}
	text, stack := textOf(dispatch.StatePanicked, &dispatch.PanicError{Value: long, Stack: []byte(strings.Repeat("s", 100_000))})
	want(t, "text and stack", fmt.Sprint(len(text) <= mostError, len(stack) <= mostStack), "true true")

	inBubble(t, func(b *bench) {
		b.add("a", after(0, "", nil))
		for range mostListening + 10 {
			if _, err := b.d.AddListener(measure, func(context.Context, dispatch.Result[string, string]) {}); err != nil {
				t.Fatal(err)
			}
		}
		rec := b.h.recorder.archive.records[b.call()]
		want(t, "callbacks", fmt.Sprint(len(rec.listening), rec.unheard), fmt.Sprint(mostListening, 10))
		want(t, "figures of listeners", len(b.h.recorder.archive.topics["cell.measure"].listeners) <= mostListenersOfTopic, true)
	}, WithListenerTimes())
}

// Names are cut. What is known of a member of a long name is in one place all the same.
func TestLongNames(t *testing.T) {
	inBubble(t, func(b *bench) {
		long := strings.Repeat("n", 10_000)
		b.add("hangs"+long, deaf(time.Minute))
		b.add("fails"+long, after(0, "", errors.New("probe is open")))
		b.add("serial"+long, after(700*time.Millisecond, "", nil), dispatch.WithConcurrency(1), dispatch.WithGroup("group"+long))
		panics := func(context.Context, dispatch.Result[string, string]) { panic("disk is full") }
		if _, err := b.d.AddListener(measure, panics, dispatch.WithName("log"+long)); err != nil {
			t.Fatal(err)
		}
		suspects := func() string {
			doc := b.data("")
			var list []string
			for _, s := range doc.Suspects {
				if s.AddedAt == "" || len(s.Name) > 2*mostName+1 {
					t.Errorf("%s… was added at %q", s.Name[:10], s.AddedAt)
				}
				name, _, _ := strings.Cut(s.Name, "nnnn")
				list = append(list, fmt.Sprint(name, s.Kinds))
			}
			slices.Sort(list)
			return strings.Join(list, " ")
		}
		b.send()
		id := b.send().ID()
		time.Sleep(600 * time.Millisecond)
		want(t, "in flight", suspects(), "group[queue] group[waiting] hangs[waiting]")
		time.Sleep(10 * time.Second)
		want(t, "afterwards", suspects(), "fails[failed] group[late] hangs[stuck late] log[panicked]")
		for _, address := range []string{"", "topic=cell.measure", "call=" + id.String(), "calls"} {
			if n := ask(b.h, "/data.json?"+address).Body.Len(); n > 50_000 {
				t.Errorf("data.json?%s has %d bytes", address, n)
			}
		}
	})
}

// Events that only another observer has missed are not shown as missed.
func TestOnlyItsOwnMissedEventsAreShown(t *testing.T) {
	inBubble(t, func(b *bench) {
		if _, err := b.h.bus.Observe(dispatch.Observer{CallEnd: func(context.Context, dispatch.Report) {}}); err != nil {
			t.Fatal(err)
		}
		s := b.h.bus.Snapshot()
		if len(s.Observers) != 2 {
			t.Fatalf("observers: %+v", s.Observers)
		}
		s.Observers[0].Missed, s.Observers[1].Missed = 2, 5
		v := &view{now: time.Now(), recorder: b.h.recorder, bus: newBusView(s, time.Now(), nil)}
		want(t, "missed", v.document(query{}).Page.Missed, 2)
	})
}

// A call is not kept for a replica that has returned.
func TestReplicasThatHaveReturnedKeepNoCall(t *testing.T) {
	inBubble(t, func(b *bench) {
		for i := range 3 {
			b.add(fmt.Sprint("meter-", i), deaf(1500*time.Millisecond), dispatch.WithGroup("meters"))
		}
		for range 6 {
			b.call()
		}
		time.Sleep(time.Minute)
		b.data("")
		want(t, "calls that are kept because of a run", b.h.recorder.archive.pins, 0)
	})
}

// Events that come after the end of a call that is not kept need no memory, and are not missed.
func TestEventsAfterTheEndOfACallThatIsNotKept(t *testing.T) {
	atOnce := func(context.Context, string) (string, error) { return "", nil }
	for name, test := range map[string]struct {
		site    site
		listens bool
		opts    []dispatch.CallOption
	}{
		"callbacks of listeners":    {atOnce, true, nil},
		"runs that return too late": {deaf(200 * time.Millisecond), false, []dispatch.CallOption{dispatch.WithQuorum(1)}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.add("quick", atOnce)
				b.add("other", test.site)
				if test.listens {
					if _, err := b.d.AddListener(measure, func(context.Context, dispatch.Result[string, string]) { time.Sleep(time.Microsecond) }); err != nil {
						t.Fatal(err)
					}
				}
				for range mostOpen + 1000 {
					<-b.send(test.opts...).Done()
					time.Sleep(100 * time.Microsecond)
				}
				time.Sleep(time.Second)
				want(t, "missed events", b.data("").Page.Missed, 0)
				want(t, "open calls", len(b.h.recorder.archive.open), 0)
			}, WithListenerTimes())
		})
	}
}

// A listener on several topics is a suspect for what happens on any of them.
func TestAListenerOnSeveralTopicsThatDrops(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("site", after(time.Millisecond, "", nil))
		if _, err := b.d.AddProducer(dispatch.NewTopic[string, string]("cell.another"), after(0, "", nil)); err != nil {
			t.Fatal(err)
		}
		slow := func(context.Context, dispatch.Result[string, string]) { time.Sleep(100 * time.Millisecond) }
		if _, err := b.d.AddListener(dispatch.NewPattern[string, string]("cell.*"), slow, dispatch.WithName("log"), dispatch.WithMailbox(1, dispatch.DropOldest)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		for range 50 {
			b.call()
		}
		time.Sleep(time.Second)
		for _, address := range []string{"", "topic=cell.measure", "topic=cell.another"} {
			doc := b.data(address)
			want(t, "suspects and earlier ones, "+address, fmt.Sprint(len(doc.Suspects), len(doc.Earlier)), "1 0")
		}
	})
}

// Panics of listeners are counted, also those of a listener that is gone.
func TestPanicsOfListenersAreCounted(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("site", after(0, "", nil))
		var listeners []*dispatch.Registration
		for range 2 {
			l, err := b.d.AddListener(measure, func(context.Context, dispatch.Result[string, string]) { panic("disk is full") }, dispatch.WithName("log"))
			if err != nil {
				t.Fatal(err)
			}
			listeners = append(listeners, l)
		}
		panics := func() string {
			time.Sleep(time.Second)
			bus := b.data("").Bus
			return fmt.Sprint(bus.Panics, bus.Minute.Panics)
		}
		for range 50 {
			b.call()
		}
		want(t, "panics, and those of the last minute", panics(), "100 100")
		b.call()
		want(t, "one more", panics(), "102 102")
		listeners[0].Remove()
		want(t, "without the listener", panics(), "102 102")
		time.Sleep(2 * time.Minute)
		want(t, "later", panics(), "102 0")
	})
}

// Panics before the recording began are not counted. They are no reason to suspect the listener of something in the
// last minute.
func TestPanicsBeforeTheRecordingAreNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := dispatch.NewBus(dispatch.WithLogger(slog.New(slog.DiscardHandler)))
		b := &bench{t: t, d: dispatch.On[string, string](bus)}
		b.add("site", after(0, "", nil))
		if _, err := b.d.AddListener(measure, func(context.Context, dispatch.Result[string, string]) { panic("disk is full") }, dispatch.WithName("log")); err != nil {
			t.Fatal(err)
		}
		b.call()
		time.Sleep(time.Hour)
		b.h = New(bus)
		defer b.h.Close()
		time.Sleep(2 * time.Minute)
		doc := b.data("")
		want(t, "panics, of the last minute, suspects, earlier ones", fmt.Sprint(doc.Bus.Panics, doc.Bus.Minute.Panics, len(doc.Suspects), len(doc.Earlier)), "0 0 0 1")
		b.call()
		time.Sleep(time.Second)
		doc = b.data("")
		want(t, "one more", fmt.Sprint(doc.Bus.Panics, doc.Bus.Minute.Panics, len(doc.Suspects), len(doc.Earlier)), "1 1 1 0")
		want(t, "text", doc.Suspects[0].Text, "listens, and has panicked 2 times")
	})
}

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

// The page has the error of a member that failed or panicked, also if it wraps an error of a context: that of a
// nested call or of another library. That of a member that was late or canceled would say no more than its state.
func TestErrorsThatWrapThoseOfAContext(t *testing.T) {
	inBubble(t, func(b *bench) {
		inner := dispatch.NewTopic[string, string]("inner", dispatch.WithTimeout(100*time.Millisecond))
		if _, err := b.d.AddProducer(inner, after(time.Hour, "", nil), dispatch.WithName("site")); err != nil {
			t.Fatal(err)
		}
		b.add("fails", after(0, "", fmt.Errorf("register 7: %w", context.DeadlineExceeded)))
		b.add("gives up", after(0, "", fmt.Errorf("register 8: %w", context.Canceled)))
		b.add("panics", func(context.Context, string) (string, error) { panic(context.Canceled) })
		b.add("nests", func(ctx context.Context, s string) (string, error) {
			_, err := b.d.Gather(ctx, inner, s)
			return "", err
		})
		b.add("late", after(time.Hour, "", nil))
		c := b.waterfall(b.call())
		for name, is := range map[string]string{
			"fails": "failed register 7: context deadline exceeded", "gives up": "failed register 8: context canceled", "panics": "panicked panic: context canceled",
			"nests": "failed dispatch: inner: deadline exceeded: no member answered: site late", "late": "late ",
		} {
			r := c.row(t, name)
			want(t, name, r.State+" "+r.Error, is)
			want(t, name+" has a stack", r.Stack != "", name == "panics")
		}
		for _, m := range b.data("topic=cell.measure").Topic.Members {
			want(t, "last error of "+m.Name, m.LastError, c.row(t, m.Name).Error)
		}
	})
}

// A call is recorded although the error of a member has methods that panic.
func TestErrorsWhoseMethodsPanic(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("fails", after(0, "", (*nilError)(nil)))
		b.add("deaf", func(context.Context, string) (string, error) {
			time.Sleep(2 * time.Second)
			return "", (*nilError)(nil)
		})
		id := b.call()
		time.Sleep(time.Minute)
		r := b.waterfall(id).row(t, "fails")
		want(t, "row", r.State+" "+r.Error, "failed *dispatchdebug.nilError: panic: runtime error: invalid memory address or nil pointer dereference")
		want(t, "late row", b.waterfall(id).row(t, "deaf").Text, "by 1 s")
	})
}

// In the very first calls, too, a member that waits for a nested call is not taken for the culprit. The nested call
// ends when nothing is known of the topic of the other one.
func TestTheFirstNestedCallIsKnownAtItsSender(t *testing.T) {
	inBubble(t, func(b *bench) {
		outer := dispatch.NewTopic[string, string]("order.price", dispatch.WithTimeout(1010*time.Millisecond))
		b.add("probe", deaf(2*time.Second))
		if _, err := b.d.AddProducer(outer, func(ctx context.Context, _ string) (string, error) {
			_, _ = b.d.Gather(ctx, measure, "vdd", dispatch.WithTimeout(time.Second))
			<-ctx.Done()
			return "", ctx.Err()
		}, dispatch.WithName("pricing")); err != nil {
			b.t.Fatal(err)
		}
		if _, err := b.d.Gather(b.t.Context(), outer, "lamp"); err == nil {
			b.t.Fatal("the call has an answer")
		}
		time.Sleep(time.Second)
		var names []string
		for _, s := range b.data("").Suspects {
			names = append(names, s.Name)
		}
		if diff := cmp.Diff([]string{"probe"}, names); diff != "" {
			b.t.Errorf("suspects (-want +got):\n%s", diff)
		}
	})
}
