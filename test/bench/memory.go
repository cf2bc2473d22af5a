package main

import "runtime"

// growth is what the program has more of than before.
type growth struct {
	bytes      int64 // on the heap, after garbage collection
	goroutines int
}

// measureGrowth returns how much the program has grown by what build returns.
func measureGrowth(build func() (any, error)) (growth, error) {
	defer watch("building")()
	bytes, goroutines := heap(), runtime.NumGoroutine()
	built, err := build()
	if err != nil {
		return growth{}, err
	}
	g := growth{heap() - bytes, runtime.NumGoroutine() - goroutines}
	runtime.KeepAlive(built)
	return g, nil
}

// heap returns what is on the heap and not garbage. What has a finalizer or lies
// in a pool is gone only after the second collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
