package main

// quickBars are what a call may take if it has one listener, by the number of
// producers: in time as a part of the loop written by hand, and in allocations.
var quickBars = map[int]bars{
	1:    {0.9, 12},
	10:   {0.4, 12},
	100:  {0.2, 14},
	1000: {0.12, 20},
}

// quick compares what the machinery itself costs on both sides.
func (b *bench) quick() error {
	t := newComparisons(byHand.by, byDispatch.by)
	for _, s := range quickSetups() {
		limits := bars{none, none}
		if s.listeners == 1 {
			limits = quickBars[s.producers]
		}
		if err := b.contest(t, s, limits); err != nil {
			return err
		}
	}
	t.print(b.out)
	return nil
}

// quickSetups begins with the cases that have bars.
func quickSetups() (all []setup) {
	for _, listeners := range []int{1, 0, 4} {
		for _, n := range sizes {
			all = append(all, setup{work: quick, producers: n, listeners: listeners})
		}
	}
	return all
}
