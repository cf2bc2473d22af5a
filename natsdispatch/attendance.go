package natsdispatch

import (
	"errors"
	"maps"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// attendance makes events of what the table of nodes says, one for each process and not
// for each of its topics. It knows no clock and is not safe for concurrent use.
type attendance struct {
	stays map[boot]stay
	twins map[string]time.Time // names of which two processes were heard, and when last
}

// boot is one process of a node.
type boot struct {
	node  string
	epoch int64
}

// stay is the time for which it is present, or was.
type stay struct {
	here  bool
	until time.Time // when it was last heard of, if it is not
}

// hear returns the event that an announcement is, if it is one. The boot id before is that
// of the process that the table had in this place, or 0.
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
			return e, false // it has said so on another topic, or was never there
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

// twin returns the event that two processes of a name were heard, unless that is known.
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

// mostTwins bounds the names of which is remembered that they were reported.
const mostTwins = 1000

// isTwin reports whether two processes of the name were heard within the last while.
func (t *attendance) isTwin(node string, now time.Time, while time.Duration) bool {
	last, ok := t.twins[node]
	return ok && now.Sub(last) < while
}

// left returns the events of nodes that the table has expired. If the asker itself is cut off,
// that is one event.
func (t *attendance) left(gone []departure, now time.Time, in *table) (events []NodeEvent) {
	cut := false
	for _, d := range gone {
		id := boot{d.node, d.epoch}
		if was, known := t.stays[id]; !known || !was.here {
			continue // it was said of another topic
		}
		last := now
		if p := in.at(d.place); p != nil { // otherwise it is forgotten already
			last = p.heard
		}
		t.stays[id] = stay{until: last}
		switch {
		case !errors.Is(d.why, dispatch.ErrUnreachable):
			events = append(events, NodeEvent{Kind: NodeSilent, Time: now, Node: d.node, Topic: d.topic, After: now.Sub(last), Err: d.why})
		case !cut:
			cut = true
			events = append(events, NodeEvent{Kind: CutOff, Time: now, After: now.Sub(last), Err: errors.Unwrap(d.why)}) // without the name of one
		}
	}
	return events
}

// forget drops the stays that ended a while ago or earlier.
func (t *attendance) forget(now time.Time, while time.Duration) {
	maps.DeleteFunc(t.stays, func(_ boot, s stay) bool { return !s.here && now.Sub(s.until) >= while })
	maps.DeleteFunc(t.twins, func(_ string, last time.Time) bool { return now.Sub(last) >= while })
}
