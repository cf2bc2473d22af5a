package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-bb4b4d74/dispatch"
)

// waterfall returns one line for each member: its name, how it ended, when it ended, a bar from the start
// of its work to its end, and its error. The bars share the rest of the width, in columns, but have at
// least 10 columns and at most 40.
func waterfall(r dispatch.Report, width int) []string {
	names, states, times := make([]string, len(r.Outcomes)), make([]string, len(r.Outcomes)), make([]string, len(r.Outcomes))
	for i, o := range r.Outcomes {
		names[i], states[i], times[i] = printable(o.Member.String()), o.State.String(), short(o.Elapsed)
	}
	n, s, t := longest(names), longest(states), longest(times)
	const most, least = 40, 10
	room := min(max(width-n-s-t-8, least), most)
	lines := make([]string, len(r.Outcomes))
	for i, o := range r.Outcomes {
		line := fmt.Sprintf("%s  %s  %*s  %s", padded(names[i], n), padded(states[i], s), t, times[i], bar(o, r.Elapsed, room))
		if o.Err != nil {
			line += " " + printable(o.Err.Error())
		}
		lines[i] = strings.TrimRight(line, " ")
	}
	return lines
}

// bar returns a bar from the start to the end of a member's work. The duration whole of the call takes all
// columns.
func bar(o dispatch.Outcome, whole time.Duration, columns int) string {
	at := func(d time.Duration) int {
		if whole <= 0 {
			return 0
		}
		return int(int64(columns) * int64(min(d, whole)) / int64(whole))
	}
	begin := 0
	if o.Started {
		begin = min(at(o.Began), columns-1)
	}
	end := max(at(o.Elapsed), begin+1)
	return strings.Repeat(" ", begin) + strings.Repeat("█", end-begin) + strings.Repeat(" ", columns-end)
}

func longest(texts []string) (n int) {
	for _, s := range texts {
		n = max(n, utf8.RuneCountInString(s))
	}
	return n
}

// padded appends blanks to a text until it has the number of columns.
func padded(s string, columns int) string {
	return s + strings.Repeat(" ", max(columns-utf8.RuneCountInString(s), 0))
}
