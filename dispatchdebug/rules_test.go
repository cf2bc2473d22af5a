package dispatchdebug

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// The rules for all fields hold in every document and in every state of the bus: every list is a list, no duration
// is less than -1, every share is between 0 and 1 or -1, and nothing is in the list of suspects twice. The figures
// are those of the snapshot and of the reports.
func TestRulesForAllFields(t *testing.T) {
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) { testRules(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func testRules(t *testing.T, random *rand.Rand) {
	bus := dispatch.NewBus(dispatch.WithLogger(slog.New(slog.DiscardHandler)), dispatch.WithMaxInFlight(4))
	b := &bench{t, New(bus, WithListenerTimes(), WithSummarize(func(v any) string { return fmt.Sprint(v) }, 10)), dispatch.On[string, string](bus)}
	ms := time.Millisecond
	topics := []dispatch.Topic[string, string]{measure, dispatch.NewTopic[string, string]("a.b"), dispatch.NewTopic[string, string]("nobody")}
	add := func(on dispatch.Selector[string, string], name string, p site, opts ...dispatch.ProducerOption) {
		if _, err := b.d.AddProducer(on, p, append(opts, dispatch.WithName(name))...); err != nil {
			t.Fatal(err)
		}
	}
	add(measure, "quick", after(0, "3.3 V", nil))
	add(measure, "declines", after(20*ms, "", dispatch.ErrDecline))
	add(measure, "fails", after(5*ms, "", errors.New("probe is open")))
	add(measure, "panics", func(context.Context, string) (string, error) { panic("at the site") })
	add(measure, "serial", after(300*ms, "", nil), dispatch.WithConcurrency(1), dispatch.WithMaxQueue(2))
	add(measure, "hangs", deaf(20*time.Second), dispatch.WithTimeout(400*ms))
	add(measure, "g1", after(500*ms, "", nil), dispatch.WithGroup("g"), dispatch.WithConcurrency(1))
	add(measure, "g2", after(100*ms, "", errors.New("no")), dispatch.WithGroup("g"))
	add(measure, "nests", func(ctx context.Context, s string) (string, error) {
		_, err := b.d.Gather(ctx, topics[1], s)
		return "", err
	})
	add(dispatch.NewPattern[string, string]("a.*"), "any", after(200*ms, "", nil))
	b.relay("relay", func(ctx context.Context, _ string, to *dispatch.Roster[string]) error {
		to.Expect(dispatch.Member{Node: "far", Name: "expected"})
		to.Name(dispatch.Member{Node: "far", Name: "site"})
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(150 * ms):
			return errors.New("the cable is cut")
		}
	})
	for i, f := range []func(){func() {}, func() { time.Sleep(time.Second) }, func() { panic("at the listener") }} {
		if _, err := b.d.AddListener(topics[i%2], func(context.Context, dispatch.Result[string, string]) { f() }, dispatch.WithMailbox(2, dispatch.DropOldest)); err != nil {
			t.Fatal(err)
		}
	}
	options := []dispatch.CallOption{
		dispatch.WithQuorum(1), dispatch.WithQuorum(9), dispatch.WithFailFast(), dispatch.WithStall(100 * ms), dispatch.WithStagger(50 * ms), dispatch.WithHedge(30 * ms),
		dispatch.WithTargets("serial", "absent"), dispatch.WithTargets("hangs"), dispatch.WithTargets("g"), dispatch.WithTargets("quick"), dispatch.WithMinProducers(30), dispatch.WithParallelism(1),
		dispatch.WithGrace(100 * ms), dispatch.WithTimeout(50 * ms), dispatch.WithTimeout(time.Hour), dispatch.WithRequired("fails"),
	}
	var reports reported
	if _, err := bus.Observe(dispatch.Observer{CallEnd: func(_ context.Context, r dispatch.Report) { reports.count(&r) }}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	for range 60 {
		opts := make([]dispatch.CallOption, random.IntN(3))
		for i := range opts {
			opts[i] = options[random.IntN(len(options))]
		}
		topic, stop := topics[random.IntN(len(topics))], random.IntN(8) == 0
		go func() {
			if c, err := b.d.Send(ctx, topic, "vdd", opts...); err == nil && stop {
				c.Cancel(nil)
			}
		}()
		time.Sleep(time.Duration(random.IntN(400)) * ms)
		checkDocuments(t, b, random, &reports)
	}
	cancel()
	for range 3 {
		time.Sleep(20 * time.Second)
		checkDocuments(t, b, random, &reports)
	}
	if err := bus.Close(); err != nil {
		t.Error(err)
	}
	b.h.Close()
	checkDocuments(t, b, random, &reports)
	time.Sleep(2 * time.Hour)
}

// reported are counts of what the reports of calls say.
type reported struct {
	mu                            sync.Mutex // guards the fields below
	calls, late, failed, panicked uint64
}

func (r *reported) count(report *dispatch.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	for _, o := range report.Outcomes {
		switch o.State {
		case dispatch.StateLate:
			r.late++
		case dispatch.StatePanicked:
			r.failed++
			r.panicked++
		case dispatch.StateFailed, dispatch.StateRejected:
			r.failed++
		}
	}
}

func checkDocuments(t *testing.T, b *bench, random *rand.Rand, reports *reported) {
	t.Helper()
	synctest.Wait()
	reports.mu.Lock()
	defer reports.mu.Unlock()
	snapshot := b.d.Bus().Snapshot()
	sent := snapshot.Sent
	addresses := []string{
		"suspects=all", "topic=cell.measure&suspects=all", "topic=a.b", "topic=nobody", "calls", fmt.Sprint("call=", sent), fmt.Sprint("call=", random.Uint64N(sent+1)),
	}
	page := addresses[random.IntN(len(addresses))]
	if w := ask(b.h, "/?"+page); w.Code != 200 && w.Code != 404 || !strings.Contains(w.Body.String(), "</html>") {
		t.Errorf("/?%s: status %d", page, w.Code)
	}
	for _, address := range addresses {
		w := ask(b.h, "/data.json?"+address)
		var fields any
		if err := json.Unmarshal(w.Body.Bytes(), &fields); err != nil || w.Code != 200 {
			t.Fatalf("%s: status %d, %v in %.200s", address, w.Code, err, w.Body)
		}
		checkFields(t, address, "", fields)
		var doc document
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		if doc.Now.Equal(time.Now()) { // otherwise the snapshot is a little older
			want(t, "sent, in flight, abandoned, senders", fmt.Sprint(doc.Bus.Sent, doc.Bus.InFlight, doc.Bus.Abandoned, doc.Bus.SendersWaiting),
				fmt.Sprint(sent, len(snapshot.Calls), len(snapshot.Abandoned), snapshot.SendersWaiting))
			panics := reports.panicked
			for l := range newBusView(snapshot, doc.Now, nil).listeners() {
				panics += l.Panicked
			}
			want(t, "calls, late, failed, panics", fmt.Sprint(doc.Bus.Calls, doc.Bus.Late, doc.Bus.Failed, doc.Bus.Panics),
				fmt.Sprint(reports.calls, reports.late, reports.failed, panics))
			want(t, "calls that have ended or are in flight", doc.Bus.Calls+uint64(doc.Bus.InFlight), sent)
		}
		seen := make(map[string]bool)
		for _, s := range append(doc.Suspects, doc.Earlier...) {
			if key := s.Topic + " " + s.Name + " " + s.AddedAt; seen[key] {
				t.Errorf("%s: %s is a suspect twice", address, key)
			} else {
				seen[key] = true
			}
		}
		if c := doc.Call; c != nil && c.Known && strings.HasSuffix(c.Verdict, ".") == (len(c.Culprits) > 0) {
			t.Errorf("%s: %q with %d culprits", address, c.Verdict, len(c.Culprits))
		}
	}
}

// checkFields checks a value of a document, which has the path.
func checkFields(t *testing.T, address, path string, value any) {
	t.Helper()
	switch v := value.(type) {
	case nil:
		t.Errorf("%s: %s is null", address, path)
	case map[string]any:
		for name, field := range v {
			checkFields(t, address, path+"."+name, field)
		}
	case []any:
		for _, one := range v {
			checkFields(t, address, path+"[]", one)
		}
	case float64:
		switch {
		case strings.HasSuffix(path, "share") || strings.HasSuffix(path, "used"):
			if v != -1 && (v < 0 || v > 1) {
				t.Errorf("%s: %s is %v", address, path, v)
			}
		case v < -1 || v != float64(int64(v)):
			t.Errorf("%s: %s is %v", address, path, v)
		}
	}
}
