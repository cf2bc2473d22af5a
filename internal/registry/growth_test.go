package registry_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/seed-bb4b4d74/dispatch/internal/registry"
)

// What an operation allocates does not grow with the number of other registrations. The list of
// all of them is never copied.
func TestWhatAnOperationAllocatesDoesNotGrow(t *testing.T) {
	const times = 500
	for what, prepare := range map[string]func(t *testing.T, r *bus, n int) func(i int){
		"remove a producer": func(t *testing.T, r *bus, n int) func(int) {
			all := addProducers(t, r, n, "")
			return func(i int) { r.RemoveProducer(all[i]) }
		},
		"remove a replica": func(t *testing.T, r *bus, n int) func(int) {
			all := addProducers(t, r, n, "g")
			return func(i int) { r.RemoveProducer(all[i]) }
		},
		"add a replica": func(t *testing.T, r *bus, n int) func(int) {
			addProducers(t, r, n, "g")
			return func(int) { addProducers(t, r, 1, "g") }
		},
		"add a producer beside a replica": func(t *testing.T, r *bus, n int) func(int) {
			addProducers(t, r, 1, "g")
			addProducers(t, r, n, "")
			return func(int) { addProducers(t, r, 1, "") }
		},
		"remove a listener": func(t *testing.T, r *bus, n int) func(int) {
			all := make([]*listener, n)
			for i := range all {
				all[i] = newListener(on(topic("a.b")))
				must(t, r.AddListener(all[i]))
			}
			return func(i int) { r.RemoveListener(all[i]) }
		},
		"add and remove a listener of all topics": func(t *testing.T, r *bus, n int) func(int) {
			for i := range n {
				must(t, r.AddProducer(newProducer("", on(topic(fmt.Sprintf("cell.%d", i))))))
			}
			return func(int) {
				l := newListener(registry.SelectPattern(">", ints))
				must(t, r.AddListener(l))
				r.RemoveListener(l)
			}
		},
		"find the route of a topic among patterns": func(t *testing.T, r *bus, n int) func(int) {
			for i := range n {
				must(t, r.AddProducer(newProducer("p", registry.SelectPattern(fmt.Sprintf("cell.%d.*", i), ints))))
			}
			return func(int) { r.Route(topic("cell.7.measure")) }
		},
	} {
		t.Run(what, func(t *testing.T) {
			var each [2]int64
			for k, n := range []int{500, 8000} {
				r := newBus()
				do := prepare(t, r, n)
				before := allocated()
				for i := range times {
					do(i)
				}
				each[k] = (allocated() - before) / times
				runtime.KeepAlive(r)
			}
			if each[1] > 2*each[0]+1000 {
				t.Errorf("it allocates %d bytes among 500, and %d among 8,000", each[0], each[1])
			}
		})
	}
}

// What a registration on several topics allocates is in proportion to their number.
func TestARegistrationOnManyTopicsIsLinear(t *testing.T) {
	var each [2]int64
	for k, n := range []int{500, 10_000} {
		topics := make([]*registry.Topic, n)
		for i := range topics {
			topics[i] = topic(fmt.Sprintf("cell.%d", i))
		}
		r := newBus()
		before := allocated()
		p := newProducer("p", on(topics...))
		must(t, r.AddProducer(p))
		r.RemoveProducer(p)
		each[k] = (allocated() - before) / int64(n)
	}
	if each[1] > 2*each[0] {
		t.Errorf("on 500 topics it allocates %d bytes for each, on 10,000 %d", each[0], each[1])
	}
}

func addProducers(t *testing.T, r *bus, n int, group string) []*producer {
	all := make([]*producer, n)
	for i := range all {
		all[i] = newProducer("", on(topic("a.b")))
		all[i].Group = group
		must(t, r.AddProducer(all[i]))
	}
	return all
}

// allocated returns how many bytes have been allocated so far.
func allocated() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.TotalAlloc)
}

// BenchmarkGrowth measures the cost of an operation in a registry with n other registrations.
// The time of an operation should not grow with n, except where a case says so.
func BenchmarkGrowth(b *testing.B) {
	cases := []struct {
		name string
		run  func(b *testing.B, n int)
	}{
		{"op=replace/of=producer", func(b *testing.B, n int) { replaceProducers(b, n, "", "") }},
		{"op=replace/of=producer/beside=replica", func(b *testing.B, n int) { replaceProducers(b, n, "", "g") }},
		{"op=replace/of=replica", func(b *testing.B, n int) { replaceProducers(b, n, "g", "g") }},
		{"op=replace/of=listener", replaceListeners},
		{"op=replace/of=named-pattern", replaceNamedPatterns},
		{"op=replace/of=topics/unit=each", replaceTopics},
		{"op=replace/of=all-listener/among=topics", func(b *testing.B, n int) { replaceAllListener(b, n, false) }},
		{"op=replace/of=all-listener/among=routed-topics", func(b *testing.B, n int) { replaceAllListener(b, n, true) }},
		{"op=add/of=topic/unit=each", addTopics},
		{"op=route/by=pattern", routeByPattern},
		{"op=route/unchanged", routeUnchanged},
		{"op=route/changed/unit=each", routeChanged}, // the time for each producer
	}
	for _, c := range cases {
		for _, n := range []int{1e3, 1e4, 1e5} {
			b.Run(fmt.Sprintf("%s/n=%d", c.name, n), func(b *testing.B) { c.run(b, n) })
		}
	}
}

func replaceProducers(b *testing.B, n int, group, first string) {
	r, t := newBus(), topic("a.b")
	added := make([]*producer, n)
	for i := range added {
		added[i] = newProducer("", on(t))
		added[i].Group = group
		if i == 0 {
			added[i].Group = first
		}
		must(b, r.AddProducer(added[i]))
	}
	for b.Loop() {
		i := rand.IntN(n)
		r.RemoveProducer(added[i])
		added[i] = newProducer("", on(t))
		added[i].Group = group
		must(b, r.AddProducer(added[i]))
	}
}

func replaceListeners(b *testing.B, n int) {
	r, t := newBus(), topic("a.b")
	added := make([]*listener, n)
	for i := range added {
		added[i] = newListener(on(t))
		must(b, r.AddListener(added[i]))
	}
	for b.Loop() {
		i := rand.IntN(n)
		r.RemoveListener(added[i])
		added[i] = newListener(on(t))
		must(b, r.AddListener(added[i]))
	}
}

// replaceNamedPatterns has producers of the same name on patterns and on topics
// that do not overlap.
func replaceNamedPatterns(b *testing.B, n int) {
	r := newBus()
	added := make([]*producer, n)
	for i := range added {
		added[i] = newProducer("p", registry.SelectPattern(fmt.Sprintf("cell.%d.*", i), ints))
		must(b, r.AddProducer(added[i]))
		must(b, r.AddProducer(newProducer("p", on(topic(fmt.Sprintf("cell.%d", i))))))
	}
	for b.Loop() {
		i := rand.IntN(n)
		r.RemoveProducer(added[i])
		added[i] = newProducer("p", added[i].Selection)
		must(b, r.AddProducer(added[i]))
	}
}

func replaceTopics(b *testing.B, n int) {
	r := newBus()
	topics := make([]*registry.Topic, n)
	for i := range topics {
		topics[i] = topic(fmt.Sprintf("cell.%d", i))
	}
	for b.Loop() {
		p := newProducer("p", on(topics...))
		must(b, r.AddProducer(p))
		r.RemoveProducer(p)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/each")
}

// addTopics adds a producer to each of n topics. The bytes are those of the
// registry alone, without producers and topics.
func addTopics(b *testing.B, n int) {
	producers := make([]*producer, n)
	var bytes int64
	for b.Loop() {
		b.StopTimer()
		for i := range producers {
			producers[i] = newProducer("", on(topic(fmt.Sprintf("cell.%d", i))))
		}
		before := heap()
		b.StartTimer()
		r := newBus()
		for _, p := range producers {
			must(b, r.AddProducer(p))
		}
		b.StopTimer()
		bytes += heap() - before
		runtime.KeepAlive(r)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/each")
	b.ReportMetric(float64(bytes)/float64(b.N*n), "B/each")
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// replaceAllListener has a route kept for each topic before the first round only:
// building them again is the cost of Route.
func replaceAllListener(b *testing.B, n int, routed bool) {
	r := newBus()
	must(b, r.AddListener(newListener(registry.SelectPattern(">", ints))))
	for i := range n {
		t := topic(fmt.Sprintf("cell.%d", i))
		must(b, r.AddProducer(newProducer("", on(t))))
		if routed {
			r.Route(t)
		}
	}
	for b.Loop() {
		l := newListener(registry.SelectPattern(">", ints))
		must(b, r.AddListener(l))
		r.RemoveListener(l)
	}
}

func routeByPattern(b *testing.B, n int) {
	r := newBus()
	for i := range n {
		must(b, r.AddProducer(newProducer("", registry.SelectPattern(fmt.Sprintf("cell.%d.*", i), ints))))
	}
	t := topic("cell.7.measure")
	for b.Loop() {
		r.Route(t)
	}
}

func routeUnchanged(b *testing.B, n int) {
	r := newBus()
	t := topic("cell.7")
	for i := range n {
		must(b, r.AddProducer(newProducer("", on(topic(fmt.Sprintf("cell.%d", i))))))
	}
	for b.Loop() {
		r.Route(t)
	}
}

func routeChanged(b *testing.B, n int) {
	r, t := newBus(), topic("a.b")
	for range n {
		must(b, r.AddProducer(newProducer("", on(t))))
	}
	for b.Loop() {
		l := newListener(on(t))
		must(b, r.AddListener(l))
		r.Route(t)
		r.RemoveListener(l)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/each")
}
