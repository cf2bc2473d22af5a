//go:build !race

package servertest_test

// raced is whether the race detector is on, with which values are written and read ten times as slowly.
const raced = false
