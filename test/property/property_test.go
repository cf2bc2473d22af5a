// Package property tests a property of every schedule: the books of all calls are right,
// for everything that producers, listeners, relays and callers may do, and under all policies together.
package property

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestBooks plays schedules in virtual time and checks their books. More of them:
//
//	go test -rapid.checks=10000
//
// Each is played in a bubble, which fails if a goroutine is left when the bus has
// been closed and all producers have returned.
func TestBooks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		defer watch()()
		rapid.SyncTest(t, func(t *rapid.T) {
			s := newSchedule(t)
			s.play()
			s.end()
			s.audit()
		})
	})
}

// watch ends the process if a schedule hangs. In virtual time, a schedule that hangs prints
// nothing.
func watch() (stop func() bool) {
	return time.AfterFunc(time.Minute, func() {
		stacks := make([]byte, 1<<20)
		panic(fmt.Sprintf("the schedule hangs:\n%s", stacks[:runtime.Stack(stacks, true)]))
	}).Stop
}
