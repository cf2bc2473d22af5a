package natsdispatch

import (
	"errors"
	"maps"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// attendance turns changes of the table of nodes into events: one event for each process, and not one
// for each topic of the process. It reads no clock and is not safe for concurrent use.
type attendance struct {
	stays map[boot]stay
	twins map[string]time.Time // the names that two processes have, and when this was noticed last
}

// boot identifies one process of a node, by its boot id.
type boot struct {
	node  string
	epoch int64
}

// stay says whether a process is present.
type stay struct {
	here  bool
	until time.Time // when the process was last heard, if it is not here
}

// hear returns the event that an announcement causes, if it causes one. before is the boot id of the
// process that the table had at the place of the announcement, or 0. h is the change of the table.
func (t *attendance) hear(a announcement, before int64, h heard, now time.Time) (e NodeEvent, ok bool) {
	if t.stays == nil {
		t.stays = make(map[boot]stay)
	}
	e = NodeEvent{Time: now, Node: a.Node, Topic: a.Topic}
	id := boot{a.Node, a.Epoch}
	was, known := t.stays[id]
	switch {
	case h.twin:
		delete(t.stays, boot{a.Node, before})
		t.stays[id] = stay{here: true}
		return t.twin(a.Node, a.Topic, now)
	case a.Event == eventBye:
		if !known || !h.changed {
			return e, false // the bye was heard on another topic, or the table has ignored it
		}
		delete(t.stays, id)
		e.Kind = NodeLeft
		return e, true
	case !h.arrived && h.gone == nil:
		return e, false
	}
	t.stays[id] = stay{here: true}
	old := boot{a.Node, before}
	switch past, had := t.stays[old]; {
	case before != 0 && before != a.Epoch && had:
		delete(t.stays, old)
		if e.Kind = NodeRestarted; !past.here {
			e.After = now.Sub(past.until)
		}
	case !known:
		e.Kind = NodeCame
	case !was.here:
		e.Kind, e.After = NodeCame, now.Sub(was.until)
	default:
		return e, false
	}
	return e, true
}

// twin notes that two processes have the name. It returns the event for this, and whether the event is
// new. It returns no event if too many names are noted.
func (t *attendance) twin(node, topic string, now time.Time) (e NodeEvent, ok bool) {
	_, known := t.twins[node]
	if !known && len(t.twins) >= mostTwins {
		return e, false
	}
	if t.twins == nil {
		t.twins = make(map[string]time.Time)
	}
	t.twins[node] = now
	return NodeEvent{Kind: NodeTwin, Time: now, Node: node, Topic: topic, Err: twinError(node)}, !known
}

// mostTwins bounds the names that attendance.twins has, and the boot ids that Node.twins has.
const mostTwins = 1000

// isTwin reports whether two processes with the name were noticed within the duration while before now.
func (t *attendance) isTwin(node string, now time.Time, while time.Duration) bool {
	last, ok := t.twins[node]
	return ok && now.Sub(last) < while
}

// left returns the events of processes that the table takes as gone because they are silent. If the asker
// is cut off, left returns one event for all of them.
func (t *attendance) left(gone []departure, now time.Time) (events []NodeEvent) {
	cut := false
	for _, d := range gone {
		id := boot{d.node, d.epoch}
		if was, known := t.stays[id]; !known || !was.here {
			continue // the event was returned for another topic
		}
		t.stays[id] = stay{until: d.heard}
		switch {
		case !errors.Is(d.why, dispatch.ErrUnreachable):
			events = append(events, NodeEvent{Kind: NodeSilent, Time: now, Node: d.node, Topic: d.topic, After: now.Sub(d.heard), Err: d.why})
		case !cut:
			cut = true
			events = append(events, NodeEvent{Kind: CutOff, Time: now, After: now.Sub(d.heard), Err: errors.Unwrap(d.why)}) // without the name of the node
		}
	}
	return events
}

// forget forgets the processes that are not present and were last heard at least the duration while before
// now, and the twins that were last noticed at least as long ago.
func (t *attendance) forget(now time.Time, while time.Duration) {
	maps.DeleteFunc(t.stays, func(_ boot, s stay) bool { return !s.here && now.Sub(s.until) >= while })
	maps.DeleteFunc(t.twins, func(_ string, last time.Time) bool { return now.Sub(last) >= while })
}
