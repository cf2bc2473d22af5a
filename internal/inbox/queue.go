package inbox

// Links are the place of a source in the queue of an inbox, to be part of the source.
// The inbox's lock guards it.
type Links struct {
	prev, next Source
	released   bool // Release was called, also for all sources before it
	first      bool // it is put back before all others
}

// Linked is part of Source.
func (n *Links) Linked() *Links { return n }

// queue is a first-in, first-out queue of sources.
type queue struct {
	head, tail Source
	length     int
	full       Source // the sources before it have no results to drop; nil: nothing is known
}

func (q *queue) has(s Source) bool { return q.head == s || s.Linked().prev != nil }

func (q *queue) push(s Source) {
	s.Linked().prev = q.tail
	if q.tail == nil {
		q.head = s
	} else {
		q.tail.Linked().next = s
	}
	q.tail = s
	q.length++
}

// unshift adds a source before all others. The source holds back nothing.
func (q *queue) unshift(s Source) {
	*s.Linked() = Links{next: q.head, released: true, first: true}
	if q.head == nil {
		q.tail = s
	} else {
		q.head.Linked().prev = s
	}
	q.head, q.full = s, nil
	q.length++
}

func (q *queue) remove(s Source) {
	n := s.Linked()
	if n.prev == nil {
		q.head = n.next
	} else {
		n.prev.Linked().next = n.next
	}
	if n.next == nil {
		q.tail = n.prev
	} else {
		n.next.Linked().prev = n.prev
	}
	if q.full == s {
		if q.full = n.next; q.full == nil {
			q.full = n.prev
		}
	}
	*n = Links{first: n.first}
	q.length--
}

// drop drops up to n results of the sources that are next, removes sources that are spent
// then, and returns how many it has dropped. It looks again at sources that had none only if
// all others have none either.
func (q *queue) drop(n int) (dropped int) {
	for range 2 {
		if q.full == nil {
			q.full = q.head
		}
		for s := q.full; s != nil && dropped < n; {
			q.full = s
			next := s.Linked().next
			dropped += s.Drop(n-dropped, true)
			if s.Spent() {
				q.remove(s)
			}
			s = next
		}
		if dropped == n {
			break
		}
		q.full = nil
	}
	return dropped
}

// release releases the sources that have not been released yet.
func (q *queue) release() {
	for s := q.tail; s != nil && !s.Linked().released; s = s.Linked().prev {
		s.Linked().released = true
		s.Release()
	}
}

func (q *queue) clear() (sources []Source) {
	for s := q.head; s != nil; s = q.head {
		q.remove(s)
		sources = append(sources, s)
	}
	return sources
}
