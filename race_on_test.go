//go:build race

package dispatch_test

// raced says that the race detector is on, which makes long random tests ten times slower.
const raced = true
