package main

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

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

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

func startBrowser() {
	path, err := findBrowser()
	if err != nil {
		chromium.err = err
		return
	}
	profile, err := os.MkdirTemp("", "gateway-")
	if err != nil {
		chromium.err = err
		return
	}
	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
	}
	for _, name := range []string{"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-dev-shm-usage"} {
		opts = append(opts, chromedp.Flag(name, true))
	}
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

// A tab has the page of a gateway open. Messages on its console fail the test, except for one
// about a broken connection.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu        sync.Mutex // guards the field below
	complains []string
}

// errNoBrowser means that there is no browser to start.
var errNoBrowser = errors.New("no Chromium on the PATH")

// open opens the page in the one browser of all tests. If the machine has none, the
// test is skipped; test/modules reports that.
func (s *scene) open() *tab {
	s.t.Helper()
	chromium.once.Do(startBrowser)
	if errors.Is(chromium.err, errNoBrowser) {
		s.t.Skip("this machine lacks Chromium")
	}
	if chromium.err != nil {
		s.t.Fatal(chromium.err)
	}
	ctx, cancel := chromedp.NewContext(chromium.ctx, chromedp.WithNewBrowserContext())
	ctx, cancelTimeout := context.WithTimeout(ctx, giveUp)
	tb := &tab{t: s.t, ctx: ctx}
	s.t.Cleanup(func() {
		cancelTimeout()
		cancel()
		tb.mu.Lock()
		defer tb.mu.Unlock()
		for _, c := range tb.complains {
			s.t.Errorf("the console says: %s", c)
		}
	})
	if err := chromedp.Listen(ctx, tb.hear); err != nil {
		s.t.Fatal(err)
	}
	tb.navigate(s.gateway.URL)
	return tb
}

// hear records messages on the console.
func (tb *tab) hear(event any) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		tb.complains = append(tb.complains, fmt.Sprintf("%s, %d arguments", e.Type, len(e.Args)))
	case *runtime.EventExceptionThrown:
		tb.complains = append(tb.complains, fmt.Sprintf("%s at %d:%d", e.ExceptionDetails.Text, e.ExceptionDetails.LineNumber, e.ExceptionDetails.ColumnNumber))
	case *log.EventEntryAdded:
		if e.Entry.Source != log.EntrySourceNetwork {
			tb.complains = append(tb.complains, fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
		}
	}
}

func (tb *tab) navigate(address string) {
	tb.t.Helper()
	if err := chromedp.Do(tb.ctx, chromedp.Navigate(address)); err != nil {
		tb.t.Fatal(err)
	}
}

// ask fills in the form and sends it.
func (tb *tab) ask(item string) {
	tb.t.Helper()
	script := fmt.Sprintf("document.getElementById('item').value = %q; document.querySelector('button').click(); true", item)
	if _, err := chromedp.Run(tb.ctx, chromedp.Evaluate[bool](script)); err != nil {
		tb.t.Fatal(err)
	}
}

// text waits until the element has this text.
func (tb *tab) text(id, want string) {
	tb.t.Helper()
	tb.until(fmt.Sprintf("document.getElementById(%q).innerText.trim()", id), want)
}

// until waits until the expression has this value.
func (tb *tab) until(expression, want string) {
	tb.t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		got, err := chromedp.Run(tb.ctx, chromedp.Evaluate[string]("String("+expression+")"))
		if err == nil && got == want {
			return
		}
		select {
		case <-ticker.C:
		case <-tb.ctx.Done():
			tb.t.Fatalf("waited, but %s is %q (%v), want %q", expression, got, err, want)
		}
	}
}
