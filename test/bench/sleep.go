package main

// sleepBar is what dispatch may take if its cleverness gains nothing, as a part
// of the loop written by hand.
const sleepBar = 1.05

// sleep compares both sides with producers that block.
func (b *bench) sleep() error {
	t := newComparisons(byHand.by, byDispatch.by)
	for _, s := range sleepSetups() {
		if err := b.contest(t, s, bars{sleepBar, none}); err != nil {
			return err
		}
	}
	t.print(b.out)
	return nil
}

func sleepSetups() (all []setup) {
	for _, n := range sizes {
		all = append(all, setup{work: sleep, producers: n, listeners: 1})
	}
	return all
}
