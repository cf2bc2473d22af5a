package inbox

// queue is a first-in, first-out queue of sources.
type queue struct {
	sources []Source // those from head on wait
	head    int32
	empty   int32 // those before it, from head on, have no results to drop
}

func (q *queue) len() int { return len(q.sources) - int(q.head) }

// push adds a source. Where most of the array is room that the first have left, they
// move there: a queue that stays as long as it is does not grow.
func (q *queue) push(s Source) {
	if len(q.sources) == cap(q.sources) && int(q.head) > len(q.sources)/2 {
		n := copy(q.sources, q.sources[q.head:])
		clear(q.sources[n:])
		q.sources, q.empty, q.head = q.sources[:n], max(0, q.empty-q.head), 0
	}
	q.sources = append(q.sources, s)
}

// first returns the source that is next, or nil.
func (q *queue) first() Source {
	if q.len() == 0 {
		return nil
	}
	return q.sources[q.head]
}

// pop removes the source that is next. A small array is kept, so that an inbox that is
// used now and then does not allocate each time.
func (q *queue) pop() {
	q.sources[q.head] = nil
	if q.head++; int(q.head) < len(q.sources) {
		return
	}
	q.head, q.empty = 0, 0
	if q.sources = q.sources[:0]; cap(q.sources) > 64 {
		q.sources = nil
	}
}

// drop drops n results of the sources that are next and returns how many there were.
// It looks again at those that had none only if all others have none either.
func (q *queue) drop(n int) (dropped int) {
	for range 2 {
		for i := max(q.empty, q.head); int(i) < len(q.sources); i++ {
			q.empty = i
			if dropped += q.sources[i].Drop(n-dropped, true); dropped == n {
				return dropped
			}
		}
		q.empty = q.head
	}
	return dropped
}

func (q *queue) clear() (sources []Source) {
	sources = q.sources[q.head:]
	*q = queue{}
	return sources
}
