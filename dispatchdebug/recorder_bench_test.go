package dispatchdebug

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// BenchmarkRecording measures recording while no browser shows the page. It compares the bus
// with one without an observer, and with one whose observer has the same hooks, which do
// nothing. It measures a call from Send to its end, one call after another.
func BenchmarkRecording(b *testing.B) {
	nothing := dispatch.Observer{
		CallEnd:   func(context.Context, dispatch.Report) {},
		MemberEnd: func(context.Context, dispatch.MemberInfo, dispatch.Outcome) {},
	}
	for _, n := range []int{1, 10, 100, 1000} {
		for _, by := range []string{"nobody", "nothing", "handler"} {
			b.Run(fmt.Sprintf("producers=%d/by=%s", n, by), func(b *testing.B) {
				bus := dispatch.NewBus()
				switch by {
				case "nothing":
					if _, err := bus.Observe(nothing); err != nil {
						b.Fatal(err)
					}
				case "handler":
					defer New(bus).Close()
				}
				d := dispatch.On[string, string](bus)
				for range n {
					if _, err := d.AddProducer(measure, func(context.Context, string) (string, error) { return "", nil }); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportAllocs()
				for b.Loop() {
					c, err := d.Send(context.Background(), measure, "")
					if err != nil {
						b.Fatal(err)
					}
					<-c.Done()
				}
			})
		}
	}
}

// BenchmarkDocument measures the document of the overview with different numbers of topics, of members that fail, and of
// calls in flight. Its cost has to be in proportion to them.
func BenchmarkDocument(b *testing.B) {
	hangs := func(ctx context.Context, _ string) (string, error) { <-ctx.Done(); return "", ctx.Err() }
	fails := func(context.Context, string) (string, error) { return "", errors.New("contact is open") }
	for _, of := range []string{"topics", "members", "calls"} {
		for _, n := range []int{100, 1000} {
			b.Run(fmt.Sprintf("%s=%d", of, n), func(b *testing.B) {
				bus := dispatch.NewBus()
				h := New(bus, WithRetention(defaultCalls, 64<<20))
				defer h.Close()
				defer bus.Close()
				d := dispatch.On[string, string](bus)
				add := func(topic dispatch.Topic[string, string], p site) {
					if _, err := d.AddProducer(topic, p); err != nil {
						b.Fatal(err)
					}
				}
				send := func(topic dispatch.Topic[string, string]) *dispatch.Call[string, string] {
					c, err := d.Send(context.Background(), topic, "")
					if err != nil {
						b.Fatal(err)
					}
					return c
				}
				switch of {
				case "topics":
					for i := range n {
						topic := dispatch.NewTopic[string, string](fmt.Sprint("topic-", i))
						add(topic, fails)
						<-send(topic).Done()
					}
				case "members":
					for range n {
						add(measure, fails)
					}
					<-send(measure).Done()
				case "calls":
					slow := dispatch.NewTopic[string, string]("slow", dispatch.WithTimeout(time.Hour))
					add(slow, hangs)
					for range n {
						send(slow)
					}
				}
				for b.Loop() {
					h.mu.Lock()
					h.seen = nil // so that it takes a snapshot
					h.mu.Unlock()
					h.document(query{}, true)
				}
				b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(n), "ns/"+of)
			})
		}
	}
}
