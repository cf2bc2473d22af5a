package dispatch

import (
	"fmt"
	"runtime"
)

// callsite is a place in a program.
type callsite uintptr

// String returns the file and line.
func (at callsite) String() string {
	frame, _ := runtime.CallersFrames([]uintptr{uintptr(at)}).Next()
	return fmt.Sprintf("%s:%d", frame.File, frame.Line)
}

// caller returns the place in the program from which this package was entered,
// if that was depth calls ago.
func caller(depth int) callsite {
	var at [1]uintptr
	runtime.Callers(depth+2, at[:])
	return callsite(at[0])
}
