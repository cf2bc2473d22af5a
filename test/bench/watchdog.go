package main

import (
	"fmt"
	"os"
	"runtime/pprof"
	"time"
)

// patience is how long a case may take. All of them together take less.
const patience = 3 * time.Minute

// watch ends the program, and shows where its goroutines are, if a case hangs.
func watch(name string) (stop func() bool) {
	return time.AfterFunc(patience, func() {
		fmt.Printf("\nBROKEN: %s hangs\n", name)
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		os.Exit(0)
	}).Stop
}
