package browsertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/seed-bb4b4d74/dispatch"
)

// data is the part of data.json that these tests compare the page with.
type data struct {
	Page struct {
		Viewers int    `json:"viewers"`
		Dropped uint64 `json:"updates_dropped"`
	} `json:"page"`
	Bus struct {
		Abandoned int `json:"abandoned"`
	} `json:"bus"`
	Suspects []struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	} `json:"suspects"`
	Topics struct {
		Rows []struct{ Name string }
	}
	Call struct {
		Elapsed float64 `json:"elapsed_ns"`
		Budget  float64 `json:"budget_ns"`
		Scale   float64 `json:"scale_ns"`
		Rows    []struct {
			Key      string
			Deadline float64 `json:"deadline_ns"`
			Bars     []struct {
				Kind   string
				Start  float64 `json:"start_ns"`
				Length float64 `json:"length_ns"`
			}
		}
	} `json:"call"`
}

func (s *scene) data(parameters string) (d data) {
	s.t.Helper()
	resp, err := http.Get(s.address + "data.json?" + parameters)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil {
		s.t.Fatal(err)
	}
	return d
}

// suspected waits until data.json has n suspects of this kind.
func (s *scene) suspected(kind string, n int) {
	s.t.Helper()
	waitFor(s.t, fmt.Sprint(n, " suspects: ", kind), func() bool {
		found := 0
		for _, suspect := range s.data("").Suspects {
			if suspect.Kind == kind {
				found++
			}
		}
		return found == n
	})
}

// A call is on the open page within half a second after it was sent.
func TestLiveRow(t *testing.T) {
	s := newScene(t)
	s.produce("cell.measure", s.hangs(), dispatch.WithName("site-1"))
	tb := newTab(t, wide)
	tb.open(s.address)
	tb.updated()
	var slowest time.Duration
	for range 5 {
		n := eval[int](tb, "document.querySelectorAll('.flight').length")
		began := time.Now()
		s.send("cell.measure", dispatch.WithTimeout(time.Minute))
		tb.wait(fmt.Sprintf("document.querySelectorAll('.flight').length > %d", n))
		slowest = max(slowest, time.Since(began))
	}
	t.Logf("the slowest of 5 rows appeared after %v; the bar is 500ms", slowest.Round(time.Millisecond))
	if slowest > 10*time.Second {
		t.Errorf("a row appeared after %v", slowest)
	}
	if got := eval[string](tb, "document.querySelector('.flight .names').innerText"); !strings.HasPrefix(got, "site-1") {
		t.Errorf("it waits for %q", got)
	}
}

// Every bar and line is at the place that data.json says, within a pixel.
func TestGeometry(t *testing.T) {
	s, id := late(t)
	s.letGo() // so that nothing grows between the two looks
	for _, l := range []look{wide, narrow} {
		tb := newTab(t, l)
		tb.open(fmt.Sprint(s.address, "?call=", id))
		tb.updated()
		tb.wait("!document.body.innerText.includes('so far')")
		d := s.data(fmt.Sprint("call=", id))
		type box struct{ X, Width float64 }
		type drawn struct {
			Key      string
			Chart    box
			Deadline float64
			Bars     []box
		}
		rows := eval[[]drawn](tb, `[...document.querySelectorAll('.row')].map(row => {
			const chart = row.querySelector('.chart svg').getBoundingClientRect();
			const rel = r => ({X: r.x - chart.x, Width: r.width});
			return {Key: row.dataset.k, Chart: {X: chart.x, Width: chart.width},
				Deadline: row.querySelector('line.deadline').getBoundingClientRect().x - chart.x,
				Bars: [...row.querySelectorAll('.chart rect')].map(r => rel(r.getBoundingClientRect()))};
		})`)
		if len(rows) != len(d.Call.Rows) || len(rows) < 12 {
			t.Fatalf("%d rows are drawn, data.json has %d", len(rows), len(d.Call.Rows))
		}
		bars := 0
		for i, want := range d.Call.Rows {
			got := rows[i]
			px := func(ns float64) float64 { return ns / d.Call.Scale * got.Chart.Width }
			near := func(what string, got, want float64) {
				if math.Abs(got-want) > 1 {
					t.Errorf("%s, %s: at %.2f px, want %.2f", d.Call.Rows[i].Key, what, got, want)
				}
			}
			if got.Key != want.Key || len(got.Bars) != len(want.Bars) {
				t.Fatalf("row %d is %q with %d bars, want %q with %d", i, got.Key, len(got.Bars), want.Key, len(want.Bars))
			}
			near("deadline", got.Deadline, px(want.Deadline))
			for k, bar := range want.Bars {
				bars++
				near(bar.Kind+" begins", got.Bars[k].X, px(bar.Start))
				near(bar.Kind+" ends", got.Bars[k].X+got.Bars[k].Width, px(bar.Start+bar.Length))
			}
		}
		if bars < 20 {
			t.Errorf("only %d bars", bars)
		}
	}
}

// Bars of a call in flight grow on the page, without any action.
func TestBarsGrow(t *testing.T) {
	s, id := inFlight(t)
	tb := newTab(t, wide)
	tb.open(fmt.Sprint(s.address, "?call=", id))
	const width = "Number(document.querySelector('.row[data-state=pending] rect').getAttribute('width').slice(0, -1)) * Number(1)"
	tb.updated()
	text := eval[string](tb, "document.querySelector('.row[data-state=pending] .outcome').innerText")
	first := eval[float64](tb, width)
	tb.wait(fmt.Sprintf("%s > %v + 2 || document.querySelector('.row[data-state=pending] .outcome').innerText !== %q", width, first, text))
}

// Names from the program are shown as text, even if they contain HTML.
func TestHostileNames(t *testing.T) {
	s := newScene(t)
	names := []string{
		`<script>document.title = "hacked"</script>`, `"><img src=x onerror="document.title='hacked'">`, `</template></script><b>x`,
		"{{.}} ${1} &lt;", "\u202egnirts a si siht", "שלום", "🧪🔬 site", strings.Repeat("long", 2500), strings.Repeat("w ", 5000),
		"line\nbreak\ttab", "\x00\x7f", "'\"`", " ",
	}
	// One page is open before there are such names, and has to put them in by itself.
	s.produce("cell.measure", takes(0), dispatch.WithName("well"))
	early := newTab(t, wide)
	early.open(s.address + "?topic=cell.measure")
	early.updated()
	for i, name := range names {
		p := fails(0, name)
		if i%2 == 0 {
			p = panics(0)
		}
		s.produce("cell.measure", p, dispatch.WithName(name))
		s.listen("cell.measure", func() {}, dispatch.WithName(name))
	}
	if _, err := dispatch.On[Pin, Reading](s.bus).AddRelay(dispatch.NewTopic[Pin, Reading]("cell.measure"), remote(names)); err != nil {
		t.Fatal(err)
	}
	id := s.call("cell.measure")
	early.wait(fmt.Sprintf("document.querySelectorAll('th .error:not([hidden])').length > %d", len(names)))
	if n := eval[int](early, "document.querySelectorAll('img, main script, main b b, main p b, th b, iframe').length"); n > 0 {
		t.Errorf("a name became %d elements", n)
	}
	if title := eval[string](early, "document.title"); strings.Contains(title, "hacked") {
		t.Error("a name was executed")
	}
	for _, l := range []look{wide, narrow, {width: 1280, height: 900, noScript: true}} {
		for _, page := range []string{"", "?topic=cell.measure", fmt.Sprint("?call=", id)} {
			tb := newTab(t, l)
			tb.open(s.address + page)
			if !l.noScript {
				tb.updated()
			}
			if title := eval[string](tb, "document.title"); strings.Contains(title, "hacked") {
				t.Errorf("%s: a name was executed", page)
			}
			if n := eval[int](tb, "document.querySelectorAll('img, main script, main b b, iframe').length"); n > 0 {
				t.Errorf("%s: a name became %d elements", page, n)
			}
			if over := eval[int](tb, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
				t.Errorf("%s at %d: the page is %d px too wide", page, l.width, over)
			}
			if page != "" {
				for _, name := range names[:7] {
					if text := eval[string](tb, "document.querySelector('main').textContent"); !strings.Contains(text, name) {
						t.Errorf("%s: %q is not there as text", page, name)
					}
				}
			}
		}
	}
}

// Names in query parameters are shown as text, too.
func TestHostileParameters(t *testing.T) {
	s := newScene(t)
	s.produce("cell.measure", takes(0))
	tb := newTab(t, wide)
	for _, parameters := range []string{
		`topic="><script>document.title='hacked'</script>`, `q="><script>document.title='hacked'</script>`, "sort=%3Cscript%3E", "topic=", "page=99999999",
	} {
		tb.open(s.address + "?" + parameters)
		if title := eval[string](tb, "document.title"); title == "hacked" {
			t.Errorf("%s was executed", parameters)
		}
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	// The page of an unknown topic is Not Found, and the console reports that.
	tb.complains = nil
}

// A thousand topics are there at once.
func TestThousandTopics(t *testing.T) {
	s := thousand(t)
	tb := newTab(t, wide)
	began := time.Now()
	tb.open(s.address)
	tb.wait("document.querySelectorAll('.topics tbody tr').length === 100")
	took := time.Since(began)
	t.Logf("1,000 topics were rendered after %v; the bar is 1s", took.Round(time.Millisecond))
	if took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	tb.updated()
	tb.do(chromedp.Click(chromedp.CSS(".pager a:not([hidden])")))
	tb.wait("document.querySelector('.pager')?.innerText.includes('101–200 of 1,000')")
	if got := eval[string](tb, "document.querySelector('.topics tbody bdi').textContent"); got != "line-02.station-00.measure" {
		t.Errorf("page 2 begins with %q", got)
	}
}

// The table follows the typed search, and the address follows the table.
func TestSearch(t *testing.T) {
	s := thousand(t)
	tb := newTab(t, wide)
	tb.open(s.address + "?sort=p99")
	tb.updated()
	tb.do(chromedp.SendKeys(chromedp.CSS("#q"), "line-07.station-1"))
	tb.wait("document.querySelectorAll('.topics tbody tr').length === 10")
	if got := eval[string](tb, "location.search"); got != "?q=line-07.station-1&sort=p99" {
		t.Errorf("the address says %q", got)
	}
	tb.do(chromedp.SendKeys(chromedp.CSS("#q"), "nowhere"))
	tb.wait("[...document.querySelectorAll('.empty')].some(e => e.checkVisibility() && e.innerText.startsWith('No topic has this'))")
	tb.open(s.address + "?q=line-07.station-1&sort=p99")
	if n := eval[int](tb, "document.querySelectorAll('.topics tbody tr').length"); n != 10 {
		t.Errorf("%d rows are served for the same address", n)
	}
}

// A page that was updated is equal to one that is served now.
func TestPatchedIsServed(t *testing.T) {
	s, id := late(t)
	s.letGo()
	stay := newTab(t, wide)
	fresh := newTab(t, look{width: 1280, height: 900, noScript: true})
	const shown = `(() => { const main = document.querySelector('main').cloneNode(true), header = document.querySelector('.figures').cloneNode(true);
		main.querySelectorAll('#said, #copy').forEach(e => e.remove()); main.querySelectorAll('[style]').forEach(e => e.removeAttribute('style'));
		return header.outerHTML + main.outerHTML.replace(/ data-k="[^"]*"/g, '').replace(/(just now|\d+ s ago)/g, 'ago').replace(/value="[^"]*"/, '') })()`
	for _, page := range []string{"", "?topic=cell.measure", fmt.Sprint("?call=", id), "?sort=p99"} {
		// The page is opened before the changes, and has to follow them.
		stay.open(s.address + page)
		stay.updated()
		s.produce("cell.measure", fails(time.Millisecond, "new "+page), dispatch.WithName("new"+page))
		s.produce("another.topic"+fmt.Sprint(len(page)), takes(time.Millisecond))
		s.call("cell.measure", dispatch.WithTimeout(300*time.Millisecond))
		s.call("another.topic" + fmt.Sprint(len(page)))
		same := false
		var served, patched string
		for deadline := time.Now().Add(giveUp); !same && time.Now().Before(deadline); {
			fresh.open(s.address + page)
			served, patched = eval[string](fresh, shown), eval[string](stay, shown)
			if strings.HasPrefix(page, "?call=") { // a call that has ended is not streamed, so its header is not updated either
				_, served, _ = strings.Cut(served, "<main")
				_, patched, _ = strings.Cut(patched, "<main")
			}
			same = served == patched
		}
		if !same {
			i := 0
			for i < len(served) && i < len(patched) && served[i] == patched[i] {
				i++
			}
			t.Errorf("%q differs at %d:\n served …%.300s\npatched …%.300s", page, i, served[max(i-100, 0):], patched[max(i-100, 0):])
		}
	}
}

// The browser formats figures like the server. Both are compared with the same file.
func TestFormatsAgree(t *testing.T) {
	script, err := os.ReadFile("../assets/page.js")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := os.ReadFile("../testdata/formats.json")
	if err != nil {
		t.Fatal(err)
	}
	var formats map[string][]struct{ Text string }
	if err := json.Unmarshal(cases, &formats); err != nil {
		t.Fatal(err)
	}
	var body strings.Builder
	var want []string
	for name, list := range formats {
		for i, c := range list {
			fmt.Fprintf(&body, `<p data-text="%s.%d.value|%s"></p>`, name, i, name)
			want = append(want, c.Text)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,">%s<b id="live"> </b><button id="pause"></button><script>%s</script>`, &body, script)
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: %s\n\n", strings.ReplaceAll(string(cases), "\n", " "))
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	tb := newTab(t, wide)
	tb.open(server.URL)
	tb.updated()
	got := eval[[]string](tb, "[...document.querySelectorAll('p')].map(p => p.textContent)")
	if len(got) != len(want) || len(got) < 40 {
		t.Fatalf("%d texts, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
}

func TestPause(t *testing.T) {
	s := newScene(t)
	s.produce("cell.measure", s.hangs(), dispatch.WithName("site-1"))
	tb := newTab(t, wide)
	tb.open(s.address)
	tb.updated()
	tb.do(chromedp.Click(chromedp.CSS("#pause")))
	tb.wait("document.getElementById('live').innerText === 'paused'")
	waitFor(t, "the stream to end", func() bool { return s.data("").Page.Viewers == 0 })
	s.send("cell.measure", dispatch.WithTimeout(time.Minute))
	if n := eval[int](tb, "document.querySelectorAll('.flight').length"); n != 0 {
		t.Errorf("%d calls appeared while paused", n)
	}
	tb.do(chromedp.Click(chromedp.CSS("#pause")))
	tb.wait("document.querySelectorAll('.flight').length === 1")
}

// Without JavaScript the page is complete, and links and forms work.
func TestNoScript(t *testing.T) {
	s, id := late(t)
	tb := newTab(t, look{width: 1280, height: 900, noScript: true})
	tb.open(s.address)
	for _, selector := range []string{".suspect", ".topics tbody tr", ".figure"} {
		if eval[int](tb, "document.querySelectorAll('"+selector+"').length") == 0 {
			t.Errorf("no %s", selector)
		}
	}
	if eval[bool](tb, "document.getElementById('pause').checkVisibility()") {
		t.Error("there is a pause button that does nothing")
	}
	tb.do(chromedp.SendKeys(chromedp.CSS("#q"), "prober"), chromedp.Click(chromedp.CSS("#search button")))
	tb.wait("document.querySelectorAll('.topics tbody tr').length === 1")
	tb.do(chromedp.Click(chromedp.CSS(".topics tbody a")))
	tb.wait("document.querySelector('h1').innerText === 'prober.temperature'")
	tb.open(fmt.Sprint(s.address, "?call=", id))
	if n := eval[int](tb, "document.querySelectorAll('.row').length"); n < 12 {
		t.Errorf("%d rows", n)
	}
	if w := eval[float64](tb, "document.querySelector('.row[data-state=late] rect[data-kind=running]').getBoundingClientRect().width"); w < 100 {
		t.Errorf("the bar of a late member is %v px wide", w)
	}
}

// The keyboard is enough to use the page, and the focus is visible.
func TestKeyboard(t *testing.T) {
	s, id := late(t)
	tb := newTab(t, wide)
	tb.open(s.address)
	tb.updated()
	press := func(keys string) { t.Helper(); tb.do(chromedp.KeyEvent(keys)) }
	focus := func() string {
		return eval[string](tb, "document.activeElement === document.body ? 'body' : (document.activeElement.id || document.activeElement.innerText || document.activeElement.localName).trim().split('\\n')[0]")
	}
	seen := map[string]bool{}
	for range 40 {
		press(kb.Tab)
		name := focus()
		seen[name] = true
		if name != "body" && eval[string](tb, "getComputedStyle(document.activeElement).outlineStyle") == "none" {
			t.Errorf("one does not see that %q has the focus", name)
		}
	}
	for _, name := range []string{"To the content", "dispatch", "pause", "q", "Find", "cell.measure", "site-9", "p99", "data.json"} {
		if !seen[name] {
			t.Errorf("%q is not reached by Tab; there are %v", name, seen)
		}
	}
	tb.do(chromedp.Focus(chromedp.CSS("#pause")))
	press(kb.Enter)
	tb.wait("document.getElementById('pause').innerText === 'Resume'")
	press(kb.Enter)
	tb.wait("document.getElementById('pause').innerText === 'Pause'")
	// The focus stays where it is when the page is updated.
	tb.do(chromedp.Focus(chromedp.CSS(".topics tbody tr:nth-child(3) a")))
	before := focus()
	s.produce("a.new.topic", takes(0))
	tb.wait("document.body.innerText.includes('a.new.topic')")
	if focus() != before {
		t.Errorf("the focus went from %q to %q", before, focus())
	}
	press(kb.Enter)
	tb.wait("location.search === '?topic=cell.measure' && document.readyState === 'complete'")
	tb.open(fmt.Sprint(s.address, "?call=", id))
	press(kb.Tab)
	press(kb.Enter)
	if got := eval[string](tb, "document.activeElement.id"); got != "content" {
		t.Errorf("the way past the header leads to %q", got)
	}
}

// There are no requests to other servers.
func TestOwnOrigin(t *testing.T) {
	s := cell(t)
	tb := newTab(t, wide)
	for _, page := range []string{"", "?topic=cell.measure", "?call=1"} {
		tb.open(s.address + page)
		tb.updated()
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	for _, r := range tb.requests {
		if !strings.HasPrefix(r, s.address) && !strings.HasPrefix(r, "data:") {
			t.Errorf("it asks for %s", r)
		}
	}
	if len(tb.requests) < 6 {
		t.Errorf("only %d requests were seen", len(tb.requests))
	}
}

// A request with another host name that resolves to this machine gets no page.
func TestForeignHost(t *testing.T) {
	s := cell(t)
	tb := newTab(t, wide)
	foreign := strings.Replace(s.address, "127.0.0.1", "evil.test", 1)
	resp, err := chromedp.RunResponse(tb.ctx, chromedp.Navigate(foreign))
	if err != nil {
		t.Fatal(err)
	}
	if resp.Status != http.StatusForbidden {
		t.Errorf("got %d", resp.Status)
	}
	if text := eval[string](tb, "document.body.innerText"); strings.Contains(text, "cell") || !strings.Contains(text, "403") {
		t.Errorf("it says %q", text)
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.complains = nil // the console reports the 403
}

// No page has a barrier that axe-core calls serious.
func TestAxe(t *testing.T) {
	axe := axeSource(t)
	l, lateID := late(t)
	p, panicID := panicked(t)
	f, flightID := inFlight(t)
	for _, address := range []string{
		newScene(t).address, l.address, l.address + "?topic=cell.measure", fmt.Sprint(l.address, "?call=", lateID), fmt.Sprint(p.address, "?call=", panicID),
		f.address, fmt.Sprint(f.address, "?call=", flightID), stalled(t).address + "?topic=cell.measure", l.address + "?q=nothing",
	} {
		for _, lk := range []look{wide, {width: 360, height: 740, dark: true}} {
			tb := newTab(t, lk)
			tb.open(address)
			tb.updated()
			eval[chromedp.Void](tb, axe+"; undefined")
			type violation struct {
				ID, Impact, Help string
				Nodes            []string
			}
			found, err := chromedp.Run(tb.ctx, chromedp.Evaluate[[]violation](`axe.run().then(r => r.violations.map(v => ({ID: v.id, Impact: v.impact, Help: v.help, Nodes: v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + ' ' + n.failureSummary)})))`, chromedp.EvalAwaitPromise))
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range found {
				if v.Impact == "serious" || v.Impact == "critical" {
					t.Errorf("%s (%+v): %s: %s: %s\n%s", address, lk, v.Impact, v.ID, v.Help, strings.Join(v.Nodes, "\n"))
				} else {
					t.Logf("%s: %s: %s\n%s", v.Impact, v.ID, v.Help, strings.Join(v.Nodes, "\n"))
				}
			}
		}
	}
}

// axeSource returns axe-core, which make deps installs as package-lock.json says.
func axeSource(t *testing.T) string {
	t.Helper()
	browser(t) // skips the test if there is no browser
	source, err := os.ReadFile(filepath.Join("node_modules", "axe-core", "axe.min.js"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("this machine lacks axe-core")
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(source)
}

// Rows of one name, here of a producer and a group, are all kept up to date.
func TestRowsOfOneName(t *testing.T) {
	s := newScene(t)
	s.produce("cell.measure", takes(time.Millisecond), dispatch.WithName("meters"))
	s.produce("cell.measure", takes(time.Millisecond), dispatch.WithName("meter-1"), dispatch.WithGroup("meters"))
	s.call("cell.measure")
	tb := newTab(t, wide)
	tb.open(s.address + "?topic=cell.measure")
	const rows = `[...document.querySelectorAll('[data-list=members] tr')].map(r => r.querySelector('bdi').textContent + ' ' + r.querySelector('[data-value]').dataset.value).join()`
	tb.wait(rows + " === 'meters 1,meter-1 1,meters 1'")
	s.call("cell.measure")
	s.call("cell.measure")
	tb.wait(rows + " === 'meters 3,meter-1 3,meters 3'")
}

// A search that is typed on the page of a topic and that finds no producer does not say that there is none. The link to
// the data follows the search.
func TestASearchThatFindsNoProducer(t *testing.T) {
	s := cell(t)
	tb := newTab(t, wide)
	tb.open(s.address + "?topic=cell.measure")
	tb.updated()
	tb.do(chromedp.SendKeys(chromedp.CSS("#q"), "nowhere"))
	tb.wait("!document.querySelector('.members').checkVisibility()")
	const said = `[...document.querySelectorAll("[aria-labelledby=producers] .empty")].filter(e => e.checkVisibility()).map(e => e.innerText).join()`
	if got := eval[string](tb, said); got != "No producer has this text in its name, state or error." {
		t.Errorf("the page says %q", got)
	}
	if got := eval[string](tb, "document.querySelector('footer a').getAttribute('href')"); got != "data.json?q=nowhere&topic=cell.measure" {
		t.Errorf("the link to the data is %q", got)
	}
}

// On a narrow page of kept calls, times of day and durations are whole.
func TestKeptCallsAreWholeOnANarrowPage(t *testing.T) {
	s, _ := late(t)
	s.letGo()
	s.produce("quick.topic", takes(8*time.Millisecond))
	s.call("quick.topic")
	for _, l := range []look{narrow, wide} {
		tb := newTab(t, l)
		tb.open(s.address + "?calls")
		tb.updated()
		if cut := eval[string](tb, whatIsCut); cut != "" {
			t.Errorf("%d px: cut off: %s", l.width, cut)
		}
	}
}

// The link to the critical path of a call keeps the search that is typed.
func TestTheCriticalPathKeepsTheSearch(t *testing.T) {
	s, id := late(t)
	s.letGo()
	tb := newTab(t, wide)
	tb.open(fmt.Sprint(s.address, "?call=", id))
	tb.updated()
	tb.do(chromedp.SendKeys(chromedp.CSS("#q"), "site"))
	tb.wait("location.search.includes('q=site')")
	if got, want := eval[string](tb, "document.querySelector('a[data-only]').getAttribute('href')"), fmt.Sprintf("?call=%v&only=critical&q=site", id); got != want {
		t.Errorf("the link is %q, want %q", got, want)
	}
}
