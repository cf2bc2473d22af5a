package main

// side is one side of a comparison.
type side interface {
	// call makes one call and waits for its end. It returns an error unless it has
	// brought what it should.
	call() error
}

// What is asked of whom, on all sides.
const (
	nodes     = 20
	producers = 10 // of a node
	request   = 7
)

// produce is what a producer does.
func produce(i, req int) int { return req + i }

// total is what the values of a call to n nodes add up to.
func total(n int) (sum int) {
	for i := range producers {
		sum += produce(i, request)
	}
	return n * sum
}
