package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"time"
)

// usage is the memory and the goroutines that the program uses.
type usage struct {
	heap       int64 // bytes that are not garbage
	goroutines int
}

// tolerance is by how many bytes the heap may be larger than at first: the runtime keeps the
// records of goroutines, and some other memory.
const tolerance = 8 << 20

func measure() usage {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{int64(m.HeapAlloc), runtime.NumGoroutine()}
}

// settled returns the usage of the program when no more goroutines are left than there were at
// first, or after ten seconds.
func settled(atFirst usage) usage {
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > atFirst.goroutines && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	return measure()
}

// within reports whether nothing is left, and prints what is.
func (u usage) within(atFirst usage) bool {
	if u.goroutines > atFirst.goroutines {
		fmt.Printf("\nBROKEN: %d goroutines are left\n", u.goroutines-atFirst.goroutines)
		_ = pprof.Lookup("goroutine").WriteTo(os.Stdout, 1)
		return false
	}
	if u.heap > atFirst.heap+tolerance {
		fmt.Printf("\nBROKEN: the heap grew from %d to %d bytes\n", atFirst.heap, u.heap)
		return false
	}
	return true
}

// watch ends the program, and shows where its goroutines are, if it hangs.
func watch(patience time.Duration) (stop func() bool) {
	return time.AfterFunc(patience, func() {
		fmt.Println("\nBROKEN: it hangs")
		_ = pprof.Lookup("goroutine").WriteTo(os.Stdout, 1)
		os.Exit(1)
	}).Stop
}
