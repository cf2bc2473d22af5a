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
// producer, and between that start and the listener that the same goroutine calls afterwards.
// The runtime lets a function use about 1,100 bytes of a new stack before it copies the stack.
const (
	stackBar    = 250
	listenerBar = 950
)

// stack prints how much of a goroutine's stack is in use when a producer begins, and
// when a listener does. A stack starts with 2 KiB; when the closure needs more than is left
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
	heard, err := toListener()
	if err != nil {
		return err
	}
	bytes := float64(heard.used - alone.used)
	t.Row("listener", fmt.Sprint(bytes), measure.AtMost(bytes, listenerBar), strings.Join(heard.functions, " → "))
	t.Print(b.out)
	return nil
}

// toListener returns the depth of the worker's stack when the worker calls a listener with the
// result of a quick producer.
func toListener() (depth, error) {
	d := dispatch.New[int, int]()
	defer d.Close()
	if _, err := d.AddProducer(topic, quick(0)); err != nil {
		return depth{}, err
	}
	heard := make(chan depth, 1)
	if _, err := d.AddListener(topic, func(context.Context, result) {
		var here depth
		here.note()
		heard <- here
	}); err != nil {
		return depth{}, err
	}
	if _, err := d.Send(context.Background(), topic, request); err != nil {
		return depth{}, err
	}
	return <-heard, nil
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
	frames := runtime.CallersFrames(pcs[:runtime.Callers(4, pcs)]) // without Callers, callers, note and the producer
	for {
		frame, more := frames.Next()
		if !more { // the last is runtime.goexit
			break
		}
		d.functions = append(d.functions, frame.Function[strings.LastIndex(frame.Function, "/")+1:])
	}
	slices.Reverse(d.functions)
}
