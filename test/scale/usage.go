package main

import (
	"runtime"
	"sync"
	"time"
)

// usage is the memory and the goroutines that the program uses.
type usage struct {
	heap       int64 // bytes that are not garbage
	stacks     int64 // bytes of the goroutines' stacks
	goroutines int
}

// tolerance is by how many bytes the heap may be larger than before: the runtime keeps some
// memory, mainly for timers.
const tolerance = 4 << 20

// takenUp returns the usage of the program now. Objects with a finalizer, or in a pool, are
// freed only by the second collection.
func takenUp() usage {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{int64(m.HeapAlloc), int64(m.StackInuse), runtime.NumGoroutine()}
}

// settled returns the usage of the program when it is back at the usage before, or after ten
// seconds. Goroutines take a moment to end, and timers that are no longer needed may keep
// memory until they fire.
func settled(before usage) usage {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if now := takenUp(); !now.beyond(before) || time.Now().After(end) {
			return now
		}
	}
}

// beyond reports whether the usage is higher than before.
func (u usage) beyond(before usage) bool { return u.moreGoroutines(before) || u.moreHeap(before) }

func (u usage) moreGoroutines(before usage) bool { return u.goroutines > before.goroutines }

func (u usage) moreHeap(before usage) bool { return u.heap > before.heap+tolerance }

// prime makes n goroutines exist at the same time. The runtime never frees the records of
// goroutines, which are on the heap, so they must exist before the heap is measured.
func prime(n int) {
	var begun, ended sync.WaitGroup
	release := make(chan struct{})
	begun.Add(n)
	for range n {
		ended.Go(func() {
			begun.Done()
			<-release
		})
	}
	begun.Wait()
	close(release)
	ended.Wait()
}
