package main

// side is one side of a comparison.
type side interface {
	// call makes one call and waits for its end, and until every listener has
	// every result.
	call() error
	// verify returns an error unless all calls so far did what they should.
	verify() error
	close()
}

// renewable is a side that keeps something of each call, and lets go of it before
// each round.
type renewable interface{ renew() error }

// builder makes a side ready to be called.
type builder func() (side, error)

// contender is a way to build a side for any case.
type contender struct {
	by    string
	build func(setup) (side, error)
}

func (c contender) with(s setup) builder { return func() (side, error) { return c.build(s) } }

var (
	byHand     = contender{"hand", newHand}
	byDispatch = contender{"dispatch", newDispatched}
)

// compare builds two sides, lets them run in turns and adds a row to the table.
func (b *bench) compare(t *table, name string, base, other builder, limits bars) (c comparison, err error) {
	defer watch(name)()
	first, err := base()
	if err != nil {
		return c, err
	}
	defer first.close()
	second, err := other()
	if err != nil {
		return c, err
	}
	defer second.close()
	if c, err = b.rounds.compare(first, second); err != nil {
		return c, err
	}
	t.comparison(name, c, limits)
	return c, nil
}

// contest adds a row that compares the library with the loop written by hand.
func (b *bench) contest(t *table, s setup, limits bars) error {
	_, err := b.compare(t, s.String(), byHand.with(s), byDispatch.with(s), limits)
	return err
}
