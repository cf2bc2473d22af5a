package browsertest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/seed-bb4b4d74/dispatch"
)

// point moves the pointer to the middle of the first element that the selector matches.
func (tb *tab) point(selector string) {
	tb.t.Helper()
	at := eval[[]float64](tb, "(r => [r.x + r.width / 2, r.y + r.height / 2])(document.querySelector('"+selector+"').getBoundingClientRect())")
	tb.pointAt(at[0], at[1])
}

func (tb *tab) pointAt(x, y float64) {
	tb.t.Helper()
	command(tb, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: input.DispatchMouseEventTypeMouseMoved, X: x, Y: y})
}

// later waits until the page has been updated this many times more.
func (tb *tab) later(times int) {
	tb.t.Helper()
	n := eval[int](tb, "Number(document.documentElement.dataset.updates)")
	tb.wait(fmt.Sprint("document.documentElement.dataset.updates >= ", n+times))
}

// Rows keep their order while the pointer is on one of them, and no longer.
func TestRowsKeepTheirOrderUnderThePointer(t *testing.T) {
	s := newScene(t)
	s.produce("a.quick", takes(0), dispatch.WithName("site-1"))
	s.produce("b.slow", takes(20*time.Millisecond), dispatch.WithName("site-1"))
	for range 3 {
		s.call("a.quick")
		s.call("b.slow")
	}
	names := "[...document.querySelectorAll('.topics tbody tr')].map(r => r.dataset.k || r.querySelector('a').textContent).join(' ')"
	tb := newTab(t, wide)
	tb.open(s.address + "?sort=p99")
	tb.wait(names + " === 'b.slow a.quick'")
	tb.point(".topics tbody tr:first-child td:last-child")
	s.produce("a.quick", takes(time.Second), dispatch.WithName("site-2")) // longer than a busy machine needs for 20 ms
	s.call("a.quick")
	waitFor(t, "the other order", func() bool { return s.data("sort=p99").Topics.Rows[0].Name == "a.quick" })
	tb.later(3)
	if got := eval[string](tb, names); got != "b.slow a.quick" {
		t.Errorf("under the pointer the order has become %s", got)
	}
	tb.pointAt(5, 5)
	tb.wait(names + " === 'a.quick b.slow'")
}

// A call that has ended keeps its row while the pointer is on the list, so that a click hits
// the intended row.
func TestFlightsKeepTheirRowsUnderThePointer(t *testing.T) {
	s := newScene(t)
	s.produce("cell.measure", s.hangs(), dispatch.WithName("site-1"))
	first, second := s.send("cell.measure", dispatch.WithTimeout(time.Minute)), s.send("cell.measure", dispatch.WithTimeout(time.Minute))
	tb := newTab(t, wide)
	tb.open(s.address)
	tb.wait("document.querySelectorAll('.flight').length === 2")
	tb.updated()
	link := fmt.Sprintf("[...document.querySelectorAll('.flight')].map(f => f.querySelector('a[href*=\"call=%v\"]') ? 'first' : 'second').join(' ')", first.ID())
	before := eval[string](tb, link)
	tb.point(".flight:last-child")
	first.Cancel(nil)
	waitFor(t, "one call in flight", func() bool { return len(s.bus.Snapshot().Calls) == 1 })
	tb.later(3)
	if got := eval[string](tb, link); got != before {
		t.Errorf("under the pointer the calls in flight have become %q, they were %q", got, before)
	}
	const ended = "[...document.querySelectorAll('.flight')].filter(f => f.querySelector('.gone').checkVisibility()).map(f => f.querySelector('a').textContent).join()"
	if got, want := eval[string](tb, ended), fmt.Sprint("#", first.ID()); got != want {
		t.Errorf("under the pointer the rows of %q say that their call has ended, want %s", got, want)
	}
	tb.pointAt(5, 5)
	tb.wait("document.querySelectorAll('.flight').length === 1")
	second.Cancel(nil)
}

// A suspect that is none any more keeps its row while the pointer is on the list, and the row says so. After a
// touch it does not keep its row.
func TestASuspectThatIsNoneAnyMoreIsMarked(t *testing.T) {
	const gone = "document.querySelector('.suspect .gone')?.checkVisibility()"
	for name, touch := range map[string]bool{"pointer": false, "touch": true} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.produce("cell.measure", s.hangs(), dispatch.WithName("site-1"))
			c := s.send("cell.measure", dispatch.WithTimeout(time.Minute))
			s.suspected("waiting", 1)
			tb := newTab(t, wide)
			tb.open(s.address)
			tb.updated()
			tb.point(".suspect .lost")
			tb.wait("document.querySelector('.suspects').matches(':hover')")
			if touch { // the element is hovered over, but by a finger that is not there any more
				eval[chromedp.Void](tb, "dispatchEvent(new PointerEvent('pointerdown', { pointerType: 'touch' })); undefined")
			}
			s.letGo()
			c.Cancel(nil)
			waitFor(t, "no suspect", func() bool { return len(s.data("").Suspects) == 0 })
			if touch {
				tb.wait("!document.querySelector('.suspect')")
				return
			}
			tb.wait(gone)
			tb.pointAt(5, 5)
			tb.wait("!document.querySelector('.suspect')")
		})
	}
}

// A suspect keeps its row for five seconds, also if it is none any more, and the rows are sorted again at most that
// often. In this tab the clock stands still until the test moves it.
func TestSuspectsKeepTheirRowsForFiveSeconds(t *testing.T) {
	const names = "[...document.querySelectorAll('.suspect .who bdi')].map(e => e.textContent).join(' ')"
	s := newScene(t)
	s.produce("a.measure", takes(time.Hour), dispatch.WithName("site-1"))
	s.produce("b.measure", takes(time.Hour), dispatch.WithName("site-2"))
	calls := []*dispatch.Call[Pin, Reading]{s.send("a.measure", dispatch.WithTimeout(time.Minute))}
	s.suspected("waiting", 1)
	tb := newTab(t, wide)
	command(tb, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
		Source: "window.clock = 10000; performance.now = () => clock;",
	})
	tb.open(s.address)
	tb.wait(names + " === 'site-1'")
	tb.updated()
	// seen waits until the page shows what data.json has now, and returns the suspects on the page.
	topics := 0
	seen := func() string {
		topics++
		topic := fmt.Sprint("new-topic-", topics)
		s.produce(topic, takes(0))
		tb.wait("document.body.innerText.includes('" + topic + "')")
		return eval[string](tb, names)
	}
	five := func() { eval[chromedp.Void](tb, "clock += 5000; undefined") }

	for range 2 {
		calls = append(calls, s.send("b.measure", dispatch.WithTimeout(time.Minute)))
	}
	waitFor(t, "another first suspect", func() bool { all := s.data("").Suspects; return len(all) == 2 && all[0].Name == "site-2" })
	if got := seen(); got != "site-1 site-2" {
		t.Errorf("before the five seconds the suspects are %q", got)
	}
	five()
	if got := seen(); got != "site-2 site-1" {
		t.Errorf("after five seconds the suspects are %q", got)
	}
	for _, c := range calls {
		c.Cancel(nil)
	}
	waitFor(t, "no suspect", func() bool { return len(s.data("").Suspects) == 0 })
	if got := seen(); got != "site-2 site-1" {
		t.Errorf("before the five seconds the suspects that are none any more are %q", got)
	}
	five()
	if got := seen(); got != "" {
		t.Errorf("after five seconds the suspects that are none any more are %q", got)
	}
}

// What a screen reader reads out by itself does not change with the clock, and names the suspects.
func TestLiveRegionsSayOnlyWhatIsNew(t *testing.T) {
	s := newScene(t)
	s.produce("cell.measure", s.hangs(), dispatch.WithName("site-1"))
	s.send("cell.measure", dispatch.WithTimeout(time.Minute))
	s.suspected("waiting", 1)
	tb := newTab(t, wide)
	tb.open(s.address)
	tb.wait("document.querySelector('[aria-live=polite]').textContent === 'Suspected: site-1'")
	tb.wait("document.getElementById('live').textContent === 'live'")
	eval[chromedp.Void](tb, `window.read = [];
		const observer = new MutationObserver(list => read.push(...list.map(m => m.target.textContent)));
		for (const e of document.querySelectorAll("[aria-live], [role=status], [role=alert], [role=log], [role=timer]"))
			observer.observe(e, { childList: true, characterData: true, subtree: true });
		window.before = document.querySelector("time").textContent; undefined`)
	tb.wait("document.querySelector('time').textContent !== before")
	tb.later(3)
	if read := eval[[]string](tb, "read"); len(read) > 0 {
		t.Errorf("a screen reader reads out %q", read)
	}
}

// The button copies the call as it is in data.json.
func TestCopyAsJSON(t *testing.T) {
	s, id := late(t)
	tb := newTab(t, wide)
	tb.open(fmt.Sprint(s.address, "?call=", id))
	tb.updated()
	// The clipboard belongs to all tabs, and reading it needs a permission.
	eval[chromedp.Void](tb, "navigator.clipboard.writeText = text => { window.pasted = text; return Promise.resolve(); }; undefined")
	tb.do(chromedp.Click(chromedp.CSS("#copy")))
	tb.wait("document.getElementById('copy').textContent === 'Copied'")
	var copied struct {
		ID   dispatch.CallID
		Rows []struct{ Name, State string }
	}
	if err := json.Unmarshal([]byte(eval[string](tb, "pasted")), &copied); err != nil {
		t.Fatal(err)
	}
	rows := s.data(fmt.Sprint("call=", id)).Call.Rows
	if copied.ID != id || len(copied.Rows) == 0 || len(copied.Rows) != len(rows) {
		t.Errorf("copied call %v with %d rows, want %v with %d", copied.ID, len(copied.Rows), id, len(rows))
	}
	tb.wait("document.getElementById('copy').textContent === 'Copy as JSON'")
}
