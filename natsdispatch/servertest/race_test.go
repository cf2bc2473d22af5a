//go:build race

package servertest_test

// raced reports whether the race detector is on. With it, writing and reading values takes about ten times
// as long.
const raced = true
