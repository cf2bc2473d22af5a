package dispatch

import (
	"fmt"
	"log/slog"
	"strings"
	"text/tabwriter"
)

// mostCell is how many bytes of an error fit into a table.
const mostCell = 256

// String returns the report as a text for people: the call, when and why it ended, and a
// table with a row for each member. The table has all members. Names and errors are cut at
// 256 bytes, and the text of Err at 1 KiB. The text does not end with a newline.
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

// LogValue returns the report as a group for package slog: topic, call, reason, elapsed,
// the number of members and the number of answers. If members are missing (see
// [Report.Missing]), the group has the names of up to ten of them. If Err is not nil, the
// group has its text, which says how these members ended.
func (r Report) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("topic", r.Topic),
		slog.Uint64("call", uint64(r.Call)),
		slog.String("reason", r.Reason.String()),
		slog.Duration("elapsed", r.Elapsed),
		slog.Int("members", len(r.Outcomes)),
		slog.Int("answered", count(r.Outcomes, StateOK)),
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
