package dispatch_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/seed-bb4b4d74/dispatch"
)

// Stream lets go of the answers of groups as it does of those of other members.
func TestStreamLetsGoOfTheAnswersOfGroups(t *testing.T) {
	const n = 6000
	type big struct{ _ [1 << 10]byte }
	topic := dispatch.NewTopic[int, *big]("kit.big")
	d := dispatch.New[int, *big](dispatch.WithTimeout(time.Minute))
	var mu sync.Mutex
	var made []weak.Pointer[big]
	for i := range n {
		if _, err := d.AddProducer(topic, func(context.Context, int) (*big, error) {
			v := new(big)
			mu.Lock()
			defer mu.Unlock()
			made = append(made, weak.Make(v))
			return v, nil
		}, dispatch.WithGroup(fmt.Sprint("g", i))); err != nil {
			t.Fatal(err)
		}
	}
	yielded, kept := 0, 0
	for _, err := range d.Stream(context.Background(), topic, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if yielded++; yielded < n {
			continue
		}
		runtime.GC()
		for _, p := range made {
			if p.Value() != nil {
				kept++
			}
		}
	}
	if kept > 2100 {
		t.Errorf("%d answers of %d are still reachable", kept, n)
	}
}
