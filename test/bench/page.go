package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/dispatchdebug"
)

// updateEvery is how often an open page is updated.
const updateEvery = 200 * time.Millisecond

// lookEvery is the number of calls after which the clock is read. Reading it takes a noticeable
// part of the time of a quick call.
const lookEvery = 16

// newPage returns a side with a live page, which a browser has open or not.
func newPage(open bool) func(producers int) (*side, error) {
	return func(producers int) (*side, error) {
		bus := dispatch.NewBus()
		handler := dispatchdebug.New(bus)
		s, r, err := newDispatchedOn(dispatch.On[int, int](bus), setup{work: quick, producers: producers})
		if err != nil {
			return nil, err
		}
		// The page has recorded everything when its observer has no goroutine any more. A
		// Snapshot would tell, too, but costs more than the calls of a round.
		idle := runtime.NumGoroutine()
		await := func() {
			for runtime.NumGoroutine() > idle {
				time.Sleep(20 * time.Microsecond)
			}
		}
		var began time.Time // of the round
		s.Before = func() error { idle, began = runtime.NumGoroutine(), time.Now(); return nil }
		call := s.Call
		s.Call = func() error {
			err := call()
			if r.calls%mostBehind == 0 {
				await()
			}
			if open && r.calls%lookEvery == 0 && time.Since(began) >= updateEvery {
				began = time.Now()
				return update(handler)
			}
			return err
		}
		s.After = await
		s.verify = func() error {
			await()
			if o := bus.Snapshot().Observers[0]; o.Queued+int(o.Missed) > 0 {
				return fmt.Errorf("the page has missed %d events, and %d wait", o.Missed, o.Queued)
			}
			return r.verify()
		}
		closeBus := s.close
		s.close = func() { handler.Close(); closeBus() }
		return s, nil
	}
}

// update makes the document that a stream sends to a browser. The side makes it itself, without
// a stream, so that only the side with the open page has this cost.
func update(h http.Handler) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "/data.json", nil)
	if err != nil {
		return err
	}
	req.RemoteAddr, req.Host = "127.0.0.1:1", "localhost"
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, req); w.Code != http.StatusOK {
		return fmt.Errorf("data.json: %d", w.Code)
	}
	return nil
}
