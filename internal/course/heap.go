package course

import "time"

// heap has the element that is due first in front: each is due no later than the two that
// stand at twice its index and one or two more. Package container/heap would allocate every
// course.
type heap[T interface{ due() time.Duration }] []T

func (h *heap[T]) add(x T) {
	*h = append(*h, x)
	all := *h
	for i := len(all) - 1; i > 0 && all[i].due() < all[(i-1)/2].due(); i = (i - 1) / 2 {
		all[i], all[(i-1)/2] = all[(i-1)/2], all[i]
	}
}

// drop drops the first one.
func (h *heap[T]) drop() {
	last := len(*h) - 1
	(*h)[0] = (*h)[last]
	*h = (*h)[:last]
	all := *h
	for i := 0; ; {
		first := i
		for _, below := range [...]int{2*i + 1, 2*i + 2} {
			if below < last && all[below].due() < all[first].due() {
				first = below
			}
		}
		if first == i {
			return
		}
		all[i], all[first] = all[first], all[i]
		i = first
	}
}
