package dispatchdebug

import (
	"context"
	"fmt"
	"testing"

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
