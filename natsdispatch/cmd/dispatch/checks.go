package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// checksOfVersion1 are in the order of docs/wire-protocol.md. A check uses requests of its
// own, so that each can fail alone.
func checksOfVersion1() []check {
	return slices.Concat(presenceChecks(), requestChecks(), replyChecks(), rejectChecks(), timeChecks(), groupChecks(), []check{{
		"the node is still there",
		"A message that is malformed or not meant for a node is ignored or rejected.",
		stillThere,
	}})
}

func presenceChecks() []check {
	return []check{
		{"presence: fields", "An announcement has node, topic, event, epoch, seq, beat_ms, versions and codecs.", fields},
		{"presence: a pattern in a probe", "A node answers a probe whose body is a pattern that matches a topic of its own.", patterns},
		{"presence: a probe for another topic", "A node answers a probe whose body is one of its topics or a pattern that matches one.", otherTopic},
		{"presence: seq and epoch", "seq counts the announcements of an epoch; the epoch stays the same until the node starts again.", counts},
		{"presence: beats", "A node announces itself every beat_ms on {prefix}.{space}.presence.{node}.{topic}.", beats},
	}
}

func fields(e *examiner) error {
	a := e.about
	switch {
	case a.Topic != e.topic:
		return wrong("the topic "+e.topic, "%s", a.Topic)
	case a.Event != "beat":
		return wrong("the event beat in the answer to a probe", "%q", a.Event)
	case a.Epoch >= 1<<53:
		return wrong("an epoch below 2^53", "%d", a.Epoch)
	case a.BeatMS <= 0:
		return wrong("a beat_ms above 0", "%d", a.BeatMS)
	case !slices.Contains(a.Versions, 1):
		return wrong("1 among the versions", "%v", a.Versions)
	case !slices.Contains(a.Codecs, "json"):
		return wrong("json among the codecs, which this suite needs", "%q", a.Codecs)
	}
	return nil
}

func patterns(e *examiner) error {
	tokens := strings.Split(e.topic, ".")
	tokens[len(tokens)-1] = "*"
	for _, pattern := range []string{strings.Join(tokens, "."), strings.Join(append(tokens[:len(tokens)-1:len(tokens)-1], ">"), "."), ">"} {
		in, err := e.probe(pattern)
		if err != nil {
			return err
		}
		defer in.close()
		for {
			a, err := e.announced(in)
			if err != nil {
				return wrong("an answer to a probe for "+pattern, "%v", err)
			}
			if a.Topic == e.topic {
				break
			}
		}
	}
	return nil
}

func otherTopic(e *examiner) error {
	in, err := e.probe(e.topic + ".more")
	if err != nil {
		return err
	}
	defer in.close()
	for _, pattern := range []string{e.topic + ".>", e.topic + ".*", e.nobody} {
		if err := e.probeTo(in, pattern); err != nil {
			return err
		}
	}
	own, err := e.probe(e.topic)
	if err != nil {
		return err
	}
	defer own.close()
	if _, err := e.announced(own); err != nil {
		return err
	}
	for {
		m, err := in.next(e.quiet)
		if err != nil {
			return nil
		}
		a, err := parseAnnouncement(m.Data)
		if err == nil && a.Node == e.about.Node && (a.Topic == e.topic || !strings.HasPrefix(a.Topic, e.topic+".")) {
			return wrong("no answer to a probe for "+e.topic+".more, "+e.topic+".>, "+e.topic+".* and "+e.nobody, "%s", m.Data)
		}
	}
}

func counts(e *examiner) error {
	in, err := e.probe(e.topic)
	if err != nil {
		return err
	}
	defer in.close()
	first, err := e.announced(in)
	if err != nil {
		return err
	}
	if err := e.probeTo(in, e.topic); err != nil {
		return err
	}
	second, err := e.announced(in)
	switch {
	case err != nil:
		return err
	case first.Epoch != second.Epoch:
		return wrong(fmt.Sprintf("the epoch %d again", first.Epoch), "%d", second.Epoch)
	case second.Seq <= first.Seq:
		return wrong(fmt.Sprintf("a seq above %d", first.Seq), "%d", second.Seq)
	}
	return nil
}

func beats(e *examiner) error {
	const most = 10 * time.Second
	if beat := time.Duration(e.about.BeatMS) * time.Millisecond; beat > most {
		return skipped(fmt.Sprintf("it beats every %v, and this suite waits for %v at most", beat, most))
	}
	subject := e.prefix + "." + e.space + ".presence." + escape(e.about.Node) + "." + e.topic
	in, err := e.subscribe(subject)
	if err != nil {
		return err
	}
	defer in.close()
	m, err := in.next(e.patience + e.about.patience())
	if err != nil {
		return wrong("a beat on "+subject, "%v", err)
	}
	a, err := parseAnnouncement(m.Data)
	if err != nil || a.Node != e.about.Node || a.Topic != e.topic {
		return wrong("an announcement of node "+e.about.Node+" on "+e.topic, "%s", m.Data)
	}
	return nil
}

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

// ownMembers returns the members of the node that are in no group and on no other node.
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

// unanswered sends a request, changed, and checks that nothing comes of it.
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

// checkCounts checks what ends and final count.
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

// checkValues puts values together and checks that they are whole, and JSON.
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

func rejectChecks() []check {
	return []check{
		{"reject: another version", "A node that does not know the version rejects the request with incompatible.", rejectVersion},
		{"reject: another codec", "A node that does not know the codec rejects the request with incompatible.", rejectCodec},
		{"reject: other types", "If the types on both sides are different, the node rejects the request with incompatible.", rejectTypes},
		{"reject: a budget that is no number", "A malformed request is rejected with malformed.", rejectBudget},
		{"reject: a call that is no id", "The id of a call has 1 to 128 bytes without blanks.", rejectCall},
		{"reject: a body that the codec cannot read", "A malformed request is rejected with malformed.", rejectBody},
		{"reject: too many hops", "Above 64 hops a request is rejected with too-deep.", rejectHops},
		{"reject: the headers of NATS services", "A reject has Nats-Service-Error and Nats-Service-Error-Code, 409 for incompatible.", rejectServiceHeaders},
	}
}

func rejectVersion(e *examiner) error {
	_, err := e.rejected("incompatible", e.request, func(a *asking) { a.set("Dispatch-Version", "999") })
	return err
}

func rejectCodec(e *examiner) error {
	_, err := e.rejected("incompatible", e.request, func(a *asking) { a.set("Dispatch-Codec", "runes") })
	return err
}

func rejectTypes(e *examiner) error {
	if e.about.Types == "" {
		return skipped("the node announces no types")
	}
	_, err := e.rejected("incompatible", e.request, func(a *asking) { a.set("Dispatch-Types", "other-than-"+e.about.Types) })
	return err
}

func rejectBudget(e *examiner) error {
	_, err := e.rejected("malformed", e.request, func(a *asking) { a.set("Dispatch-Budget", "soon") })
	return err
}

func rejectCall(e *examiner) error {
	_, err := e.rejected("malformed", e.request, func(a *asking) { a.set("Dispatch-Call", strings.Repeat("x", 129)) })
	if err != nil {
		return err
	}
	_, err = e.rejected("malformed", e.request, func(a *asking) { delete(a.msg.Header, "Dispatch-Call") })
	return err
}

func rejectBody(e *examiner) error {
	_, err := e.rejected("malformed", `{"`, nil)
	return err
}

func rejectHops(e *examiner) error {
	_, err := e.rejected("too-deep", e.request, func(a *asking) { a.set("Dispatch-Hops", "65") })
	return err
}

func rejectServiceHeaders(e *examiner) error {
	r, err := e.rejected("incompatible", e.request, func(a *asking) { a.set("Dispatch-Codec", "runes") })
	if err != nil {
		return err
	}
	h := r.messages[0].Header
	if h.Get("Nats-Service-Error") == "" || h.Get("Nats-Service-Error-Code") != "409" {
		return wrong("Nats-Service-Error with a text, Nats-Service-Error-Code: 409", "%q and %q", h.Get("Nats-Service-Error"), h.Get("Nats-Service-Error-Code"))
	}
	return nil
}

func timeChecks() []check {
	return []check{
		{"deadline: late, and final", "When the budget is used up, a member that has not ended is late, with the code deadline, and the final follows.", deadline},
		{"cancel: silence", "After a cancel a node says nothing more.", cancelSilences},
		{"cancel: for another node", "Dispatch-Node says which node alone is meant.", cancelOfOther},
		{"cancel: before its request", "If the request comes after its cancel, it is not run.", cancelFirst},
	}
}

// startSlow sends the slow request and waits until it is accepted.
func (e *examiner) startSlow() (a *asking, r reply, err error) {
	if e.slow == "" {
		return nil, r, skipped("it needs --slow")
	}
	if a, err = e.newRequest(e.slow); err != nil {
		return nil, r, err
	}
	a.setBudget(e.budget)
	if err = a.send(); err == nil {
		_, err = a.more(&r, e.patience)
	}
	if err != nil {
		a.reply.close()
	}
	return a, r, err
}

func deadline(e *examiner) error {
	a, r, err := e.startSlow()
	if err != nil {
		return err
	}
	defer a.reply.close()
	return e.endsLate(a, &r)
}

// endsLate checks that a slow request ends because its budget is used up.
func (e *examiner) endsLate(a *asking, r *reply) error {
	for done := r.last().kind == "final" || r.last().kind == "reject"; !done; {
		var err error
		if done, err = a.more(r, e.budget+e.patience); err != nil {
			return err
		}
	}
	late := func(f frame) bool { return f.kind == "end" && f.state == "late" && f.code == "deadline" }
	if !slices.ContainsFunc(r.frames, late) {
		return wrong("end … late deadline, for a member that works for longer than the budget", "%s", *r)
	}
	return checkCounts(*r)
}

func cancelSilences(e *examiner) error {
	a, _, err := e.startSlow()
	if err != nil {
		return err
	}
	defer a.reply.close()
	if err := a.cancel(""); err != nil {
		return err
	}
	if _, err := e.answered(e.request, nil); err != nil {
		return fmt.Errorf("the request after it: %w", err)
	}
	var before reply // what was said before the cancel was heard has come by now
	for {
		if n, _, err := a.reply.Pending(); err != nil || n == 0 {
			break
		}
		if _, err := a.more(&before, e.quiet); err != nil {
			return err
		}
	}
	ends := func(f frame) bool { return f.kind == "final" || f.kind == "end" && f.state == "cancelled" }
	if slices.ContainsFunc(before.frames, ends) {
		return wrong("no end and no final because of the cancel", "%s", before)
	}
	// The end of the budget is no reason to speak, either.
	return a.quiet("nothing after the cancel", e.budget+e.quiet)
}

func cancelOfOther(e *examiner) error {
	a, r, err := e.startSlow()
	if err != nil {
		return err
	}
	defer a.reply.close()
	if err := a.cancel(e.nobody); err != nil {
		return err
	}
	return e.endsLate(a, &r)
}

func cancelFirst(e *examiner) error {
	a, err := e.newRequest(e.request)
	if err != nil {
		return err
	}
	defer a.reply.close()
	if err := a.cancel(""); err != nil {
		return err
	}
	if err := a.send(); err != nil {
		return err
	}
	return a.silent("nothing, for the request was canceled before it came")
}

func groupChecks() []check {
	return []check{
		{"group: left out of requests to all", "To a request on the ask subject a node answers for its members that are in no group.", groupLeftOut},
		{"group: one member", "To a request on a group's subject a node answers for its replicas of that group alone.", groupAlone},
	}
}

func groupLeftOut(e *examiner) error {
	if len(e.about.Groups) == 0 {
		return skipped("the node announces no groups")
	}
	r, err := e.answered(e.request, nil)
	if err != nil {
		return err
	}
	for _, word := range r.members() {
		if group, _, found := strings.Cut(word, "/"); found && strings.Count(word, "/") == 1 {
			return wrong("no member of group "+group, "%s", r)
		}
	}
	return nil
}

func groupAlone(e *examiner) error {
	if len(e.about.Groups) == 0 {
		return skipped("the node announces no groups")
	}
	for _, group := range e.about.Groups {
		r, err := e.answered(e.request, func(a *asking) {
			a.msg.Subject = e.prefix + ".v1." + e.space + ".group." + escape(group) + "." + e.topic
			a.set("Dispatch-Group", escape(group))
		})
		if err != nil {
			return err
		}
		if all := r.members(); len(all) != 1 || !strings.HasPrefix(all[0], escape(group)+"/") {
			return wrong("accept "+escape(group)+"/…, one member", "%s", r)
		}
	}
	return nil
}

func stillThere(e *examiner) error {
	subject := e.prefix + ".v1." + e.space + ".ask." + e.topic
	for _, h := range []nats.Header{nil, {"Dispatch-Type": {"request"}}, {"Dispatch-Type": {"cancel"}}} {
		m := nats.NewMsg(subject)
		m.Header, m.Data = h, []byte("\x00\xff{")
		if err := e.nc.PublishMsg(m); err != nil {
			return err
		}
	}
	if err := e.nc.Publish(e.prefix+"."+e.space+".probe", []byte(e.topic)); err != nil { // it has no reply subject
		return err
	}
	if _, err := e.answered(e.request, nil); err != nil {
		return err
	}
	in, err := e.probe(e.topic)
	if err != nil {
		return err
	}
	defer in.close()
	a, err := e.announced(in)
	if err == nil && a.Epoch != e.about.Epoch {
		err = wrong(fmt.Sprintf("the epoch %d, for the node has not started again", e.about.Epoch), "%d", a.Epoch)
	}
	return err
}
