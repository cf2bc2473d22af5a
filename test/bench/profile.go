package main

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// contentions is how often locks were met, and for how long all who met them
// were held up.
type contentions struct {
	count   int64
	blocked time.Duration
}

func (c contentions) plus(d contentions) contentions {
	return contentions{c.count + d.count, c.blocked + d.blocked}
}

// stack is where a lock was given back that others had to wait for, the innermost
// frame first. The profile puts it down to who held the lock, not to who waited.
type stack [32]uintptr

// functions returns the names of the functions on the stack.
func (s stack) functions() (names []string) {
	end := slices.Index(s[:], 0)
	if end < 0 {
		end = len(s)
	}
	frames := runtime.CallersFrames(s[:end])
	for {
		frame, more := frames.Next()
		names = append(names, frame.Function)
		if !more {
			return names
		}
	}
}

// profileMutexes runs f and returns what the mutex profile has seen meanwhile.
func profileMutexes(f func()) map[stack]contentions {
	defer runtime.SetMutexProfileFraction(runtime.SetMutexProfileFraction(1))
	before := readMutexProfile()
	f()
	seen := readMutexProfile()
	for s, old := range before {
		seen[s] = seen[s].plus(contentions{-old.count, -old.blocked})
	}
	return seen
}

func readMutexProfile() map[stack]contentions {
	perSecond := cyclesPerSecond()
	seen := make(map[stack]contentions)
	for _, r := range mutexRecords() {
		blocked := time.Duration(float64(r.Cycles) / perSecond * float64(time.Second))
		seen[r.Stack0] = seen[r.Stack0].plus(contentions{r.Count, blocked})
	}
	return seen
}

func mutexRecords() []runtime.BlockProfileRecord {
	for room := 64; ; room *= 2 {
		records := make([]runtime.BlockProfileRecord, room)
		if n, ok := runtime.MutexProfile(records); ok {
			return records[:n]
		}
	}
}

// cyclesPerSecond returns the unit of the profile's times, which is to be had
// from the profile's text only.
func cyclesPerSecond() float64 {
	var text bytes.Buffer
	_ = pprof.Lookup("mutex").WriteTo(&text, 1) // a Buffer does not fail
	_, from, _ := strings.Cut(text.String(), "cycles/second=")
	var n float64
	if _, err := fmt.Sscan(from, &n); err != nil {
		return 1e9
	}
	return n
}
