package books

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/seed-bb4b4d74/dispatch"
)

// Hearing says which results a listener must get that was registered during the whole call.
type Hearing uint8

// The kinds of hearing.
const (
	All     Hearing = iota // all results, in order
	Some                   // some of them may be dropped, the others are in order
	AnyRank                // all results, in any order
)

// Testimony is what a witness has recorded of a call.
type Testimony struct {
	Witness *Witness
	Heard   []Result
	Report  dispatch.Report
}

// Witness is a listener that records the results of each call, and passes them to Give at the
// end of the call. Its Listen and Done must be added to a bus together. Its methods may be used
// concurrently.
type Witness struct {
	Name    string
	Hearing Hearing
	Give    func(Testimony) // is called for each OnDone, without a lock

	mu    sync.Mutex
	heard map[dispatch.CallID][]Result
}

// Listen is the listener.
func (w *Witness) Listen(_ context.Context, r Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.heard == nil {
		w.heard = make(map[dispatch.CallID][]Result)
	}
	w.heard[r.Call.ID()] = append(w.heard[r.Call.ID()], r)
}

// Done is the listener's OnDone.
func (w *Witness) Done(r dispatch.Report) {
	w.mu.Lock()
	heard := w.heard[r.Call]
	delete(w.heard, r.Call)
	w.mu.Unlock()
	w.Give(Testimony{w, heard, r})
}

// Open returns the number of calls of which the witness has results and no end, or results
// after the end.
func (w *Witness) Open() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.heard)
}

// Proves returns what is wrong with the testimony of a listener that must get the results of
// this hearing, or nil. A listener whose bus was closed during the call, which cut reports, may
// lack the last results.
func (e *Entry) Proves(t Testimony, owed Hearing, cut bool) error {
	if got, want := told(t.Report), told(e.Report); got != want {
		return fmt.Errorf("%s\n%s was told at the end: %s", want, t.Witness.Name, got)
	}
	heard := t.Heard
	if owed == AnyRank {
		heard = slices.SortedFunc(slices.Values(heard), func(a, b Result) int { return a.Seq - b.Seq })
	}
	fits := isPart(heard, e.Results)
	if fits && !cut && owed != Some {
		fits = len(heard) == len(e.Results)
	}
	if fits && owed == All {
		fits = slices.Equal(heard, e.Results[:len(heard)])
	}
	if !fits {
		return fmt.Errorf("%s\nthe results are %v; %s heard %v", e, seqs(e.Results), t.Witness.Name, seqs(t.Heard))
	}
	return nil
}

// isPart reports whether all of the part are in the whole, in the same order.
func isPart(part, whole []Result) bool {
	for _, r := range whole {
		if len(part) > 0 && part[0] == r {
			part = part[1:]
		}
	}
	return len(part) == 0
}
