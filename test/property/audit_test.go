package property

import (
	"slices"
	"strings"

	"github.com/seed-bb4b4d74/dispatch/test/books"
)

// audit checks the books after the end of the bus.
func (s *schedule) audit() {
	for _, c := range s.calls {
		<-c.read
		c.entry.Report, c.entry.Results = c.Report(), slices.Collect(c.Results())
		s.check(c.entry.Check())
		s.check(c.entry.Agrees(c.early))
		if c.entry.Report.Elapsed > c.timeout {
			s.Errorf("%v\nit had %v", &c.entry, c.timeout)
		}
		s.auditRuns(c)
		s.auditAudience(c)
	}
	s.auditValues()
	if snapshot := s.d.Bus().Snapshot(); len(snapshot.Calls)+len(snapshot.Abandoned) > 0 {
		s.Errorf("at rest: calls %v, abandoned %v", snapshot.Calls, snapshot.Abandoned)
	}
}

func (s *schedule) check(err error) {
	if err != nil {
		s.Error(err)
	}
}

// auditRuns checks that no producer was asked twice by a call, and that the report says of each
// whether its run has started.
func (s *schedule) auditRuns(c *call) {
	for _, o := range c.entry.Report.Outcomes {
		if o.Member.Node != "" || o.Member.Group != "" || strings.HasPrefix(o.Member.Name, "relay-") {
			continue
		}
		if n := s.runs[c.ID()][o.Member.Name]; n > 1 || o.Started != (n == 1) {
			s.Errorf("%v\n%v was asked %d times, Started is %v", &c.entry, o.Member, n, o.Started)
		}
	}
}

// auditAudience checks that all listeners that were registered during the whole call have its
// results, and that no listener was told twice of its end.
func (s *schedule) auditAudience(c *call) {
	gave := make(map[*books.Witness]int)
	for _, t := range s.testimonies[c.ID()] {
		gave[t.Witness]++
		owed := books.Some // for listeners that were added or removed during the call
		if s.wasThere(c, t.Witness) {
			owed = t.Witness.Hearing
		}
		if t.Witness.Hearing == books.AnyRank {
			owed = books.AnyRank
		}
		s.check(c.entry.Proves(t, owed, s.cut || !s.wasThere(c, t.Witness)))
	}
	for _, l := range s.audience {
		if n := gave[&l.Witness]; n > 1 || n == 0 && s.wasThere(c, &l.Witness) {
			s.Errorf("%v\n%s was told of the end %d times", &c.entry, l.Witness.Name, n)
		}
	}
}

func (s *schedule) wasThere(c *call, w *books.Witness) bool {
	return slices.ContainsFunc(c.witnesses, func(l *listener) bool { return &l.Witness == w && !l.leaving })
}

// auditValues checks that each value that a member gave is a result of a call, or was late
// once.
func (s *schedule) auditValues() {
	results := make(map[int]bool)
	for _, c := range s.calls {
		for _, r := range c.entry.Results {
			results[r.Value] = true
		}
	}
	for v, n := range s.late {
		if n > 1 || results[v] {
			s.Errorf("%d was late %d times, and a result: %v", v, n, results[v])
		}
	}
	for v := range s.given {
		if !s.cut && !results[v] && s.late[v] == 0 {
			s.Errorf("%d was handed in and lost", v)
		}
	}
}
