//go:build race

package course

// raced says that the race detector is on. It makes the exploration ten times slower and
// has nothing to find there, as there is one goroutine.
const raced = true
