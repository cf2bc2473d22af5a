package browsertest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/seed-bb4b4d74/dispatch"
)

var screenshots = flag.String("screenshots", "", "a directory to put a picture of each state of the page into")

var readme = flag.String("readme", "", "the file to put the picture of the README into")

// TestReadme checks that the picture of the README would show every state of the scene. With
// -readme=FILE it also takes the picture.
func TestReadme(t *testing.T) {
	s, id := shown(t)
	tb := newTab(t, look{width: 1080, height: 760})
	tb.open(fmt.Sprint(s.address, "?call=", id))
	tb.updated()
	for _, state := range []string{"ok", "failed", "late"} {
		if n := eval[int](tb, "document.querySelectorAll('.row[data-indent=\"0\"][data-state="+state+"]').length"); n == 0 {
			t.Errorf("no member is %s", state)
		}
	}
	if *readme == "" {
		return
	}
	bottom := eval[float64](tb, "document.querySelector('.legend').getBoundingClientRect().bottom")
	beyond := true
	picture := command(tb, page.CaptureScreenshot, page.CaptureScreenshotParams{
		Clip: &page.Viewport{Width: 1080, Height: bottom + 20, Scale: 1}, CaptureBeyondViewport: &beyond,
	})
	if err := os.WriteFile(*readme, picture.Data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestStates opens the page in every state, and in each way in which users view it. The console
// must be empty, and the page must not scroll to the right. With -screenshots=DIR the test also
// takes pictures.
func TestStates(t *testing.T) {
	states := []struct {
		name  string
		scene func(*testing.T) (address string)
	}{
		{"empty", func(t *testing.T) string { return newScene(t).address }},
		{"one-topic", func(t *testing.T) string {
			s := newScene(t)
			s.produce("cell.measure", takes(time.Millisecond), dispatch.WithName("site-1"))
			s.call("cell.measure")
			return s.address
		}},
		{"thousand-topics", func(t *testing.T) string { return thousand(t).address }},
		{"cell", func(t *testing.T) string { return cell(t).address }},
		{"cell-topic", func(t *testing.T) string { return cell(t).address + "?topic=cell.measure" }},
		{"in-flight", func(t *testing.T) string { s, _ := inFlight(t); return s.address }},
		{"in-flight-call", func(t *testing.T) string {
			s, id := inFlight(t)
			return fmt.Sprint(s.address, "?call=", id)
		}},
		{"late", func(t *testing.T) string {
			s, id := late(t)
			return fmt.Sprint(s.address, "?call=", id)
		}},
		{"late-overview", func(t *testing.T) string { s, _ := late(t); return s.address }},
		{"panic", func(t *testing.T) string {
			s, id := panicked(t)
			return fmt.Sprint(s.address, "?call=", id)
		}},
		{"panic-overview", func(t *testing.T) string { s, _ := panicked(t); return s.address }},
		{"stalled", func(t *testing.T) string { return stalled(t).address }},
		{"stalled-topic", func(t *testing.T) string { return stalled(t).address + "?topic=cell.measure" }},
		{"nested", func(t *testing.T) string {
			s := cell(t)
			return fmt.Sprint(s.address, "?call=", s.call("cell.measure", dispatch.WithTimeout(400*time.Millisecond)))
		}},
		{"closed", func(t *testing.T) string {
			s := cell(t)
			if err := s.bus.Close(); err != nil {
				t.Fatal(err)
			}
			return s.address
		}},
	}
	looks := []struct {
		name string
		look look
	}{
		{"wide-light", wide},
		{"narrow-dark", look{width: 360, height: 740, dark: true}},
		{"wide-dark", look{width: 1280, height: 900, dark: true}},
		{"narrow-light", narrow},
	}
	if *screenshots == "" {
		looks = looks[:2]
	}
	for _, state := range states {
		t.Run(state.name, func(t *testing.T) {
			address := state.scene(t)
			for _, l := range looks {
				tb := newTab(t, l.look)
				tb.open(address)
				tb.wait("document.documentElement.dataset.updates > 0")
				if over := eval[float64](tb, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
					t.Errorf("%s: the page is %v px too wide: %s", l.name, over, eval[string](tb, "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth).map(e => e.localName + '.' + e.className + ' ' + e.textContent.slice(0, 40)).join('; ')"))
				}
				if *screenshots != "" {
					picture, err := chromedp.Run(tb.ctx, chromedp.FullScreenshot(100))
					if err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(*screenshots, state.name+"-"+l.name+".png"), picture, 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}
