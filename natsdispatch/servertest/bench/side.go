package main

// side is one side of a comparison.
type side interface {
	// call makes one call and waits for its end. It returns an error if the results are wrong.
	call() error
}

// The size of a call, and its request, on all sides.
const (
	nodes     = 20
	producers = 10 // producers of each node
	request   = 7
)

// produce is the result of producer i.
func produce(i, req int) int { return req + i }

// total is the sum of the values of a call to n nodes.
func total(n int) (sum int) {
	for i := range producers {
		sum += produce(i, request)
	}
	return n * sum
}
