package browsertest

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	scenes "github.com/seed-bb4b4d74/dispatch/dispatchdebug/scenes/scene"
)

// playing serves the page of a scene, and returns its address.
func playing(t *testing.T, s scenes.Scene) string {
	t.Helper()
	st := s.Play()
	mux := http.NewServeMux()
	mux.Handle("/debug/dispatch/", st.Handler)
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		st.Close()
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL + "/debug/dispatch/"
}

// watchShifts starts to add up the layout shifts of the page.
const watchShifts = `window.shifted = 0; window.shifts = [];
new PerformanceObserver(list => {
	for (const e of list.getEntries()) if (!e.hadRecentInput) {
		shifted += e.value;
		shifts.push(e.value.toFixed(3) + " " + e.sources.map(s => s.node ? s.node.nodeName + "." + s.node.className + " " + s.previousRect.y + "→" + s.currentRect.y : "").join(", "));
	}
}).observe({ type: "layout-shift", buffered: true }); undefined`

// whatIsCut returns the cells and figures that are wider than their places.
const whatIsCut = `[...document.querySelectorAll("td, thead th, .flight .time, .figure")].
	filter(e => e.offsetParent && e.scrollWidth > e.clientWidth).slice(0, 5).map(e => e.className + " " + e.innerText.trim()).join("; ")`

// In every scene the name of the culprit is in the first row, and the layout is stable: all
// layout shifts together are less than a tenth of the window.
func TestCulprits(t *testing.T) {
	looks := map[string]look{
		"360-light": narrow, "360-dark": {width: 360, height: 740, dark: true}, "1280-light": wide, "1280-dark": {width: 1280, height: 900, dark: true},
		"1920-light": {width: 1920, height: 1080}, "1920-dark": {width: 1920, height: 1080, dark: true},
	}
	for _, s := range scenes.All() {
		t.Run(s.Name, func(t *testing.T) {
			address := playing(t, s)
			for _, page := range []string{"", s.Page} {
				tb := newTab(t, wide)
				tb.open(address + page)
				eval[chromedp.Void](tb, watchShifts)
				tb.updated()
				if s.Culprit != "" {
					tb.wait("document.querySelector('.suspect .who bdi')?.textContent === '" + s.Culprit + "'")
				}
				tb.wait("document.documentElement.dataset.updates > 12 || performance.now() > 8000")
				if shifted := eval[float64](tb, "shifted"); shifted >= 0.1 {
					t.Errorf("%s: what is seen has moved by %.3f: %s", page, shifted, eval[string](tb, "shifts.join('; ')"))
				} else {
					t.Logf("%s: cumulative layout shift %.4f", page, shifted)
				}
				if s.Page == "" {
					break
				}
			}
			for _, l := range []look{narrow, wide} {
				tb := newTab(t, l)
				tb.open(address + s.Page)
				tb.updated()
				if cut := eval[string](tb, whatIsCut); cut != "" {
					t.Errorf("%d px: cut off: %s", l.width, cut)
				}
				if lines := eval[int](tb, "[...document.querySelectorAll('.suspect .who bdi')].reduce((most, e) => Math.max(most, e.getClientRects().length), 0)"); lines > 1 {
					t.Errorf("%d px: the name of a suspect has %d lines", l.width, lines)
				}
				if over := eval[float64](tb, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
					t.Errorf("%d px: the page is %v px too wide", l.width, over)
				}
			}
			if *screenshots == "" {
				return
			}
			for name, l := range looks {
				tb := newTab(t, l)
				tb.open(address + s.Page)
				tb.updated()
				tb.wait("document.documentElement.dataset.updates > 3 || performance.now() > 3000")
				picture, err := chromedp.Run(tb.ctx, chromedp.FullScreenshot(100))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(*screenshots, "scene-"+s.Name+"-"+name+".png"), picture, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
