// Package unwind tells what unwinds a stack where recover does not.
package unwind

import "runtime"

// Goexit reports whether runtime.Goexit has called the deferred function that calls it.
// Otherwise a panic has, which may be one with nil under GODEBUG=panicnil=1: neither
// leaves recover anything to return. It must be called directly by that function.
func Goexit() bool {
	var callers [4]uintptr
	n := runtime.Callers(3, callers[:])
	for frames, more := runtime.CallersFrames(callers[:n]), n > 0; more; {
		var f runtime.Frame
		if f, more = frames.Next(); f.Function == "runtime.Goexit" {
			return true
		}
	}
	return false
}
