package dispatchdebug

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// Bounds for one call.
const (
	mostRuns      = 4096    // members looked at
	mostRows      = 200     // members kept of a call that has ended
	mostListening = 400     // callbacks kept of a call
	mostChildren  = 64      // calls sent from inside a call
	mostName      = 512     // bytes of a name
	mostError     = 1 << 10 // bytes of an error's text
	mostStack     = 8 << 10 // bytes of a stack
	mostStacks    = 64 << 10
)

// unknown is the time of an event that has not happened or was not seen.
const unknown = time.Duration(-1)

// A record is all that is known about one call. The lock of the archive guards it. It is among the
// open records until the call has ended, and then among those that are kept.
type record struct {
	id, parent  dispatch.CallID
	sender      dispatch.Member // the member of the parent that sent it; zero if a listener did
	parentTopic string
	topic       string
	started     time.Time
	budget      time.Duration // unknown if it is
	request     string        // what WithSummarize made of it
	noted       time.Time     // when something was first heard of it, while it is open

	ended    bool
	elapsed  time.Duration
	reason   dispatch.Reason
	lacked   bool // producers until it ended
	waitsFor int  // producers that are missing, while it is in flight

	rows      []row
	index     map[rowKey]int // of the rows, made when there are many
	indexed   int            // rows that are in it
	hint      int            // where the next member is expected to be found
	left      int            // members that ended and are not among the rows
	listening []listening
	unheard   int // callbacks beyond those
	children  []dispatch.CallID

	bytes  int
	places [3]place // in the archive
	used   int      // of them
	pins   int      // reasons to keep it in addition to its places
}

func (r *record) end() time.Time { return r.started.Add(r.elapsed) }

// A row is one member of a call, or a replica that stood in for a group.
type row struct {
	member        dispatch.Member
	replica       bool
	state         dispatch.State
	started       time.Duration // unknown if it was not
	ended         time.Duration // unknown while the call and the member are under way
	results       int
	err, stack    string
	lateErr       string
	nestedIn      string        // the topic of the call that its error is about, if it is about one
	returned      time.Duration // when a late run did, from the call's start; unknown if it has not
	abandoned     bool
	summary       string // of its first result
	summarized    bool
	timedOut      bool // it was late by its own timeout
	unknown       bool // it was asked by name, and there is no such member
	neverReturned bool // it was under way when it ended, and no return was reported
}

type rowKey struct {
	member  dispatch.Member
	replica bool
}

// listening is one callback of a listener.
type listening struct {
	listener string
	member   dispatch.Member // whose result it was called with
	seq      int
	started  time.Duration
	took     time.Duration
	panicked bool
}

// find returns the row of a member, or nil. Members mostly end in the order in which they started,
// so it first looks at the next row.
func (r *record) find(m dispatch.Member, replica bool) *row {
	key := keyOf(m, replica)
	if i := r.hint; i < len(r.rows) && r.rows[i].key() == key {
		r.hint++
		return &r.rows[i]
	}
	if len(r.rows) <= 32 {
		for i := range r.rows {
			if r.rows[i].key() == key {
				r.hint = i + 1
				return &r.rows[i]
			}
		}
		return nil
	}
	if r.index == nil {
		r.index = make(map[rowKey]int, len(r.rows))
	}
	for ; r.indexed < len(r.rows); r.indexed++ {
		r.index[r.rows[r.indexed].key()] = r.indexed
	}
	if i, ok := r.index[key]; ok {
		r.hint = i + 1
		return &r.rows[i]
	}
	return nil
}

func (w *row) key() rowKey { return keyOf(w.member, w.replica) }

// keyOf returns the key of a row. For a group in this process it has no name: which replica answers
// is known only at the end.
func keyOf(m dispatch.Member, replica bool) rowKey {
	if m.Group != "" && m.Node == "" && !replica {
		m.Name = ""
	}
	return rowKey{m, replica}
}

// rowOf returns the row of a member and makes it if there is none. It returns nil if there are too
// many rows.
func (r *record) rowOf(m dispatch.Member, replica bool) *row {
	if w := r.find(m, replica); w != nil {
		return w
	}
	if len(r.rows) >= mostRuns {
		return nil
	}
	r.rows = append(r.rows, row{member: m, replica: replica, started: unknown, ended: unknown, returned: unknown})
	return &r.rows[len(r.rows)-1]
}

// put sets the state of the member, and how it has ended.
func (w *row) put(o *dispatch.Outcome) {
	w.member, w.state, w.results = o.Member, o.State, o.Results
	switch {
	case o.Started:
		w.started = o.Began
	case o.State == dispatch.StateFailed, o.State == dispatch.StatePanicked:
		w.started = 0 // a relay that is listed itself, which does not count as started, or a member that it expected
	}
	if o.State != dispatch.StatePending {
		w.ended = o.Elapsed
	}
}

// explain sets the texts of the error with which a member has ended in this state. It calls methods of the
// error, so no lock may be held.
func (w *row) explain(s dispatch.State, err error) {
	if err == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil { // in one of its methods, such as those of a nil pointer
			w.err = cut(fmt.Sprintf("%T: panic: %v", err, p), mostError)
		}
	}()
	w.timedOut = errors.Is(err, dispatch.ErrTimeout)
	w.unknown = s == dispatch.StateGone && errors.Is(err, dispatch.ErrUnknownMember)
	w.err, w.stack = textOf(s, err)
	var partial *dispatch.PartialError
	if errors.As(err, &partial) {
		w.nestedIn = partial.Report.Topic
	}
}

// failed reports whether a member failed, panicked, or was rejected.
func (w *row) failed() bool {
	switch w.state {
	case dispatch.StateFailed, dispatch.StatePanicked, dispatch.StateRejected:
		return true
	}
	return false
}

// troubled reports whether the row can show the cause of a problem.
func (w *row) troubled() bool {
	switch w.state {
	case dispatch.StateOK, dispatch.StateDeclined:
		return w.abandoned
	}
	return true
}

// span returns how long the member's closure ran within the call.
func (w *row) span() time.Duration {
	if w.started < 0 || w.ended < 0 {
		return unknown
	}
	return max(w.ended-w.started, 0)
}

// settle prepares the record of a call that has ended for being kept.
func (r *record) settle() {
	r.index, r.indexed, r.hint = nil, 0, 0
	r.shorten(mostRows)
	r.shortenTexts()
	r.sender = shortMember(r.sender)
}

// shortenTexts cuts the names of the rows, and keeps only so many stacks.
func (r *record) shortenTexts() {
	stacks := 0
	for i := range r.rows {
		w := &r.rows[i]
		w.member = shortMember(w.member)
		if stacks += len(w.stack); stacks > mostStacks {
			w.stack = ""
		}
	}
}

// shorten keeps at most n rows, in their order: those that the end of the call waited for, those that failed, those
// with other problems, and the slowest.
func (r *record) shorten(n int) {
	if len(r.rows) <= n {
		return
	}
	order := make([]int, len(r.rows))
	for i := range order {
		order[i] = i
	}
	waitedFor := r.waitedFor()
	rank := func(w *row) int {
		switch {
		case waitedFor(w):
			return 0
		case w.failed():
			return 1
		}
		return 2
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := &r.rows[i], &r.rows[j]
		return cmp.Or(cmp.Compare(rank(a), rank(b)), compareRows(a, b))
	})
	keep := order[:n]
	slices.Sort(keep)
	rows := make([]row, n)
	for i, from := range keep {
		rows[i] = r.rows[from]
	}
	r.left += len(r.rows) - n
	r.rows = rows
}

// compareRows orders rows: those with problems first, then those that ended last or have not ended, then those
// that ran longest.
func compareRows(a, b *row) int {
	rank := func(w *row) int {
		if w.troubled() {
			return 0
		}
		return 1
	}
	// A time that is not known counts as later than all others.
	later := func(d time.Duration) time.Duration {
		if d < 0 {
			return math.MaxInt64
		}
		return d
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(later(b.ended), later(a.ended)), cmp.Compare(later(a.started), later(b.started)))
}

// word returns the state as rows show it: that of an outcome, or queued.
func (w *row) word() string {
	if w.state == dispatch.StatePending && w.started < 0 {
		return "queued"
	}
	return w.state.String()
}

// measure sets the approximate number of bytes of the record.
func (r *record) measure() {
	const perRecord, perRow, perListening = 400, 256, 120
	n := perRecord + perRow*cap(r.rows) + perListening*cap(r.listening) + len(r.topic) + len(r.request) + 8*cap(r.children)
	for i := range r.rows {
		w := &r.rows[i]
		n += len(w.err) + len(w.stack) + len(w.lateErr) + len(w.summary) + len(w.member.Node) + len(w.member.Group) + len(w.member.Name)
	}
	for i := range r.listening {
		n += len(r.listening[i].listener)
	}
	r.bytes = n
}

func shortMember(m dispatch.Member) dispatch.Member {
	return dispatch.Member{Node: cut(m.Node, mostName), Group: cut(m.Group, mostName), Name: cut(m.Name, mostName)}
}

// textOf returns the text and the stack of an error. The text is empty if the state says as much. It calls methods of
// the error, so no lock may be held.
func textOf(s dispatch.State, err error) (text, stack string) {
	if err == nil {
		return "", ""
	}
	if s == dispatch.StateLate || s == dispatch.StateCanceled {
		for _, is := range []error{context.DeadlineExceeded, context.Canceled, dispatch.ErrSatisfied} {
			if errors.Is(err, is) {
				return "", ""
			}
		}
	}
	var panicked *dispatch.PanicError
	text = cut(err.Error(), mostError)
	if errors.As(err, &panicked) {
		stack = cut(string(panicked.Stack), mostStack)
	}
	return text, stack
}
