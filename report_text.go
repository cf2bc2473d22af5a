package dispatch

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
)

// mostCell is how many bytes of an error fit into a table.
const mostCell = 256

// String gives the report as a text for people: the call, why and when it ended, and a table
// with a line for each member. It names every member, however many there are. Of a name or an
// error it gives 256 bytes at most, of the text of Err 1 KiB. It does not end with a newline.
func (r Report) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Call\t%s\nReason\t%v\nElapsed\t%v\nComplete()\t%v\nErr()\t%s\n",
		join(" of ", r.Call.String(), oneLine(r.Topic, mostName)), r.Reason, r.Elapsed, r.Complete(), oneLine(fmt.Sprint(r.Err()), mostNested))
	if len(r.Outcomes) > 0 {
		fmt.Fprintln(w, "\nMember\tState\tStarted\tTried\tResults\tElapsed\tErr")
	}
	for _, o := range r.Outcomes {
		text := "<nil>"
		if o.Err != nil {
			text = oneLine(nested(o.Err), mostCell)
		}
		fmt.Fprintf(w, "%s\t%v\t%v\t%v\t%v\t%v\t%s\n",
			oneLine(o.Member.String(), mostName), o.State, o.Started, o.Tried, o.Results, o.Elapsed, text)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return strings.TrimRight(b.String(), " \n")
}

// LogValue gives the report as a group for package slog: topic, call, reason, elapsed, the
// numbers of members and of those that answered, and if any are [Report.Missing] up to ten of
// their names. The error is that of Err, which says how they ended; it is there if it is not
// nil.
func (r Report) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("topic", r.Topic),
		slog.Uint64("call", uint64(r.Call)),
		slog.String("reason", r.Reason.String()),
		slog.Duration("elapsed", r.Elapsed),
		slog.Int("members", len(r.Outcomes)),
		slog.Int("answered", r.count(StateOK)),
	}
	if missing := r.Missing(); len(missing) > 0 {
		var names []string
		for _, o := range missing[:min(len(missing), mostListed)] {
			names = append(names, oneLine(o.Member.String(), mostName))
		}
		attrs = append(attrs, slog.Any("missing", names))
	}
	if err := r.Err(); err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	return slog.GroupValue(attrs...)
}

// Missing returns the outcomes of the members whose answers are missing, in the order of the
// report: of all that have neither answered nor declined. A member that declined has said
// that it has nothing to say. While the call goes on, the members that have not ended are
// among them. Missing is empty if and only if the report is [Report.Complete] or has no
// members.
func (r Report) Missing() []Outcome {
	return slices.DeleteFunc(slices.Clone(r.Outcomes), func(o Outcome) bool { return !o.missing() })
}

// Answered reports whether the member answered in time: it is [StateOK]. A member with results
// that failed afterwards, as a stream can, has not answered, nor has one that declined.
func (o Outcome) Answered() bool { return o.State == StateOK }

func (o Outcome) missing() bool { return !o.Answered() && o.State != StateDeclined }
