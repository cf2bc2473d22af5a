package main

import "fmt"

const (
	// crowdBar is what very many topics may take in all, in MB: a million of
	// them with a producer each, their handles included.
	crowdBar = 600

	// crowdSendBar is what a call may take on a bus with very many topics, as a
	// part of what it takes on a bus with one.
	crowdSendBar = 1.3

	// idleBar is what a registration may take, in bytes.
	idleBar = 400
)

// manyTopics measures what idle topics and registrations take, and whether the
// topics slow each other down.
func (b *bench) manyTopics() error {
	t := newTable("case", "measured", "bar")
	for _, k := range kinds {
		if err := b.idleRegistrations(t, k); err != nil {
			return err
		}
	}
	c, err := b.idleTopics(t)
	if err != nil {
		return err
	}
	t.print(b.out)
	return b.sendInCrowd(c)
}

// idleRegistrations measures registrations of a kind on one topic.
func (b *bench) idleRegistrations(t *table, k kind) error {
	g, err := measureGrowth(func() (any, error) { return newRow(k, b.registrations) })
	if err != nil {
		return err
	}
	each := float64(g.bytes) / float64(b.registrations)
	name := fmt.Sprintf("registrations=%d/of=%s/topics=1", b.registrations, k.name)
	t.row(name+"/unit=B-each", fmt.Sprintf("%.0f", each), atMost(each, idleBar))
	t.row(name+"/unit=goroutines", fmt.Sprint(g.goroutines), atMost(float64(g.goroutines), 0))
	return nil
}

// idleTopics measures a crowd and returns it.
func (b *bench) idleTopics(t *table) (c *crowd, err error) {
	g, err := measureGrowth(func() (any, error) {
		c, err = newCrowd(b.topics)
		return c, err
	})
	if err != nil {
		return nil, err
	}
	megabytes := float64(g.bytes) / 1e6
	name := c.String()
	t.row(name+"/unit=B-each", fmt.Sprintf("%.0f", float64(g.bytes)/float64(b.topics)), "")
	t.row(name+"/unit=MB", fmt.Sprintf("%.0f", megabytes), atMost(megabytes, crowdBar))
	t.row(name+"/unit=goroutines", fmt.Sprint(g.goroutines), atMost(float64(g.goroutines), 0))
	return c, nil
}

// sendInCrowd compares a call on a bus with one topic with calls in a crowd.
func (b *bench) sendInCrowd(c *crowd) error {
	alone := byDispatch.with(setup{work: quick, producers: 1})
	// To collect garbage takes long where there is so much that is none.
	large := *b
	large.rounds.collect *= 50

	t := newComparisons("alone", "in crowd")
	if _, err := large.compare(t, c.String()+"/to=one", alone, c.toOne, bars{crowdSendBar, none}); err != nil {
		return err
	}
	if _, err := large.compare(t, c.String()+"/to=each", alone, c.toEach, bars{none, none}); err != nil {
		return err
	}
	t.print(b.out)
	return nil
}
