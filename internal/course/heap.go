package course

import "time"

// timed is a run, and a time at which something becomes due for it.
type timed struct {
	run Run
	at  time.Duration
}

// heap has the element that is due first in front: each is due no later than the two that
// stand at twice its index and one or two more. Package container/heap would allocate every
// course.
type heap []timed

func (h *heap) add(x timed) {
	*h = append(*h, x)
	all := *h
	for i := len(all) - 1; i > 0 && all[i].at < all[(i-1)/2].at; i = (i - 1) / 2 {
		all[i], all[(i-1)/2] = all[(i-1)/2], all[i]
	}
}

// drop drops the first one.
func (h *heap) drop() {
	last := len(*h) - 1
	(*h)[0] = (*h)[last]
	*h = (*h)[:last]
	all := *h
	for i := 0; ; {
		first := i
		for _, below := range [...]int{2*i + 1, 2*i + 2} {
			if below < last && all[below].at < all[first].at {
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
