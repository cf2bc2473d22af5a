// Package unwind tells a panic from runtime.Goexit where recover returns nil.
package unwind

import "runtime"

// Value returns the value of the panic that has called the deferred function from which Value
// is called, or nil if it was runtime.Goexit. recovered is what recover has returned there: it
// is nil after Goexit, and under GODEBUG=panicnil=1 after a panic with nil, for which Value
// returns a *runtime.PanicNilError.
func Value(recovered any) any {
	if recovered != nil || goexit() {
		return recovered
	}
	return new(runtime.PanicNilError)
}

// goexit reports whether runtime.Goexit is among the nearest callers of the deferred function.
func goexit() bool {
	var callers [5]uintptr
	n := runtime.Callers(4, callers[:])
	for frames, more := runtime.CallersFrames(callers[:n]), n > 0; more; {
		var f runtime.Frame
		if f, more = frames.Next(); f.Function == "runtime.Goexit" {
			return true
		}
	}
	return false
}
