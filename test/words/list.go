package main

import (
	"regexp"
	"strings"
)

// ruledOut has the words and phrases that must not be in texts for users, and what to write
// instead.
var ruledOut = []struct{ pattern, instead string }{
	{`lest`, "so that … not, to avoid"},
	{`whoever|whomever|whosoever`, "a named subject: the caller, the listener, the member"},
	{`nobody`, "a named subject: no producer, no listener, no caller"},
	{`anew`, "again"},
	{`of late`, "recently"},
	{`in vain`, "without a result, or what happens then"},
	{`upon`, "on"},
	{`for to`, "because"},
	{`cancell(?:ed|ing)`, "canceled, canceling"},
	{`behaviours?`, "behavior"},
	{`colour(?:s|ed)?`, "color"},
	{`amortised`, "amortized"},
	{`labelled`, "labeled"},
	{`fared`, "ended"},
	{`(?:is|are) owed|owes`, "has, must"},
	{`(?:got|get|gets|getting) round to`, "has done, does"},
	{`lost from sight`, "lost"},
	{`of yesterday`, "earlier"},
	{`it likes|they like|one likes`, "at any time"},
	{`as one allows`, "is configurable"},
	{`in the place of`, "instead of"},
	{`left to go off`, "fires"},
	{`aim is missed|is missed`, "the number that was measured"},
}

// allowed has the exceptions: words that an interface has already.
var allowed = []struct{ path, word string }{
	// Version 1 of the wire protocol has this word, in frames, causes and statistics.
	{"natsdispatch/", "cancelled"},
}

// expression finds each word that is ruled out, in either case.
var expression = regexp.MustCompile(`(?i)\b(?:` + patterns() + `)\b`)

func patterns() string {
	var all []string
	for _, r := range ruledOut {
		all = append(all, `(?:`+strings.ReplaceAll(r.pattern, " ", `\s+`)+`)`)
	}
	return strings.Join(all, "|")
}

// instead returns what to write instead of a word that expression has found.
func instead(word string) string {
	word = strings.Join(strings.Fields(word), " ")
	for _, r := range ruledOut {
		if regexp.MustCompile(`(?i)^(?:` + r.pattern + `)$`).MatchString(word) {
			return r.instead
		}
	}
	return ""
}

// isAllowed reports whether the word stays where it is.
func isAllowed(path, word string) bool {
	for _, a := range allowed {
		if strings.HasPrefix(path, a.path) && strings.EqualFold(word, a.word) {
			return true
		}
	}
	return false
}
