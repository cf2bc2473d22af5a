package course

import "time"

// timed is something that is due at a time.
type timed interface{ due() time.Duration }

// heap keeps first what is due first: the element at i is not due after those at 2i+1 and
// 2i+2. Package container/heap would have every course allocated.
type heap[T timed] []T

func (l *heap[T]) push(x T) {
	*l = append(*l, x)
	h := *l
	for i := len(h) - 1; i > 0 && h[i].due() < h[(i-1)/2].due(); i = (i - 1) / 2 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
	}
}

// pop drops what is first.
func (l *heap[T]) pop() {
	h := *l
	last := len(h) - 1
	h[0], h = h[last], h[:last]
	for i := 0; 2*i+1 < last; {
		next := 2*i + 1
		if next+1 < last && h[next+1].due() < h[next].due() {
			next++
		}
		if h[i].due() <= h[next].due() {
			break
		}
		h[i], h[next] = h[next], h[i]
		i = next
	}
	*l = h
}
