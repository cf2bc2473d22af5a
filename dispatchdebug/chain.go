package dispatchdebug

// Places form chains (all records in one bucket) and rings (those of one topic), both
// in the order of time.
type place struct {
	record          *record
	topic           *topicFigures
	previous, next  *place // in the chain
	newerInTheTopic *place
}

type chain struct {
	head place // between the newest and the oldest
	n    int
}

func (c *chain) init()          { c.head.previous, c.head.next = &c.head, &c.head }
func (c *chain) oldest() *place { return c.head.next }

func (c *chain) push(p *place) {
	p.previous, p.next = c.head.previous, &c.head
	p.previous.next, p.next.previous = p, p
	c.n++
}

func (c *chain) remove(p *place) {
	p.previous.next, p.next.previous = p.next, p.previous
	p.previous, p.next = nil, nil
	c.n--
}

type ring struct {
	oldest, newest *place
	n              int
}

func (r *ring) push(p *place) {
	if r.n == 0 {
		r.oldest = p
	} else {
		r.newest.newerInTheTopic = p
	}
	r.newest = p
	r.n++
}

func (r *ring) pop() *place {
	p := r.oldest
	r.oldest, p.newerInTheTopic = p.newerInTheTopic, nil
	if r.n--; r.n == 0 {
		r.newest = nil
	}
	return p
}
