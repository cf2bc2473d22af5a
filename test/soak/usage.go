package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"time"
)

// usage is what the program takes up.
type usage struct {
	heap       int64 // bytes that are not garbage
	goroutines int
}

// tolerance is by how many bytes the heap may be larger than at first: the records
// of goroutines stay for ever, and some memory of the runtime's own.
const tolerance = 8 << 20

func measure() usage {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{int64(m.HeapAlloc), runtime.NumGoroutine()}
}

// settled returns what the program takes up when as many goroutines are left as
// there were at first, or when that has not come about in ten seconds.
func settled(atFirst usage) usage {
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > atFirst.goroutines && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	return measure()
}

// within reports whether nothing is left behind, and shows what is.
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
