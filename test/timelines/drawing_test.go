package timelines_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/timelines"
)

// step is what a column stands for; it is the same in all pictures.
const step = 100 * time.Millisecond

// picture draws the calls, all with this timeout. If they were sent in turn, each has waited
// for a place since the start of the one before.
func (s *stage) picture(timeout time.Duration, inTurn bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sortLocked()
	chart := timelines.Chart{Step: step, Length: timeout}
	for i, report := range s.reports {
		started := report.Started.Sub(s.began)
		d := drawing{
			stage: s, report: report,
			from: started, end: started + report.Elapsed, deadline: started + timeout,
			digits: s.callbacks != nil,
		}
		if i > 0 && inTurn {
			d.asked, d.waited = s.reports[i-1].Started.Sub(s.began), true
		}
		chart.Rows = append(chart.Rows, d.rows()...)
		if len(s.reports) == 1 {
			chart.Labels = append(chart.Labels, timelines.Label{At: d.end, Text: report.Reason.String()})
			if d.end < d.deadline {
				chart.Labels = append(chart.Labels, timelines.Label{At: d.deadline, Text: "(deadline)"})
			}
		} else {
			chart.Rows[len(chart.Rows)-1].Name = fmt.Sprint("call ", report.Call)
		}
	}
	if s.callbacks != nil {
		row := timelines.Row{Name: s.callbacks[0].name}
		for _, c := range s.callbacks {
			row.Spans = append(row.Spans, timelines.Span{From: c.from, To: c.to, Fill: '='})
			row.Marks = append(row.Marks, timelines.Mark{At: c.from, Sign: digit(c.seq)})
			chart.Length = max(chart.Length, c.to)
		}
		chart.Rows = append(chart.Rows, row)
	}
	for _, r := range chart.Rows {
		for _, m := range r.Marks {
			chart.Length = max(chart.Length, m.At)
		}
	}
	return chart.String()
}

func (s *stage) sortLocked() {
	slices.SortFunc(s.reports, func(a, b dispatch.Report) int { return cmp.Compare(a.Call, b.Call) })
}

// drawing draws one call.
type drawing struct {
	stage               *stage
	report              dispatch.Report
	asked               time.Duration // since when Send has waited for a place
	waited              bool          // whether it has
	from, end, deadline time.Duration
	digits              bool // results by their Seq
}

func (d *drawing) rows() (rows []timelines.Row) {
	for _, p := range d.stage.producers {
		rows = append(rows, d.row(p))
	}
	for _, o := range d.report.Outcomes { // members that no producer of the stage stands for
		if !slices.ContainsFunc(d.stage.producers, func(p actor) bool { return p.name == o.Member.Name }) {
			rows = append(rows, d.row(actor{o.Member.Name, d.from}))
		}
	}
	return rows
}

func (d *drawing) row(p actor) timelines.Row {
	r := timelines.Row{Name: p.name}
	span := func(from, to time.Duration, fill byte) {
		r.Spans = append(r.Spans, timelines.Span{From: from, To: to, Fill: fill})
	}
	mark := func(at time.Duration, sign byte) { r.Marks = append(r.Marks, timelines.Mark{At: at, Sign: sign}) }

	var outcome *dispatch.Outcome
	for i := range d.report.Outcomes {
		if d.report.Outcomes[i].Member.Name == p.name {
			outcome = &d.report.Outcomes[i]
		}
	}
	var runs []*run
	for _, run := range d.stage.runs {
		if run.name == p.name && run.call == d.report.Call {
			runs = append(runs, run)
		}
	}
	since := max(p.added, d.from)
	if d.waited {
		since = d.asked
	}
	switch {
	case len(runs) > 0:
		span(since, runs[0].from, '.')
	case outcome != nil:
		span(since, d.from+outcome.Elapsed, '.')
	case len(d.report.Outcomes) == 0: // no member was asked
		span(since, d.end, '.')
	}
	end := d.end
	if outcome != nil && errors.Is(outcome.Err, dispatch.ErrTimeout) {
		end = d.from + outcome.Elapsed // its own
	}
	for _, run := range runs {
		span(run.from, min(run.to, end), '=')
		span(max(run.from, end), run.to, '~')
	}

	if d.deadline > d.end {
		mark(d.deadline, ':')
	}
	mark(d.end, '|')
	if p.added > d.from {
		mark(p.added, '+')
	}
	for _, run := range runs {
		if run.told >= 0 && run.told < d.end {
			mark(run.told, '!')
		}
		if run.err != nil && run.to < d.end && (outcome == nil || outcome.State == dispatch.StateFailed) {
			mark(run.to, 'x')
		}
	}
	if outcome != nil && slices.Contains([]dispatch.State{dispatch.StateFailed, dispatch.StateRejected, dispatch.StateGone}, outcome.State) {
		mark(d.from+outcome.Elapsed, 'x')
	}
	for _, m := range d.stage.results {
		if m.name == p.name && m.call == d.report.Call {
			sign := byte('o')
			if d.digits {
				sign = digit(m.seq)
			}
			mark(m.at, sign)
		}
	}
	for _, m := range d.stage.late {
		if m.name == p.name && m.call == d.report.Call {
			mark(m.at, 'l')
		}
	}
	r.Note = note(outcome, runs)
	return r
}

func note(o *dispatch.Outcome, runs []*run) string {
	switch {
	case o != nil && !o.Started && (o.State == dispatch.StateLate || o.State == dispatch.StateCanceled):
		return o.State.String() + ", not started"
	case o != nil:
		return o.State.String()
	case len(runs) == 0:
		return "not asked"
	case runs[0].told >= 0:
		return "told to stop"
	default:
		return "failed"
	}
}

func digit(i int) byte { return "0123456789"[i] }

// report writes what the reports of the calls say: a single one as it prints itself.
func (s *stage) report() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sortLocked()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(s.reports) == 1 {
		fmt.Fprintln(&b, s.reports[0])
	} else {
		fmt.Fprintln(w, "Call\tReason\tMember\tState\tStarted\tElapsed\tErr")
		for _, r := range s.reports {
			for _, o := range r.Outcomes {
				fmt.Fprintf(w, "%v\t%v\t%v\t%v\t%v\t%v\t%v\n", r.Call, r.Reason, o.Member, o.State, o.Started, o.Elapsed, o.Err)
			}
		}
	}
	if s.callbacks != nil {
		fmt.Fprintf(w, "\nListener\tDropped\n%s\t%d\n", s.callbacks[0].name, s.dropped)
	}
	s.check(w.Flush())
	return b.String()
}
