package main

import (
	"runtime"
	"sync"
	"time"
)

// usage is what the program takes up.
type usage struct {
	heap       int64 // bytes that are not garbage
	stacks     int64 // bytes of the goroutines' stacks
	goroutines int
}

// tolerance is by how many bytes the heap may be larger than it was: the runtime
// keeps some memory of its own, for timers above all.
const tolerance = 4 << 20

// takenUp returns what the program takes up now. What has a finalizer or lies in a
// pool is gone only after the second collection.
func takenUp() usage {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{int64(m.HeapAlloc), int64(m.StackInuse), runtime.NumGoroutine()}
}

// settled returns what the program takes up when it is back where it was, or when
// that has not come about in ten seconds: goroutines take a moment to end, and
// timers that are of no use any more may hold memory until they go off.
func settled(before usage) usage {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if now := takenUp(); !now.beyond(before) || time.Now().After(end) {
			return now
		}
	}
}

// beyond reports whether there is more of something than there was.
func (u usage) beyond(before usage) bool { return u.moreGoroutines(before) || u.moreHeap(before) }

func (u usage) moreGoroutines(before usage) bool { return u.goroutines > before.goroutines }

func (u usage) moreHeap(before usage) bool { return u.heap > before.heap+tolerance }

// prime has n goroutines exist at the same time. The runtime never gives back the
// records of goroutines, on the heap; so they have to be there before what the
// heap has is counted.
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
