package natsdispatch

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// NodeEventKind says what has happened to a node or to the connection.
type NodeEventKind int

// The kinds of events. A node is present from NodeCame or NodeRestarted to NodeLeft, NodeSilent
// or CutOff. CutOff concerns all nodes. [Serve] reports NodeTwin for the node's own
// name, and the events of the connection; it reports no other nodes.
const (
	// NodeCame: the asker heard the node for the first time, or again after it was silent.
	NodeCame NodeEventKind = iota + 1
	// NodeLeft: the node has said bye.
	NodeLeft
	// NodeSilent: the node has missed three beats. Calls expect it for [WithForget].
	NodeSilent
	// NodeRestarted: a new process has taken the name of a node that was present or silent.
	// The requests of the earlier process are lost.
	NodeRestarted
	// NodeTwin: two processes serve a topic under the same name at the same time.
	NodeTwin
	// CutOff: all nodes fell silent together, or the server does not answer a ping. The fault is on
	// this side of the network.
	CutOff
	// ConnectionDown: there is no connection to NATS. nats.go reconnects by itself.
	ConnectionDown
	// ConnectionUp: the connection to NATS is made, for the first time or again.
	ConnectionUp
	// ConnectionClosed: the program has closed the connection, or nats.go has given up. It does not come back.
	ConnectionClosed
	// SlowConsumer: messages arrive faster than they are handled, and are dropped.
	SlowConsumer
)

var eventWords = [...]string{
	NodeCame: "came", NodeLeft: "left", NodeSilent: "silent", NodeRestarted: "restarted", NodeTwin: "twin",
	CutOff: "cut off", ConnectionDown: "connection down", ConnectionUp: "connection up", ConnectionClosed: "connection closed",
	SlowConsumer: "slow consumer",
}

// String returns the kind as a word or two.
func (k NodeEventKind) String() string {
	if k <= 0 || int(k) >= len(eventWords) {
		return fmt.Sprintf("NodeEventKind(%d)", int(k))
	}
	return eventWords[k]
}

// A NodeEvent is one thing that has happened to a node, or to the connection to NATS.
type NodeEvent struct {
	Kind  NodeEventKind
	Time  time.Time
	Node  string        // the name of the node; empty for an event of the connection
	Topic string        // the topic on which the event was noticed: one of the node's topics
	After time.Duration // the time since the node was last heard, or since the connection broke; 0 if not known
	Err   error         // the cause, if it is known
}

// String returns a sentence without a full stop that says what has happened, and what it means.
func (e NodeEvent) String() string {
	switch e.Kind {
	case NodeCame:
		if e.After > 0 {
			return fmt.Sprintf("node %s is heard again, after %s", e.Node, ago(e.After))
		}
		return fmt.Sprintf("node %s came", e.Node)
	case NodeLeft:
		return fmt.Sprintf("node %s left: it has said bye", e.Node)
	case NodeSilent:
		return fmt.Sprintf("node %s is silent: it was last heard %s ago, and has said no bye; its process or host has stopped, or the network to it has", e.Node, ago(e.After))
	case NodeRestarted:
		if e.After > 0 {
			return fmt.Sprintf("node %s has started again, after %s; its unfinished replies are lost", e.Node, ago(e.After))
		}
		return fmt.Sprintf("node %s has started again; its unfinished replies are lost", e.Node)
	case NodeTwin:
		return fmt.Sprintf("two processes are called %s: stop one of them, or give each a name of its own with WithNode", e.Node)
	case CutOff:
		why := strings.TrimPrefix(fmt.Sprint(e.Err), dispatch.ErrUnreachable.Error()+": ")
		return why + "; look at this process and its network before the nodes"
	case ConnectionDown:
		if e.Err == nil {
			return "there is no connection to NATS yet"
		}
		return "the connection to NATS broke" + strings.TrimPrefix(e.Err.Error(), nats.ErrDisconnected.Error())
	case ConnectionUp:
		if e.After > 0 {
			return fmt.Sprintf("the connection to NATS is back after %s", ago(e.After))
		}
		return "the connection to NATS is made"
	case ConnectionClosed:
		if e.Err != nil {
			return fmt.Sprintf("the connection to NATS is closed for good: %v", e.Err)
		}
		return "the connection to NATS is closed for good"
	case SlowConsumer:
		return fmt.Sprintf("messages are dropped because they come faster than they are dealt with: %v", e.Err)
	}
	return e.Kind.String()
}

// level returns Info for a normal event, and Warn for an event that an operator has to look at.
func (e NodeEvent) level() slog.Level {
	switch e.Kind {
	case NodeCame, NodeLeft, ConnectionUp:
		return slog.LevelInfo
	case ConnectionClosed:
		if e.Err == nil {
			return slog.LevelInfo
		}
	}
	return slog.LevelWarn
}

// attrs returns the attributes that are logged with the text.
func (e NodeEvent) attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("event", e.Kind.String())}
	if e.Node != "" {
		attrs = append(attrs, slog.String("node", e.Node))
	}
	if e.Topic != "" {
		attrs = append(attrs, slog.String("topic", e.Topic))
	}
	if e.After > 0 {
		attrs = append(attrs, slog.Duration("after", e.After))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("error", e.Err.Error()))
	}
	return attrs
}
