package browsertest

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// The page lists connections and nodes, those first that do not answer, and keeps them up to date.
func TestConnectionsAndNodes(t *testing.T) {
	s := newScene(t)
	tb := newTab(t, wide)
	tb.open(s.address)
	tb.updated()
	const hidden = "document.querySelector('.links').getBoundingClientRect().height === 0"
	if !eval[bool](tb, hidden) {
		t.Error("there are connections before there are any")
	}
	var gone atomic.Bool
	if _, err := s.bus.AddLink(func() dispatch.LinkSnapshot {
		b := dispatch.NodeSnapshot{Name: "cell-b", State: "present", Topics: []string{"cell.measure"}, HeardAgo: time.Second}
		if gone.Load() {
			b.State, b.HeardAgo, b.Error = "silent", 7*time.Second, "<b>gone</b>"
		}
		return dispatch.LinkSnapshot{
			Name: "nats:dispatch.default", State: "connected", Server: "nats://10.0.3.2:4222", Dropped: 3,
			Nodes: []dispatch.NodeSnapshot{{Name: "cell-a", State: "present", Topics: []string{"cell.measure"}}, b, {Name: "cell-c", State: "missing", HeardAgo: -1}},
		}
	}); err != nil {
		t.Fatal(err)
	}
	const rows = "[...document.querySelectorAll('.nodes tbody tr')].map(r => r.querySelector('th bdi').textContent + ' ' + r.querySelector('.state').textContent)"
	tb.wait(rows + ".join() === 'cell-c missing,cell-a present,cell-b present'")
	gone.Store(true)
	tb.wait(rows + ".join() === 'cell-b silent,cell-c missing,cell-a present'")
	if cells := eval[[]string](tb, "[...document.querySelectorAll('.nodes tbody tr:first-child td, .nodes tbody tr:first-child .error')].map(e => e.innerText)"); !slices.Contains(cells, "7 s") || !slices.Contains(cells, "<b>gone</b>") {
		t.Errorf("the first row has %q", cells)
	}
	if tone := eval[string](tb, "document.querySelector('.nodes .state').dataset.tone"); tone != "bad" {
		t.Errorf("its state is %s", tone)
	}
	if text := eval[string](tb, "document.querySelector('.links tbody tr').innerText"); !slices.Contains(strings.Fields(text), "3") {
		t.Errorf("the connection's row is %q", text)
	}
	for _, l := range []look{wide, narrow} {
		other := newTab(t, l)
		other.open(s.address)
		if wider := eval[bool](other, "document.documentElement.scrollWidth > document.documentElement.clientWidth"); wider {
			t.Errorf("at %d px the page scrolls sideways", l.width)
		}
	}
}
