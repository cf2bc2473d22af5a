package dispatch

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/seed-bb4b4d74/dispatch/internal/course"
)

// The texts of errors are made for one line of a log or a terminal: numbers first,
// then names and causes, each cause once. What a text leaves out is in the Report, and in
// the errors that the error wraps.

const (
	mostListed = 10      // names in a text
	mostName   = 256     // bytes of a name
	mostNested = 1 << 10 // bytes of a cause, or of a member's error

	unknownMember = "no producer named " // names follow; other endings follow names
)

var (
	unescaped  = strings.NewReplacer(`\\`, `\`, `\"`, `"`)
	unprefixed = strings.NewReplacer(": dispatch: ", ": ", "; dispatch: ", "; ", "(dispatch: ", "(", "\ndispatch: ", "\n")
)

// text says why the call ended, and then how the members without an answer ended.
// Members that had not ended when the call did are named if a deadline or a stall ended
// it. Otherwise their number is enough.
func (r Report) text() string {
	n, answered := len(r.Outcomes), count(r.Outcomes, StateOK)
	why, named := r.Reason.String(), false
	switch {
	case r.Reason == ReasonAllEnded, r.Reason == ReasonQuorumLost && r.ofFirst():
		why, named = "", true
	case r.Reason == ReasonStalled:
		named = true
	case r.Reason == ReasonDeadline:
		why, named = join(": ", "deadline exceeded", r.causeText()), true
	case r.Reason == ReasonCanceled:
		why = join(": ", why, r.causeText())
	case r.Reason == ReasonQuorumLost && r.quorum > n:
		return join(": ", fmt.Sprintf("quorum of %d is impossible with %s", r.quorum, members(n)), r.list(Member.String, ""))
	case r.Reason == ReasonQuorumLost && r.quorum > 0:
		why = fmt.Sprintf("quorum of %d lost: %d of %s answered", r.quorum, answered, members(n))
	}
	if !named {
		if unfinished := count(r.Outcomes, StateCanceled, StatePending); unfinished > 0 {
			why += fmt.Sprintf(" (%s unfinished)", members(unfinished))
		}
		return join(": ", why, r.list(Member.String, ""))
	}
	missing, rest := "", r.list(Member.String, "unfinished")
	switch {
	case why == "" && strings.HasPrefix(rest, unknownMember) && !strings.Contains(rest, "; "):
		// The list says it all.
	case answered > 0 && answered < r.quorum && r.Complete():
		missing = fmt.Sprintf("quorum of %d not reached: %d of %s answered", r.quorum, answered, members(n))
	case answered > 0:
		missing = fmt.Sprintf("%d of %s did not answer", n-answered, members(n))
	case n > 0:
		missing = "no member answered"
	}
	return join(": ", why, missing, rest)
}

// causeText is empty if the cause says no more than the reason does.
func (r Report) causeText() string {
	if r.cause == context.Canceled || r.cause == context.DeadlineExceeded {
		return ""
	}
	return nested(r.cause)
}

func members(n int) string {
	if n == 1 {
		return "1 member"
	}
	return fmt.Sprintf("%d members", n)
}

// list counts the members that declined and names the others without an answer: those
// that failed first, and those that ended alike together. It has a word for the
// unfinished, or none to leave them out.
func (r Report) list(name func(Member) string, unfinished string) string {
	var endings, texts []string
	alike, cause, left := make(map[string][]string), r.causeText(), 0
	for _, failed := range []bool{true, false} {
		for _, o := range r.Outcomes {
			if o.State == StateOK || o.State == StateDeclined || course.State(o.State).Failure() != failed {
				continue
			}
			ended := unfinished
			if o.State != StateCanceled && o.State != StatePending {
				ended = ending(o.State, o.Err, cause)
			}
			if ended == "" {
				continue
			}
			if alike[ended] == nil {
				endings = append(endings, ended)
			}
			alike[ended] = append(alike[ended], name(o.Member))
			left++
		}
	}
	for room, i := mostListed, 0; i < len(endings); i++ {
		if room <= 0 {
			texts = append(texts, fmt.Sprintf("and %d more", left))
			break
		}
		names := alike[endings[i]]
		texts = append(texts, phrase(names, room, endings[i]))
		room, left = room-len(names), left-len(names)
	}
	declined := ""
	if n := count(r.Outcomes, StateDeclined); n > 0 {
		declined = fmt.Sprintf("%d declined", n)
	}
	return join(", ", declined, join("; ", texts...))
}

// phrase says how the members with these names ended.
func phrase(names []string, room int, ended string) string {
	if ended != unknownMember {
		return enumerate(names, room) + " " + ended
	}
	for i := range names {
		names[i] = strconv.QuoteToGraphic(names[i])
	}
	return ended + enumerate(names, room)
}

// enumerate joins as many names as there is room for, and counts the others.
func enumerate(names []string, room int) string {
	more := ""
	if len(names) > room {
		more = fmt.Sprintf(" and %d more", len(names)-room)
		names = names[:room]
	}
	for i := range names {
		names[i] = oneLine(names[i], mostName)
	}
	return strings.Join(names, ", ") + more
}

// ending says in words that follow a name how a member ended. The error is not among
// them if the state says as much, or if it is the cause of the call's end.
func ending(state State, err error, cause string) string {
	text, word := nested(err), state.String()
	switch {
	case state == StateGone && is(err, ErrUnknownMember): // errors.Is would call methods of the error, which may panic
		return unknownMember
	case cause != "" && text == cause, state == StateLate && err == context.DeadlineExceeded, text == word:
		return word
	case state == StatePanicked:
		text = strings.TrimPrefix(text, "panic: ")
	}
	return join(": ", word, strings.TrimPrefix(text, word+": "))
}

// join joins the parts that are not empty.
func join(sep string, parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), sep)
}

// nested returns the text of an error as a part of another one: in one line of bounded
// length, and without the name of this package, with which the whole begins.
func nested(err error) string {
	if err == nil {
		return ""
	}
	text := ": " + fmt.Sprint(err) // unlike err.Error(), this returns if Error panics
	return oneLine(unprefixed.Replace(text[:min(len(text), 8*mostNested)])[2:], mostNested)
}

// oneLine escapes what is not graphic, as Go does in strings, and cuts the text after
// a number of bytes.
func oneLine(text string, most int) string {
	text = text[:min(len(text), most+utf8.UTFMax)]
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) || r == utf8.RuneError }) {
		quoted := strconv.QuoteToGraphic(text)
		text = unescaped.Replace(quoted[1 : len(quoted)-1])
	}
	if len(text) <= most {
		return text
	}
	const mark = "…"
	return strings.ToValidUTF8(text[:most-len(mark)], "") + mark
}
