package dispatch

import (
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/inbox"
)

// delivery is a source of a call on its way to the inbox of a recipient.
type delivery struct {
	source inbox.Source
	to     *recipient
	since  time.Duration // when it was last put into the inbox, since the bus was made; guarded by the call's lock
	link   *delivery     // the next in the list that publishLocked has returned; guarded by the call's lock
}

// put puts the deliveries that publishLocked has returned into their inboxes.
func put(all *delivery) {
	if idle := putAllButOne(all); idle != nil {
		idle.start()
	}
}

// putAllButOne is put, but leaves one listener that has to be started to the caller.
func putAllButOne(all *delivery) (idle *recipient) {
	for d := all; d != nil; {
		next, to := d.link, d.to // once it is in the inbox, publishLocked may link it again
		switch run := to.put(d.source, d.since); {
		case !run:
		case to.observes, idle != nil: // an observer needs more of the stack than a worker has left
			to.start()
		default:
			idle = to
		}
		d = next
	}
	return idle
}
