package ledger_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
)

func owners(l *ledger.Ledger) []any { return slices.Collect(l.All()) }

func TestEntriesEnterAndLeave(t *testing.T) {
	var l ledger.Ledger
	entries := make([]ledger.Entry, 50)
	if !l.Empty() || len(owners(&l)) != 0 {
		t.Error("the zero Ledger is not empty")
	}
	for i := range entries {
		if !l.Enter(&entries[i], i, uint64(i), ledger.Open) {
			t.Fatalf("%d was refused", i)
		}
	}
	if n := len(owners(&l)); n != len(entries) || l.Empty() {
		t.Errorf("%d owners", n)
	}
	// From the middle, from the front and from the back of each shard, twice.
	for _, i := range []int{16, 0, 32, 48, 17, 17, 1, 16} {
		l.Leave(&entries[i])
	}
	for i := range entries {
		left := slices.Contains([]int{16, 0, 32, 48, 17, 1}, i)
		if slices.Contains(owners(&l), any(i)) == left {
			t.Errorf("%d: left %t", i, left)
		}
	}
	if !l.Enter(&entries[0], "again", 7, ledger.Open) || !slices.Contains(owners(&l), any("again")) {
		t.Error("an entry cannot come back")
	}
	for i := range entries {
		l.Leave(&entries[i])
	}
	if !l.Empty() {
		t.Errorf("left: %v", owners(&l))
	}
}

func TestLevels(t *testing.T) {
	for _, level := range []ledger.Level{ledger.Open, ledger.Draining, ledger.Closed} {
		for _, upTo := range []ledger.Level{ledger.Open, ledger.Draining, ledger.Closed} {
			var l ledger.Ledger
			l.Raise(level)
			var e ledger.Entry
			if got := l.Enter(&e, 1, 1, upTo); got != (level <= upTo) || l.Empty() == got {
				t.Errorf("at %v, up to %v: %t", level, upTo, got)
			}
			l.Leave(&e) // harmless if it was refused
			if l.Raise(ledger.Open); l.Level() != level {
				t.Errorf("the level sank to %v", l.Level())
			}
		}
	}
}

// The loop's body may change what is ranged over.
func TestAllWhileItChanges(t *testing.T) {
	var l ledger.Ledger
	entries := make([]ledger.Entry, 64)
	for i := range entries {
		l.Enter(&entries[i], i, uint64(i), ledger.Open)
	}
	seen := 0
	for owner := range l.All() {
		l.Leave(&entries[owner.(int)])
		seen++
	}
	if seen != len(entries) || !l.Empty() {
		t.Errorf("saw %d, left %v", seen, owners(&l))
	}
	l.Enter(&entries[0], 0, 0, ledger.Open)
	l.Enter(&entries[1], 1, 1, ledger.Open)
	for range l.All() {
		break
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l ledger.Ledger
		var e ledger.Entry
		l.Enter(&e, 1, 1, ledger.Open)
		began := time.Now()
		time.AfterFunc(2*time.Second, func() { l.Leave(&e) })
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := l.Wait(ctx, l.Empty); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		var waits sync.WaitGroup
		for range 3 {
			waits.Go(func() {
				if err := l.Wait(context.Background(), l.Empty); err != nil || time.Since(began) != 2*time.Second {
					t.Errorf("%v after %v", err, time.Since(began))
				}
			})
		}
		waits.Wait()
		if err := l.Wait(ctx, l.Empty); err != nil {
			t.Errorf("what holds already is waited for: %v", err)
		}
		looks := 0
		go func() {
			for range 3 {
				time.Sleep(time.Second)
				l.Changed()
			}
		}()
		if err := l.Wait(context.Background(), func() bool { looks++; return looks == 4 }); err != nil {
			t.Error(err)
		}
	})
}

// A chain of entries, each of which enters before the one before leaves, is never
// seen as empty.
func TestEmptyIsOneMoment(t *testing.T) {
	for range 20 {
		var l ledger.Ledger
		var entries [2]ledger.Entry
		l.Enter(&entries[0], 0, 15, ledger.Open)
		var done sync.WaitGroup
		stop := make(chan struct{})
		done.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if l.Empty() {
					t.Error("seen as empty")
					return
				}
			}
		})
		for i := 1; i < 2000; i++ {
			l.Enter(&entries[i%2], i, uint64(i*7), ledger.Open)
			l.Leave(&entries[(i+1)%2])
		}
		close(stop)
		done.Wait()
	}
}

func TestALedgerOutlivesABubble(t *testing.T) {
	var l ledger.Ledger
	synctest.Test(t, func(t *testing.T) {
		if err := l.Wait(t.Context(), l.Empty); err != nil {
			t.Error(err)
		}
	})
	var e ledger.Entry
	l.Enter(&e, 1, 1, ledger.Open)
	looked := false
	err := l.Wait(t.Context(), func() bool {
		if !looked {
			looked = true
			go l.Leave(&e)
			return false
		}
		return l.Empty()
	})
	if err != nil {
		t.Error(err)
	}
}

// A Wait that ends does not make the others check their conditions.
func TestWaitsDoNotWakeEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l ledger.Ledger
		checks := 0
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go l.Wait(ctx, func() bool { checks++; return false })
		synctest.Wait()
		for range 10 {
			l.Wait(ctx, func() bool { return true })
			synctest.Wait()
		}
		if checks != 1 {
			t.Errorf("the condition was checked %d times", checks)
		}
	})
}
