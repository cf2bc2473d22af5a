package main

import (
	"slices"
	"strings"
)

func requestChecks() []check {
	return []check{
		{"request: headers that are not known", "Headers that a reader does not know are ignored.", unknownHeaders},
		{"request: one target", "Dispatch-Targets names the members that are asked.", oneTarget},
		{"request: an unknown target", "If no member is meant the node says so: an accept without members, and final 0 0.", unknownTarget},
		{"request: the same call twice", "A node that has seen a call within its budget ignores the message.", twice},
		{"request: no budget", "Without budget left a request is not run, and not answered.", noBudget},
		{"request: an unknown type", "A message whose Dispatch-Type is neither request nor cancel is ignored.", unknownType},
		{"request: a path through the node's bus", "A node whose own bus is in Dispatch-Path ignores the request.", path},
	}
}

func unknownHeaders(e *examiner) error {
	_, err := e.answered(e.request, func(a *asking) {
		a.set("Dispatch-Colour", "blue")
		a.set("X-Other", "1")
	})
	return err
}

// ownMembers returns the members of the node that are in no group and that the node has not found on
// another node.
func (e *examiner) ownMembers() (words []string, err error) {
	r, err := e.answered(e.request, nil)
	for _, word := range r.members() {
		if !strings.Contains(word, "/") {
			words = append(words, word)
		}
	}
	return words, err
}

func oneTarget(e *examiner) error {
	words, err := e.ownMembers()
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return skipped("no member of the node is in no group")
	}
	r, err := e.answered(e.request, func(a *asking) { a.set("Dispatch-Targets", words[0]) })
	if err == nil && !slices.Equal(r.members(), words[:1]) {
		err = wrong("accept "+words[0], "%s", r)
	}
	return err
}

func unknownTarget(e *examiner) error {
	r, err := e.answered(e.request, func(a *asking) { a.set("Dispatch-Targets", escape(e.nobody)) })
	if f := r.last(); err == nil && (len(r.members()) != 0 || f.members != 0 || f.results != 0) {
		err = wrong("accept | final 0 0", "%s", r)
	}
	return err
}

func twice(e *examiner) error {
	a, err := e.newRequest(e.request)
	if err != nil {
		return err
	}
	defer a.reply.close()
	if err := a.send(); err != nil {
		return err
	}
	if _, err := a.whole(e.patience); err != nil {
		return err
	}
	if err := a.send(); err != nil {
		return err
	}
	return a.silent("nothing, when the call comes a second time")
}

// unanswered sends a request that change has changed, and checks that the node does not answer it.
func (e *examiner) unanswered(what string, change func(*asking)) error {
	a, err := e.newRequest(e.request)
	if err != nil {
		return err
	}
	defer a.reply.close()
	change(a)
	if err := a.send(); err != nil {
		return err
	}
	return a.silent(what)
}

func noBudget(e *examiner) error {
	return e.unanswered("nothing, without budget", func(a *asking) { a.setBudget(0) })
}

func unknownType(e *examiner) error {
	return e.unanswered("nothing, for the type gossip", func(a *asking) { a.set("Dispatch-Type", "gossip") })
}

func path(e *examiner) error {
	if e.about.Bus == "" {
		return skipped("the node announces no bus")
	}
	return e.unanswered("nothing, for the request has come through "+e.about.Bus, func(a *asking) {
		a.set("Dispatch-Path", "another "+e.about.Bus)
		a.set("Dispatch-Hops", "2")
	})
}
