package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

func replyChecks() []check {
	return []check{
		{"reply: headers", "A reply has Dispatch-Version 1, the node's name, its epoch, and Dispatch-Seq, which counts the messages from 0.", replyHeaders},
		{"reply: accept is the first frame", "The first frame is an accept, or a reject, which then is the only one.", acceptFirst},
		{"reply: final is the last frame", "The final is the last frame.", finalLast},
		{"reply: members", "Members are numbered from 0 in the order in which they are named; every one is named once.", members},
		{"reply: every member ends", "An end says how a member has ended; the final comes when all have.", everyMemberEnds},
		{"reply: counts", "An end counts the results of its member, and the final members and results.", finalCounts},
		{"reply: values", "A value is written with the codec of the request; total is its size.", values},
		{"reply: parts", "The value is what its parts hold, in order, and what the result that ends it holds.", parts},
	}
}

func replyHeaders(e *examiner) error {
	r, err := e.answered(e.request, nil)
	if err != nil {
		return err
	}
	for i, m := range r.messages {
		for key, want := range map[string]string{
			"Dispatch-Version": "1",
			"Dispatch-Node":    escape(e.about.Node),
			"Dispatch-Epoch":   strconv.FormatInt(e.about.Epoch, 10),
			"Dispatch-Seq":     strconv.Itoa(i),
		} {
			if got := m.Header.Get(key); got != want {
				return wrong(fmt.Sprintf("%s: %s in message %d", key, want, i), "%q", got)
			}
		}
	}
	return nil
}

func acceptFirst(e *examiner) error {
	r, err := e.answered(e.request, nil)
	if err == nil && r.frames[0].kind != "accept" {
		err = wrong("accept first", "%s", r)
	}
	return err
}

func finalLast(e *examiner) error {
	a, err := e.newRequest(e.request)
	if err != nil {
		return err
	}
	defer a.reply.close()
	if err := a.send(); err != nil {
		return err
	}
	r, err := a.whole(e.patience)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(r.frames, func(f frame) bool { return f.kind == "final" }); i != len(r.frames)-1 {
		return wrong("final once, as the last frame", "%s", r)
	}
	return a.quiet("nothing after the final", e.quiet)
}

func members(e *examiner) error {
	r, err := e.answered(e.request, nil)
	if err != nil {
		return err
	}
	seen := make(map[string]bool)
	named := 0
	for _, f := range r.frames {
		for _, word := range f.words {
			if seen[word] {
				return wrong("every member named once", "%s", r)
			}
			seen[word] = true
			named++
		}
		switch f.kind {
		case "part", "result", "end":
			if f.member >= named {
				return wrong(fmt.Sprintf("a member below %d, for so many are named", named), "%s", f.line)
			}
		}
	}
	return nil
}

func everyMemberEnds(e *examiner) error {
	r, err := e.answered(e.request, nil)
	if err != nil {
		return err
	}
	ended := make(map[int]bool)
	for _, f := range r.frames {
		if f.kind == "end" {
			ended[f.member] = true
		}
	}
	for i, word := range r.members() {
		if !ended[i] {
			return wrong("an end of "+word, "%s", r)
		}
	}
	return nil
}

func finalCounts(e *examiner) error {
	r, err := e.answered(e.request, nil)
	if err == nil {
		err = checkCounts(r)
	}
	return err
}

// checkCounts checks the numbers of results and members in the frames end and final.
func checkCounts(r reply) error {
	results, counted := make(map[int]int), make(map[int]int)
	total := 0
	for _, f := range r.frames {
		switch f.kind {
		case "result":
			results[f.member]++
			total++
		case "end":
			counted[f.member] = f.results
		}
	}
	for i, word := range r.members() {
		if n, ended := counted[i]; ended && n != results[i] {
			return wrong(fmt.Sprintf("an end that counts the %s of %s", plural(results[i], "result"), word), "%d in %s", n, r)
		}
	}
	if f := r.last(); f.members != len(r.members()) || f.results != total {
		return wrong(fmt.Sprintf("final %d %d", len(r.members()), total), "%s", f.line)
	}
	return nil
}

func values(e *examiner) error {
	r, err := e.answered(e.request, nil)
	if err == nil {
		err = checkValues(r)
	}
	return err
}

// checkValues joins the parts of each value, and checks that the value is complete and is JSON.
func checkValues(r reply) error {
	pieces := make(map[int][]byte)
	for _, f := range r.frames {
		switch f.kind {
		case "part":
			pieces[f.member] = append(pieces[f.member], f.value...)
		case "end":
			if len(pieces[f.member]) > 0 {
				return wrong("a result that ends the value of which there are parts", "%s", f.line)
			}
		case "result":
			value := slices.Concat(pieces[f.member], f.value)
			delete(pieces, f.member)
			if len(value) != f.total {
				return wrong(fmt.Sprintf("the total %d, the size of all pieces", len(value)), "%s", f.line)
			}
			if !json.Valid(value) {
				return wrong("a value in JSON", "%.100q", value)
			}
		}
	}
	return nil
}

func parts(e *examiner) error {
	if e.large == "" {
		return skipped("it needs --large")
	}
	r, err := e.answered(e.large, nil)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(r.frames, func(f frame) bool { return f.kind == "part" }) {
		return wrong("a value in parts", "%s", r)
	}
	if err := checkValues(r); err != nil {
		return err
	}
	return checkCounts(r)
}
