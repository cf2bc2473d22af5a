package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// The bounds, in bytes, of the stack that is used between the start of a goroutine and a
// producer, the listener that the same goroutine calls afterwards, and the hooks of an observer.
// The runtime lets a function use about 1,100 bytes of a new stack before it copies the stack.
const (
	stackBar       = 250
	listenerBar    = 950
	callEndBar     = 750
	memberEndBar   = 1000
	memberStartBar = 1120
)

// stack prints how much of a goroutine's stack is in use when a producer begins,
// when a listener does, and when a hook does. A stack starts with 2 KiB; when the closure needs more than is left
// of that, the stack is copied to a larger one, which costs as much as a whole call.
func (b *bench) stack() error {
	var alone depth
	done := make(chan struct{})
	go func() {
		alone.note()
		close(done)
	}()
	<-done

	t := measure.NewTable("side", "bytes", "bar", "functions on the way")
	for _, c := range []struct {
		build func(work) contender
		bar   float64
	}{{byHand, measure.None}, {byDispatch, stackBar}} {
		var d depth
		side := c.build(func(int) producer {
			return func(_ context.Context, req int) (int, error) {
				d.note()
				return req, nil
			}
		})
		s, err := side.build(1)
		if err != nil {
			return err
		}
		err = s.Call()
		s.close()
		if err != nil {
			return err
		}
		bytes := float64(d.used - alone.used)
		t.Row(side.name, fmt.Sprint(bytes), measure.AtMost(bytes, c.bar), strings.Join(d.functions, " → "))
	}
	for _, c := range []struct {
		name string
		bar  float64
		add  func(d *dispatcher, note func()) error
	}{
		{"listener", listenerBar, func(d *dispatcher, note func()) error {
			_, err := d.AddListener(topic, func(context.Context, result) { note() })
			return err
		}},
		{"CallEnd", callEndBar, hook(func(note func()) dispatch.Observer {
			return dispatch.Observer{CallEnd: func(context.Context, dispatch.Report) { note() }, ReuseReports: true}
		})},
		{"MemberEnd", memberEndBar, hook(func(note func()) dispatch.Observer {
			return dispatch.Observer{MemberEnd: func(context.Context, dispatch.MemberInfo, dispatch.Outcome) { note() }}
		})},
		{"MemberStart", memberStartBar, hook(func(note func()) dispatch.Observer {
			return dispatch.Observer{MemberStart: func(ctx context.Context, _ dispatch.MemberInfo) context.Context { note(); return ctx }}
		})},
	} {
		there, err := depthOf(c.add)
		if err != nil {
			return err
		}
		bytes := float64(there.used - alone.used)
		t.Row(c.name, fmt.Sprint(bytes), measure.AtMost(bytes, c.bar), strings.Join(there.functions, " → "))
	}
	t.Print(b.out)
	return nil
}

// hook returns a function that adds an observer to the bus of a dispatcher.
func hook(observer func(note func()) dispatch.Observer) func(*dispatcher, func()) error {
	return func(d *dispatcher, note func()) error {
		_, err := d.Bus().Observe(observer(note))
		return err
	}
}

// depthOf returns the depth of the stack at the callback that add adds, in a call to a quick producer. The
// callback has to call note once.
func depthOf(add func(d *dispatcher, note func()) error) (depth, error) {
	d := dispatch.New[int, int]()
	defer d.Close()
	if _, err := d.AddProducer(topic, quick(0)); err != nil {
		return depth{}, err
	}
	noted := make(chan depth, 1)
	if err := add(d, func() {
		var here depth
		here.note()
		noted <- here
	}); err != nil {
		return depth{}, err
	}
	if _, err := d.Send(context.Background(), topic, request); err != nil {
		return depth{}, err
	}
	return <-noted, nil
}

// depth is how many bytes of its stack a goroutine uses.
//
// The sizes of the frames could be read from the program with go tool objdump, but then the
// names of the functions must be known, and which of them are inlined. So the producer measures
// its own depth. The end of a stack is a multiple of 2 KiB, because the size of a stack is 2
// KiB times a power of two, and stacks are aligned. So the distance to the end, modulo 2 KiB,
// is the same whether or not the stack has grown, and is the number of bytes in use unless that
// exceeds 2 KiB. The bytes that the measurement itself uses are subtracted: a goroutine that
// does nothing else measures them.
type depth struct {
	used      uintptr
	functions []string // between the start of the goroutine and the caller, the outermost first
}

//go:noinline
func (d *depth) note() {
	var here byte
	d.used = -uintptr(unsafe.Pointer(&here)) % 2048
	d.callers()
}

//go:noinline
func (d *depth) callers() {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(4, pcs)]) // without Callers, callers, note and the callback
	for {
		frame, more := frames.Next()
		if !more { // the last is runtime.goexit
			break
		}
		d.functions = append(d.functions, frame.Function[strings.LastIndex(frame.Function, "/")+1:])
	}
	slices.Reverse(d.functions)
}
