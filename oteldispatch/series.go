package oteldispatch

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// mostSeries bounds the number of members with tallies. Above it, the topics that were unused for
// longest are forgotten. Their tallies begin at 0 when they are used again.
const mostSeries = 4096

// tallies count how calls and their members have ended. They are read when metrics are collected:
// to pass each run of each member to an instrument would cost more than the run. They are safe
// for concurrent use.
type tallies struct {
	names    *names
	mostEver int // members

	mu       sync.Mutex              // guards the fields below, and all series
	topics   map[string]*topicSeries // by their labels
	last     *topicSeries            // of the newest call
	lastName string                  // of its topic
	used     uint64                  // calls
	members  int                     // of all topics
	runs     []measured              // empty; its memory is for the next call
}

// topicSeries has the counts of a topic.
type topicSeries struct {
	attrs   *topicAttrs
	used    uint64
	sent    []tally // by the type of the error; the first is that without an error
	seats   []seat  // the members of the newest call, in its order
	members map[dispatch.Member]*memberSeries
}

// seat is the position of a member in the calls of a topic. These usually have the same members in
// the same order.
type seat struct {
	member dispatch.Member
	series *memberSeries
}

// tally counts ends with errors of one type, and the durations until then.
type tally struct {
	errorType string
	count     uint64
	took      histogram
	set       attribute.Set
	option    metric.MeasurementOption
}

// memberSeries has the counts of the members with one name in metrics.
type memberSeries struct {
	identity []attribute.KeyValue
	outcomes [states]uint64
	states   [states]metric.MeasurementOption
	consumed uint64
	process  metric.MeasurementOption
	runs     []tally // by the type of the error; the first is that without an error
}

const states = int(dispatch.StateGone) + 1

// lock locks the tallies, and returns the series of a topic. No lock is held while the name of the topic is made.
func (s *tallies) lock(name string) *topicSeries {
	s.mu.Lock()
	if s.last == nil || s.lastName != name {
		s.mu.Unlock()
		attrs := s.names.topic(name)
		s.mu.Lock()
		s.changeTopicLocked(name, attrs)
	}
	return s.last
}

func (s *tallies) changeTopicLocked(name string, attrs *topicAttrs) {
	t := s.topics[attrs.label]
	if t == nil {
		t = &topicSeries{attrs: attrs, members: make(map[dispatch.Member]*memberSeries)}
		if s.topics == nil {
			s.topics = make(map[string]*topicSeries)
		}
		s.topics[attrs.label] = t
		s.boundLocked(t)
	}
	s.last, s.lastName = t, name
}

// seated returns the series of the member in seat i of a topic's newest call, or nil if it is not known.
func (t *topicSeries) seated(i int, m *dispatch.Member) *memberSeries {
	if i < len(t.seats) && t.seats[i].member == *m {
		return t.seats[i].series
	}
	return nil
}

// newSeatLocked gives seat i of a topic to a member, which has another name in attributes.
func (s *tallies) newSeatLocked(t *topicSeries, i int, m *dispatch.Member, named dispatch.Member) *memberSeries {
	f := s.lookUpLocked(t, named)
	switch {
	case i < len(t.seats):
		t.seats[i] = seat{*m, f}
	case i == len(t.seats):
		t.seats = append(t.seats, seat{*m, f})
	}
	return f
}

// lookUpLocked returns the series of a member by its name in attributes.
func (s *tallies) lookUpLocked(t *topicSeries, m dispatch.Member) *memberSeries {
	f := t.members[m]
	if f == nil {
		f = &memberSeries{identity: identity(m)}
		t.members[m] = f
		s.members++
		s.boundLocked(t)
	}
	return f
}

// boundLocked forgets topics until the bounds hold: first those that were unused for longest, and at
// last the members of t.
func (s *tallies) boundLocked(t *topicSeries) {
	if s.members+len(s.topics) <= s.mostEver {
		return
	}
	var others []*topicSeries
	for _, other := range s.topics {
		if other != t {
			others = append(others, other)
		}
	}
	slices.SortFunc(others, func(a, b *topicSeries) int { return cmp.Compare(a.used, b.used) })
	for _, other := range others {
		if s.members+len(s.topics) <= s.mostEver/2 {
			return
		}
		s.members -= len(other.members)
		delete(s.topics, other.attrs.label)
	}
	if s.members+len(s.topics) > s.mostEver {
		s.members -= len(t.members)
		clear(t.members)
		t.seats = nil
	}
}

// find returns the tally for a type of error. It makes the tally if there is none.
func find(list *[]tally, errorType string, attrs func() []attribute.KeyValue) *tally {
	for i := range *list {
		if t := &(*list)[i]; t.errorType == errorType {
			return t
		}
	}
	return addTally(list, errorType, attrs())
}

// addTally has a large frame. Inlined, it would be on the small stack of the observer in each call.
//
//go:noinline
func addTally(list *[]tally, errorType string, attrs []attribute.KeyValue) *tally {
	set := attribute.NewSet(withError(attrs, errorType)...)
	*list = append(*list, tally{errorType: errorType, set: set, option: metric.WithAttributeSet(set)})
	return &(*list)[len(*list)-1]
}

// call returns the tally of calls with this type of error.
func (t *topicSeries) call(errorType string) *tally {
	if errorType == "" && len(t.sent) > 0 && t.sent[0].errorType == "" {
		return &t.sent[0]
	}
	return find(&t.sent, errorType, func() []attribute.KeyValue { return slices.Concat(t.attrs.destination, sendAttrs) })
}

// run returns the tally of a member's runs with this type of error.
func (f *memberSeries) run(t *topicSeries, errorType string) *tally {
	if errorType == "" && len(f.runs) > 0 {
		return &f.runs[0]
	}
	return f.otherRun(t, errorType)
}

func (f *memberSeries) otherRun(t *topicSeries, errorType string) *tally {
	attrs := func() []attribute.KeyValue { return slices.Concat(t.attrs.destination, processAttrs, f.identity) }
	if len(f.runs) == 0 {
		find(&f.runs, "", attrs)
	}
	return find(&f.runs, errorType, attrs)
}

// inState returns the attributes of outcomes in a state.
func (f *memberSeries) inState(t *topicSeries, s int) metric.MeasurementOption {
	if f.states[s] == nil {
		f.states[s] = metric.WithAttributes(append(slices.Concat(t.attrs.destination, f.identity), memberStateKey.String(dispatch.State(s).String()))...)
	}
	return f.states[s]
}

// histogram counts durations in the buckets that the conventions recommend.
type histogram struct {
	counts   [len(bounds) + 1]uint64
	count    uint64
	sum      time.Duration
	min, max time.Duration
}

func (h *histogram) add(d time.Duration) {
	i := 0
	for i < len(bounds) && d > bounds[i] { // most runs are short
		i++
	}
	if h.count == 0 || d < h.min {
		h.min = d
	}
	h.count++
	h.counts[i]++
	h.sum += d
	h.max = max(h.max, d)
}
