package dispatchdebug

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A site answers a string with a string.
type site = dispatch.Producer[string, string]

var measure = dispatch.NewTopic[string, string]("cell.measure", dispatch.WithTimeout(time.Second))

func after(d time.Duration, answer string, err error) site {
	return func(ctx context.Context, _ string) (string, error) {
		select {
		case <-time.After(d):
			return answer, err
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// deaf does not look at its context.
func deaf(d time.Duration) site {
	return func(context.Context, string) (string, error) {
		<-time.After(d)
		return "", nil
	}
}

// A bench is a bus with a handler, in a bubble.
type bench struct {
	t *testing.T
	h *Handler
	d *dispatch.Dispatcher[string, string]
}

// inBubble runs a test in virtual time.
func inBubble(t *testing.T, test func(*bench), opts ...Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		bus := dispatch.NewBus(dispatch.WithLogger(slog.New(slog.DiscardHandler)))
		b := &bench{t, New(bus, opts...), dispatch.On[string, string](bus)}
		test(b)
		b.h.Close()
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour) // until late runs have returned
	})
}

func (b *bench) add(name string, s site, opts ...dispatch.ProducerOption) {
	b.t.Helper()
	if _, err := b.d.AddProducer(measure, s, append(opts, dispatch.WithName(name))...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) send(opts ...dispatch.CallOption) *dispatch.Call[string, string] {
	b.t.Helper()
	c, err := b.d.Send(b.t.Context(), measure, "vdd", opts...)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// call sends, and waits until all there is to tell has been told.
func (b *bench) call(opts ...dispatch.CallOption) dispatch.CallID {
	b.t.Helper()
	c := b.send(opts...)
	<-c.Done()
	synctest.Wait()
	return c.ID()
}

// data returns data.json, as a script would read it, when the
// page has caught up with the calls.
func (b *bench) data(parameters string) (doc document) {
	b.t.Helper()
	synctest.Wait()
	w := ask(b.h, "/data.json?"+parameters)
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		b.t.Fatalf("%v in %s", err, w.Body)
	}
	return doc
}

func (b *bench) waterfall(id dispatch.CallID) *callPart {
	b.t.Helper()
	doc := b.data("call=" + id.String())
	if doc.Call == nil || !doc.Call.Known {
		b.t.Fatalf("call %v is not known", id)
	}
	return doc.Call
}

func (c *callPart) row(t *testing.T, name string) rowPart {
	t.Helper()
	for _, r := range c.Rows {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no row for %s in %+v", name, c.Rows)
	return rowPart{}
}

// bars gives the bars of a row as text.
func (r rowPart) bars() string {
	var list []string
	for _, b := range r.Bars {
		text := fmt.Sprintf("%s %v+%v", b.Kind, b.Start, b.Length)
		if b.Open {
			text += "…"
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func (c *callPart) culprits() string {
	var list []string
	for _, w := range c.Culprits {
		list = append(list, w.Name+" ("+w.Text+")")
	}
	return strings.Join(list, ", ")
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func TestWaterfall(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("ok", after(300*time.Millisecond, "3.3 V", nil))
		b.add("serial-1", after(200*time.Millisecond, "", nil), dispatch.WithConcurrency(1))
		b.add("fails", after(100*time.Millisecond, "", errors.New("probe is open")))
		b.add("declines", after(0, "", dispatch.ErrDecline))
		b.add("panics", func(context.Context, string) (string, error) { panic("at the site") })
		b.add("watches", after(time.Minute, "", nil))
		b.add("late", deaf(1500*time.Millisecond))
		b.add("hangs", deaf(30*time.Minute))
		blocker := b.send() // has the place of the serial one for its first 200 ms
		synctest.Wait()
		id := b.call()
		<-blocker.Done()
		time.Sleep(time.Second)

		c := b.waterfall(id)
		want(t, "reason", c.Reason, "deadline")
		want(t, "verdict", c.Verdict, "Ended at its deadline of 1 s without an answer from")
		late, others, _ := strings.Cut(c.culprits(), "watches (0 late), ")
		want(t, "culprits that were late, the latest first", late, "hangs (still running), late (500 ms late), ")
		if others != "fails (failed), panics (panicked)" && others != "panics (panicked), fails (failed)" {
			t.Errorf("other culprits: %s", others)
		}
		want(t, "elapsed", c.Elapsed, time.Second)
		for name, bars := range map[string]string{
			"ok":       "running 0s+300ms",
			"serial-1": "queued 0s+200ms, running 200ms+200ms",
			"fails":    "running 0s+100ms",
			"declines": "running 0s+0s",
			"watches":  "running 0s+1s",
			"late":     "running 0s+1s, late 1s+500ms",
			"hangs":    "running 0s+1s, late 1s+1s…",
		} {
			want(t, "bars of "+name, c.row(t, name).bars(), bars)
		}
		for name, text := range map[string]string{
			"ok": "ok 300 ms", "fails": "failed 100 ms", "declines": "declined 0", "panics": "panicked 0",
			"watches": "late by 0", "late": "late by 500 ms", "hangs": "late by 1 s so far",
		} {
			r := c.row(t, name)
			want(t, "text of "+name, r.State+" "+r.Text, text)
		}
		want(t, "the second row, though it was started last", c.Rows[1].Name, "serial-1")
		want(t, "error", c.row(t, "fails").Error, "probe is open")
		want(t, "error", c.row(t, "watches").Error, "")
		if p := c.row(t, "panics"); p.Error != "panic: at the site" || !strings.Contains(p.Stack, "recorder_test.go") {
			t.Errorf("panic: %q, stack %.200q", p.Error, p.Stack)
		}
		want(t, "scale", c.Scale, 2080*time.Millisecond) // the end, as long again, and a margin
		time.Sleep(time.Minute)
		later := b.waterfall(id)
		want(t, "scale", later.Scale, c.Scale)
		want(t, "hangs", later.row(t, "hangs").Text, "by 1 min 1 s so far")
		want(t, "within", c.Within, true)
	})
}

func TestCallInFlightGrows(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("quick", after(100*time.Millisecond, "", nil))
		b.add("slow", after(time.Minute, "", nil))
		b.add("serial", after(10*time.Second, "", nil), dispatch.WithConcurrency(1))
		b.send(dispatch.WithTimeout(10 * time.Second))
		synctest.Wait()
		c := b.send(dispatch.WithTimeout(10 * time.Second))
		for _, at := range []time.Duration{2 * time.Second, 5 * time.Second} {
			time.Sleep(at - time.Since(c.Report().Started))
			synctest.Wait()
			part := b.waterfall(c.ID())
			want(t, "in flight", part.InFlight, true)
			want(t, "slow", part.row(t, "slow").bars(), fmt.Sprintf("running 0s+%v…", at))
			want(t, "quick", part.row(t, "quick").bars(), "running 0s+100ms")
			want(t, "serial", part.row(t, "serial").bars(), fmt.Sprintf("queued 0s+%v…", at))
			want(t, "culprits", part.culprits(), fmt.Sprintf("slow (%s), serial (queued)", duration(at)))
		}
		doc := b.data("")
		want(t, "calls", fmt.Sprint(doc.Calls.Total, len(doc.Calls.Rows), doc.Bus.InFlight), "2 2 2")
		first := doc.Calls.Rows[0]
		want(t, "first", fmt.Sprint(first.ID, first.Ended, first.Members, first.Used), "1 1 3 0.5")
		var got []string
		for _, s := range doc.Suspects {
			got = append(got, s.Name+" "+s.Text)
		}
		want(t, "suspects", strings.Join(got, "\n"), strings.Join([]string{
			"serial has not answered for 5 s of 10 s; has a queue: 1 call waits in it, the first for 5 s",
			"slow has not answered for 5 s of 10 s; 2 calls wait for it",
		}, "\n"))
	})
}

func TestGroupsAndNestedCallsAreIndented(t *testing.T) {
	inBubble(t, func(b *bench) {
		inner := dispatch.NewTopic[string, string]("inner")
		_, err := b.d.AddProducer(inner, after(50*time.Millisecond, "", nil), dispatch.WithName("deep"))
		if err != nil {
			t.Fatal(err)
		}
		b.add("outer", func(ctx context.Context, s string) (string, error) {
			<-time.After(100 * time.Millisecond)
			_, err := b.d.Gather(ctx, inner, s)
			return "", err
		})
		b.add("a", after(20*time.Millisecond, "", errors.New("no")), dispatch.WithGroup("g"))
		b.add("b", after(30*time.Millisecond, "", nil), dispatch.WithGroup("g"))
		c := b.waterfall(b.call())
		var got []string
		for _, r := range c.Rows {
			got = append(got, fmt.Sprintf("%s%s %s %s [%s]", strings.Repeat(" ", r.Indent), r.Kind, r.Name, r.State, r.bars()))
		}
		want(t, "rows", strings.Join(got, "\n"), strings.Join([]string{
			"member outer ok [running 0s+150ms]",
			" call inner ok [call 100ms+50ms]",
			"  member deep ok [running 100ms+50ms]",
			"member g ok [running 0s+50ms]",
			" replica a failed [running 0s+20ms]",
			" replica b ok [queued 0s+20ms, running 20ms+30ms]",
		}, "\n"))
		want(t, "by", c.Rows[3].Text, "50 ms, by b")
		want(t, "parent", b.waterfall(c.Rows[1].Call).Parent, c.ID)
	})
}

// The critical path of a call leads through nested calls to the member that it waited for.
// Replicas are seen while they run, and not only when they have ended.
func TestReplicasInFlightHaveRows(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("meter-1", after(900*time.Millisecond, "", nil), dispatch.WithGroup("meters"))
		b.add("meter-2", after(900*time.Millisecond, "", nil), dispatch.WithGroup("meters"))
		c := b.send(dispatch.WithHedge(100 * time.Millisecond))
		time.Sleep(300 * time.Millisecond)
		var running []string
		for _, r := range b.waterfall(c.ID()).Rows {
			if r.Kind == "replica" {
				running = append(running, fmt.Sprint(r.Name, " ", r.State, " ", r.Bars[len(r.Bars)-1].Length))
			}
		}
		slices.Sort(running)
		if got := strings.Join(running, ", "); got != "meter-1 pending 200ms, meter-2 pending 300ms" && got != "meter-1 pending 300ms, meter-2 pending 200ms" {
			t.Errorf("in flight are %s", got)
		}
		<-c.Done()
	})
}

func TestCriticalPath(t *testing.T) {
	inBubble(t, func(b *bench) {
		inner := dispatch.NewTopic[string, string]("inner")
		for name, took := range map[string]time.Duration{"deep": 80 * time.Millisecond, "shallow": 10 * time.Millisecond} {
			if _, err := b.d.AddProducer(inner, after(took, "", nil), dispatch.WithName(name)); err != nil {
				t.Fatal(err)
			}
		}
		b.add("quick", after(50*time.Millisecond, "", nil))
		b.add("outer", func(ctx context.Context, s string) (string, error) {
			_, err := b.d.Gather(ctx, inner, s)
			return "", err
		})
		critical := func(id string) string {
			var names []string
			for _, r := range b.data("call=" + id).Call.Rows {
				if r.Critical {
					names = append(names, r.Name)
				}
			}
			return strings.Join(names, " ")
		}
		c := b.send()
		time.Sleep(60 * time.Millisecond)
		want(t, "in flight", critical(c.ID().String()), "outer inner deep")
		<-c.Done()
		want(t, "afterwards", critical(c.ID().String()), "outer inner deep")
		want(t, "rows of it alone", len(b.data("only=critical&call="+c.ID().String()).Call.Rows), 3)
		b.add("late", after(time.Minute, "", nil))
		want(t, "at the deadline", critical(b.call().String()), "late")
	})
}

func TestRowsAreSearchedAndSorted(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("b", after(20*time.Millisecond, "", nil))
		b.add("a", after(10*time.Millisecond, "", errors.New("probe is open")))
		b.add("c", after(30*time.Millisecond, "", nil))
		id := b.call().String()
		for parameters, names := range map[string]string{
			"": "b a c", "&sort=duration": "a c b", "&sort=name": "a b c", "&sort=state": "a b c", "&q=probe": "a", "&q=OK&sort=duration": "c b", "&q=nobody": "",
		} {
			var got []string
			c := b.data("call=" + id + parameters).Call
			for _, r := range c.Rows {
				got = append(got, r.Name)
			}
			want(t, parameters, strings.Join(got, " "), names)
			want(t, parameters+" matching", c.Matching, len(got))
		}
		for parameters, names := range map[string]string{"": "b a c", "&sort=name": "a b c", "&sort=p99": "c b a", "&sort=failed": "a b c", "&q=probe": "a"} {
			var got []string
			for _, m := range b.data("topic=cell.measure" + parameters).Topic.Members {
				got = append(got, m.Name)
			}
			want(t, parameters, strings.Join(got, " "), names)
		}
	})
}

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

// The last minute of topics and members is there in figures of five seconds.
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

func TestNestedCallsAreBounded(t *testing.T) {
	inBubble(t, func(b *bench) {
		inner := dispatch.NewTopic[string, string]("inner")
		b.add("outer", func(ctx context.Context, s string) (string, error) {
			for range mostChildren + 10 {
				if _, err := b.d.Send(ctx, inner, s); err != nil {
					return "", err
				}
			}
			return "", nil
		})
		want(t, "children", len(b.h.recorder.archive.records[b.call()].children), mostChildren)
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
			if s.Kind != "nobody" && !strings.Contains(s.AddedAt, "recorder_test.go:") {
				t.Errorf("%s was added at %q", s.Name, s.AddedAt)
			}
		}
		want(t, "suspects", strings.Join(got, "\n"), strings.Join([]string{
			"behind stalled listens and is behind: 2 calls wait for it, the first for 12 s",
			"stuck stuck has 2 runs that have not returned, the oldest 11 s after the end of its call; was late in 2 of its last 2 calls, 10 s ago",
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
			begin(i)
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
	text, stack := textOf(&dispatch.PanicError{Value: long, Stack: []byte(strings.Repeat("s", 100_000))})
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

// Wherever the rows of one call come from, a late run of which no return was told is
// not said to run for ever.
func TestALateRunThatIsNotAbandonedHasReturned(t *testing.T) {
	now := time.Now()
	r := &record{id: 1, ended: true, started: now.Add(-time.Minute), elapsed: time.Second}
	w := &waterfall{view: &view{now: now, bus: newBusView(dispatch.Snapshot{}, now, nil)}, root: r}
	if past, open := w.past(r, &row{returned: unknown, neverReturned: true}); past != 0 || open {
		t.Errorf("got %v, %v", past, open)
	}
}
