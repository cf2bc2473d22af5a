package servertest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// countingCodec counts the values that it writes.
type countingCodec struct {
	natsdispatch.JSON
	written *atomic.Int64
}

func (c countingCodec) Marshal(v any) ([]byte, error) {
	c.written.Add(1)
	return c.JSON.Marshal(v)
}

// A producer that gives results without end, faster than the asker reads them, is stopped before they fill
// the memory of the node, and the report names it as failed. Results that were sent before arrive, and
// other members end as usual.
func TestBacklog(t *testing.T) {
	const most = 30 << 20
	s := startServer(t)
	far, near := newBus(), newBus()
	stopped := make(chan error, 1)
	if _, err := far.AddStreamProducer(measure, func(ctx context.Context, _ string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for i := 0; yield(fmt.Sprint(i, " ", strings.Repeat("x", 1<<20)), nil); i++ {
			}
			stopped <- context.Cause(ctx)
		}
	}, dispatch.WithName("endless")); err != nil {
		t.Fatal(err)
	}
	produce(t, far, "quick", echo("v"))
	var told failures
	var written atomic.Int64
	node := serve(t, connect(t, s.ClientURL()), far, "far", natsdispatch.WithMaxBacklog(most), natsdispatch.WithErrorHandler(told.add),
		natsdispatch.WithCodec(countingCodec{written: &written}))
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open() // otherwise the codec would block the end of the test
	join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithWindow(1<<20), natsdispatch.WithCodec(slowCodec{gate: gate}))
	call := send(t, near, "x")
	if err := receive(t, "the producer to be stopped", stopped); !errors.Is(err, dispatch.ErrOverloaded) {
		t.Errorf("the producer is told %v", err)
	}
	open()
	results := 0
	for r := range call.Results() {
		if r.From.Name != "endless" {
			continue
		}
		if got, _, _ := strings.Cut(r.Value, " "); got != fmt.Sprint(results) {
			t.Fatalf("result %d is %s", results, got)
		}
		results++
	}
	report := ended(t, call)
	want(t, report, dispatch.ReasonAllEnded, "far/endless failed", "far/quick ok")
	o := outcome(t, report, "far/endless")
	if !errors.Is(o.Err, dispatch.ErrLost) || !strings.Contains(o.Err.Error(), fmt.Sprintf("WithMaxBacklog allows %d", most)) || o.Results != results || results == 0 {
		t.Errorf("it has failed with %v after %d results, of which %d came", o.Err, o.Results, results)
	}
	// Besides the results that arrive, the codec writes the result that waits for room, and the result of
	// the other member. It does not write dropped results.
	if n := written.Load(); n > int64(results)+2 {
		t.Errorf("%d results are written, of which %d are sent", n, results)
	}
	if all := told.atLeast(t, 1); len(all) != 1 || !errors.Is(all[0], dispatch.ErrOverloaded) {
		t.Errorf("the error handler was told %q", all)
	}
	until(t, "nothing to wait", func() bool {
		stats := node.Stats()
		return stats.Waiting == 0 && stats.Backlog == 0 && stats.Overrun == 1
	})
	noMisuse(t, near)
}
