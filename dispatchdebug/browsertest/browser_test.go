// Package browsertest looks at the live page with a real browser.
package browsertest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// giveUp is much longer than any step of a test takes.
const giveUp = 3 * time.Minute

var chromium struct {
	once    sync.Once
	ctx     context.Context
	cancels []func()
	err     error
}

// TestMain ends the browser after the last test.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	for _, cancel := range chromium.cancels {
		cancel()
	}
	os.Exit(code)
}

// errNoBrowser means that there is no browser to start.
var errNoBrowser = errors.New("no Chromium on the PATH")

// browser returns the one browser of all tests. If the machine has none, the test is
// skipped; test/modules reports that.
func browser(t *testing.T) context.Context {
	t.Helper()
	chromium.once.Do(startBrowser)
	if errors.Is(chromium.err, errNoBrowser) {
		t.Skip("this machine lacks Chromium")
	}
	if chromium.err != nil {
		t.Fatal(chromium.err)
	}
	return chromium.ctx
}

func startBrowser() {
	path, err := findBrowser()
	if err != nil {
		chromium.err = err
		return
	}
	profile, err := os.MkdirTemp("", "browsertest-")
	if err != nil {
		chromium.err = err
		return
	}
	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
	}
	for _, name := range []string{"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-dev-shm-usage", "hide-scrollbars"} {
		opts = append(opts, chromedp.Flag(name, true))
	}
	// A name of another site that points to this machine.
	opts = append(opts, chromedp.Flag("host-resolver-rules", "MAP evil.test 127.0.0.1"))
	allocator, cancelAllocator := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, cancel := chromedp.NewContext(allocator)
	chromium.cancels = []func(){cancel, cancelAllocator, func() { os.RemoveAll(profile) }}
	chromium.ctx, chromium.err = ctx, chromedp.Do(ctx)
}

func findBrowser() (string, error) {
	for _, name := range []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errNoBrowser
}

// A tab is a page that is open in the browser. When the test ends, its console
// messages and its requests are checked.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu        sync.Mutex // guards the fields below
	complains []string
	requests  []string
}

// look is how the page is looked at.
type look struct {
	width, height int
	dark          bool
	noScript      bool
}

var (
	wide   = look{width: 1280, height: 900}
	narrow = look{width: 360, height: 740}
)

func newTab(t *testing.T, l look) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser(t), chromedp.WithNewBrowserContext())
	ctx, cancelTimeout := context.WithTimeout(ctx, giveUp)
	tb := &tab{t: t, ctx: ctx}
	t.Cleanup(func() {
		cancelTimeout()
		cancel()
		tb.mu.Lock()
		defer tb.mu.Unlock()
		for _, c := range tb.complains {
			t.Errorf("the console says: %s", c)
		}
	})
	if err := chromedp.Listen(ctx, tb.hear); err != nil {
		t.Fatal(err)
	}
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	tb.do(chromedp.EmulateViewport(int64(l.width), int64(l.height)))
	command(tb, network.Enable, network.EnableParams{})
	command(tb, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	command(tb, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: l.noScript})
	return tb
}

// command gives the browser a command of its protocol.
func command[P, R any](tb *tab, c cdp.Command[P, R], params P) R {
	tb.t.Helper()
	r, err := chromedp.Call(tb.ctx, c, params)
	if err != nil {
		tb.t.Fatal(err)
	}
	return r
}

// forget forgets what the console has said.
func (tb *tab) forget() {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.complains = nil
}

// hear records the messages and requests of the page.
func (tb *tab) hear(event any) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		tb.complains = append(tb.complains, fmt.Sprintf("%s, %d arguments", e.Type, len(e.Args)))
	case *runtime.EventExceptionThrown:
		tb.complains = append(tb.complains, fmt.Sprintf("%s at %d:%d: %+v", e.ExceptionDetails.Text, e.ExceptionDetails.LineNumber, e.ExceptionDetails.ColumnNumber, e.ExceptionDetails.Exception))
	case *log.EventEntryAdded:
		tb.complains = append(tb.complains, fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	case *network.EventRequestWillBeSent:
		tb.requests = append(tb.requests, e.Request.URL)
	}
}

func (tb *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	if err := chromedp.Do(tb.ctx, steps...); err != nil {
		tb.t.Fatal(err)
	}
}

// eval returns the value of an expression.
func eval[T any](tb *tab, expression string) T {
	tb.t.Helper()
	v, err := chromedp.Run(tb.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		tb.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// wait waits until an expression is true, even if the tab has another page by then. It polls,
// because the content security policy of the page forbids the function that chromedp has for
// this.
func (tb *tab) wait(expression string) {
	tb.t.Helper()
	var last error
	waitFor(tb.t, expression, func() bool {
		is, err := chromedp.Run(tb.ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if tb.ctx.Err() != nil {
			tb.t.Fatalf("waited for %s, which did not come: %v", expression, last)
		}
		last = err
		return err == nil && is
	})
}

func (tb *tab) open(address string) {
	tb.t.Helper()
	tb.do(chromedp.Navigate(address))
}

// updated waits until the page has been brought up to date from the stream.
func (tb *tab) updated() {
	tb.t.Helper()
	tb.wait("document.documentElement.dataset.updates > 0")
}

// waitFor polls a condition that neither an event of the browser nor a channel reports.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	tooLong := time.After(giveUp)
	for !is() {
		select {
		case <-ticker.C:
		case <-tooLong:
			t.Fatalf("waited for %s, which did not come", what)
		}
	}
}
