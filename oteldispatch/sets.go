package oteldispatch

import (
	"sync"

	"github.com/seed-bb4b4d74/dispatch"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// sets are the attributes of measurements. There are few that are different, and to
// make them, which sorts and hashes, costs more than to measure; so they are kept. The
// zero value is ready for use, also concurrently.
type sets struct {
	mu    sync.RWMutex // guards the field below
	known map[setKey]metric.MeasurementOption
}

// mostSets bounds how many are kept. Who has more than that has more time series than
// OpenTelemetry keeps by default, too.
const mostSets = 4096

// setKey is what attributes are made of.
type setKey struct {
	kind   setKind
	topic  string // or its template
	member dispatch.Member
	word   string // which says how it went; empty if that is not told
}

type setKind uint8

const (
	ofTopic setKind = iota
	ofSend
	ofProcess
	ofMember
	ofListener // whose name is that of the member
)

// get returns the attributes for the key, which make makes if they are new.
func (s *sets) get(key setKey, make func() []attribute.KeyValue) metric.MeasurementOption {
	s.mu.RLock()
	set, ok := s.known[key]
	s.mu.RUnlock()
	if ok {
		return set
	}
	set = metric.WithAttributes(make()...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[setKey]metric.MeasurementOption{}
	}
	if len(s.known) < mostSets {
		s.known[key] = set
	}
	return set
}
