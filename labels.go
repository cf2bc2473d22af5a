package dispatch

import (
	"context"
	"runtime/pprof"
	"runtime/trace"
	"sync/atomic"
)

// labels are the pprof labels of the goroutines of one producer or listener, as they
// were last needed. To make them anew for each run would cost more than all else.
type labels struct{ cached atomic.Pointer[labelsOnTopic] }

// labelsOnTopic is a context with the labels for one topic, and nothing else.
type labelsOnTopic struct {
	topic string
	context.Context
}

func (l *labels) on(topic, kind, name string) *labelsOnTopic {
	if made := l.cached.Load(); made != nil && made.topic == topic {
		return made
	}
	made := &labelsOnTopic{topic, pprof.WithLabels(context.Background(), labelSet(topic, kind, name))}
	l.cached.Store(made)
	return made
}

func labelSet(topic, kind, name string) pprof.LabelSet {
	return pprof.Labels("dispatch.topic", topic, kind, name)
}

// labelled is a context that has labels besides all that its parent has.
type labelled struct {
	context.Context
	labels *labelsOnTopic
}

// Value finds the labels, which package pprof keeps as a value.
func (l *labelled) Value(key any) any {
	if v := l.labels.Value(key); v != nil {
		return v
	}
	return l.Context.Value(key)
}

// hasLabels reports whether the context has pprof labels.
func hasLabels(ctx context.Context) (has bool) {
	pprof.ForLabels(ctx, func(string, string) bool {
		has = true
		return false
	})
	return has
}

// runLabelled runs f with labels by which its goroutine can be told in a profile and
// in an execution trace.
func (c *call) runLabelled(ctx context.Context, l *labels, kind, name string, f func(context.Context)) {
	if trace.IsEnabled() {
		defer trace.StartRegion(ctx, kind+" "+name).End()
	}
	if c.observed.own {
		pprof.Do(ctx, labelSet(c.spec.name, kind, name), f)
		return
	}
	set := l.on(c.spec.name, kind, name)
	defer pprof.SetGoroutineLabels(context.Background()) // the sender has none
	pprof.SetGoroutineLabels(set)
	f(&labelled{ctx, set})
}
