package dispatch

import (
	"iter"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
)

// never is a time that does not come.
const never = time.Duration(1<<63 - 1)

// hub is the part of a Bus that its registrations refer to. It sees the Bus as a registrar,
// and calls as inFlight.
type hub struct {
	busConfig
	registrar registrar // the Bus
	epoch     time.Time
	waiting   atomic.Int64  // calls that wait for producers
	misuse    atomic.Uint64 // method calls of relays that misuse a roster
	ledger    ledger.Ledger // calls, and recipients whose inboxes are busy
	logs      recipient     // of the logger
}

// registrar is a Bus as its registrations see it.
type registrar interface {
	// add adds a registrant. remove removes it, so that no new call finds it.
	add(registrant) error
	remove(registrant)
	// observeSlow tells the observers of a listener that holds up its results.
	observeSlow(*recipient)
}

// inFlight is a call in the ledger, as the bus and its registrations see it.
type inFlight interface {
	// shut ends the call because the bus is closed.
	shut()
	// findProducers lets a call that waits for producers look again.
	findProducers()
	// occupies reports whether the producer runs for the call, or the call may still ask it.
	occupies(*producer) bool
	// cutOff has a listener read what the call has written by now, and no more. It returns
	// a function that reports whether that has been done, or nil if there is nothing to do.
	cutOff(*recipient) (delivered func() bool)
	// addKept adds the listeners that keep the place of the call once it has ended. It
	// returns the number of places of a call that goes on: 1 or 0.
	addKept(by map[*recipient]int) (underWay int)
	// underWay returns what the call is still busy with.
	underWay() (info CallInfo, pending bool, running []Member)
	// addTo adds what each producer has to do for the call, and returns the runs that have
	// outlived it.
	addTo(map[*producer]load) (abandoned []AbandonedSnapshot)
	// snapshot returns how far the call is.
	snapshot() CallSnapshot
}

func (h *hub) sinceEpoch(t time.Time) time.Duration { return t.Sub(h.epoch) }

// inFlight ranges over the calls in the ledger.
func (h *hub) inFlight() iter.Seq[inFlight] {
	return func(yield func(inFlight) bool) {
		for owner := range h.ledger.All() {
			if c, ok := owner.(inFlight); ok && !yield(c) {
				return
			}
		}
	}
}
