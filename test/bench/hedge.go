package main

// hedgeBar is what a call may take whose members are groups of replicas with a
// hedge that is not needed, as a part of what it takes if they are producers on
// their own. Just as many producers are run.
const hedgeBar = 2

// hedge compares the members of a call with groups of them.
func (b *bench) hedge() error {
	t := newComparisons("plain", "hedged")
	for _, plain := range hedgeSetups() {
		hedged := plain
		hedged.replicas = 2
		if _, err := b.compare(t, hedged.String(), byDispatch.with(plain), byDispatch.with(hedged), bars{hedgeBar, none}); err != nil {
			return err
		}
	}
	t.print(b.out)
	return nil
}

func hedgeSetups() (all []setup) {
	for _, listeners := range []int{0, 1} {
		for _, n := range []int{1, 10} {
			all = append(all, setup{work: quick, producers: n, listeners: listeners})
		}
	}
	return all
}
