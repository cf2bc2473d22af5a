package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// checksOfVersion2 returns the checks of version 1, which apply to a node of version 2 too, and those of
// version 2.
func checksOfVersion2() []check {
	return slices.Concat(checksOfVersion1(), []check{
		{"version 2: replies", "A message has no headers and begins with a line v2 <node> <epoch> <seq>; the numbers count from 0.", repliesOf2},
		{"version 2: requests without headers", "The headers of a request may be in its body, behind a line v2 request.", requestsOf2},
		{"version 2: credit", "A node sends no more bytes of messages with values than it has credit for, and goes on when it has more.", credit},
		{"version 2: resume", "All messages from the number of a resume on are sent again.", resume},
		{"version 2: nothing is missing", "If there is nothing to send again, the node sends a message with the next number and no frame.", nothingMissing},
		{"version 2: a request that comes again", "A node that has had a request before, with Dispatch-Window, takes it as a resume from 0.", requestAgain},
		{"version 2: lists of members", "A number instead of names stands for one list, whose names the node sends when it is asked.", lists},
		{"version 2: done", "What is not kept any more is forgotten, and the node says so in a message without a number.", forgotten},
	})
}

// noNumber is the number of a message that has - for its number.
const noNumber = -1

// message2 is a message of version 2.
type message2 struct {
	number int
	body   []byte // the whole message
	frames []frame
	values bool // the message has a part, result or all
}

// isLast reports whether the message has the last frame of a reply.
func (m message2) isLast() bool {
	return slices.ContainsFunc(m.frames, func(f frame) bool { return f.kind == "final" || f.kind == "reject" || f.kind == "all" })
}

// ask2 sends a request for a reply of version 2, with a credit of window bytes.
func (e *examiner) ask2(body string, window int) (*asking, error) {
	a, err := e.newRequest(body)
	if err != nil {
		return nil, err
	}
	a.set("Dispatch-Window", strconv.Itoa(window))
	if err := a.send(); err != nil {
		a.reply.close()
		return nil, err
	}
	return a, nil
}

// numbered waits for the message with a number. It ignores repetitions of the last message, because a node
// repeats that until the message is acknowledged.
func (a *asking) numbered(number int, patience time.Duration) (message2, error) {
	for {
		m, err := a.next2(patience)
		switch {
		case err != nil:
			return m, err
		case m.number == number:
			if number >= a.last.number {
				a.last = m
			}
			return m, nil
		case m.number != a.last.number || !bytes.Equal(m.body, a.last.body):
			return m, wrong(fmt.Sprintf("message %d (-1 is one without a number)", number), "%.100q", m.body)
		}
	}
}

// next2 waits for the next message of the node.
func (a *asking) next2(patience time.Duration) (m message2, err error) {
	got, err := a.reply.next(patience)
	if err != nil {
		return m, &mismatch{"a message of version 2", err.Error(), err}
	}
	for key := range got.Header {
		if strings.HasPrefix(key, "Dispatch-") && key != "Dispatch-Signature" {
			return m, wrong("no headers", "%s", key)
		}
	}
	line, rest, _ := bytes.Cut(got.Data, []byte{'\n'})
	words := strings.Split(string(line), " ")
	about := &a.e.about
	if len(words) != 4 || words[0] != "v2" || words[1] != escape(about.Node) || words[2] != strconv.FormatInt(about.Epoch, 10) {
		return m, wrong(fmt.Sprintf("v2 %s %d <seq> in the first line", escape(about.Node), about.Epoch), "%.100q", line)
	}
	m.number, m.body = noNumber, got.Data
	if words[3] != "-" {
		if m.number, err = strconv.Atoi(words[3]); err != nil {
			return m, wrong("a number or - behind the epoch", "%.100q", line)
		}
	}
	if m.frames, err = parseFrames(rest); err != nil {
		return m, wrong("frames as the protocol writes them", "%v", err)
	}
	m.values = slices.ContainsFunc(m.frames, func(f frame) bool { return f.kind == "part" || f.kind == "result" || f.kind == "all" })
	return m, nil
}

// whole2 waits for the whole reply, and checks that its messages are numbered from 0 without a gap.
func (a *asking) whole2() (all []message2, err error) {
	for len(all) == 0 || !all[len(all)-1].isLast() {
		m, err := a.numbered(len(all), a.e.patience)
		if err != nil {
			return all, err
		}
		all = append(all, m)
	}
	return all, nil
}

// tell sends the node a line about the reply.
func (a *asking) tell(line string) error {
	e := a.e
	return e.nc.PublishMsg(&nats.Msg{
		Subject: e.acks(), Reply: a.reply.Subject, Data: []byte(line + "\n"),
	})
}

// acks returns the subject of messages to this node alone.
func (e *examiner) acks() string {
	return e.prefix + ".v1." + e.space + ".ask." + e.topic + ".=" + escape(e.about.Node)
}

func (a *asking) tellf(format string, args ...any) error { return a.tell(fmt.Sprintf(format, args...)) }

// replied sends a request, and returns it and the whole reply.
func (e *examiner) replied() (a *asking, all []message2, err error) {
	if a, err = e.ask2(e.request, 1<<20); err != nil {
		return nil, nil, err
	}
	if all, err = a.whole2(); err != nil {
		a.reply.close()
	}
	return a, all, err
}

func repliesOf2(e *examiner) error {
	a, all, err := e.replied()
	if err != nil {
		return err
	}
	defer a.reply.close()
	first := all[0].frames
	if len(first) == 0 || first[0].kind != "accept" && first[0].kind != "all" {
		return wrong("accept or all as the first frame", "%.100q", all[0].body)
	}
	return nil
}

func requestsOf2(e *examiner) error {
	a, err := e.newRequest(e.request)
	if err != nil {
		return err
	}
	defer a.reply.close()
	a.set("Dispatch-Version", "2")
	a.set("Dispatch-Window", "1000000")
	body := "v2 request\n"
	for key, values := range a.msg.Header {
		body += key + ": " + values[0] + "\n"
	}
	a.msg.Data, a.msg.Header = []byte(body+"\n"+e.request), nil
	if err := a.send(); err != nil {
		return err
	}
	_, err = a.whole2()
	return err
}

// least is the size, in bytes, that a message with values may have however small the credit is.
const least = 1024

func credit(e *examiner) error {
	if e.large == "" {
		return skipped("it needs --large")
	}
	const window = 64 << 10
	a, err := e.ask2(e.large, window)
	if err != nil {
		return err
	}
	defer a.reply.close()
	granted, had := window, 0
	for next := 0; ; next++ {
		m, err := a.numbered(next, e.patience)
		if err != nil {
			return err
		}
		if m.values {
			if had += len(m.body); len(m.body) > max(window/2, least) {
				return wrong("no message with values larger than half of the window", "one of %d bytes", len(m.body))
			}
		}
		if had > granted {
			return wrong(fmt.Sprintf("at most %d bytes", granted), "%d bytes", had)
		}
		if m.isLast() {
			return nil
		}
		if granted-had < window/2 {
			if granted == window { // the first time, check that the node waits
				if err := a.stops(granted, &had, &next); err != nil {
					return err
				}
			}
			granted = had + window
			if err := a.tellf("ack %s %d %d", a.call, next+1, granted); err != nil {
				return err
			}
		}
	}
}

// stops checks that the node sends at most the granted bytes of messages with values, and then nothing. It
// adds the bytes of these messages to had, and the number of all messages to next.
func (a *asking) stops(granted int, had, next *int) error {
	for {
		m, err := a.numbered(*next+1, a.e.quiet)
		switch {
		case errors.Is(err, nats.ErrTimeout):
			return nil
		case err != nil:
			return err
		}
		if *next++; m.values {
			*had += len(m.body)
		}
		if *had > granted {
			return wrong(fmt.Sprintf("at most %d bytes without an ack", granted), "%d bytes", *had)
		}
	}
}

// same checks that the node sends the same messages again.
func (a *asking) same(all []message2) error {
	for _, want := range all {
		m, err := a.numbered(want.number, a.e.patience)
		if err != nil {
			return err
		}
		if !bytes.Equal(m.body, want.body) {
			return wrong(fmt.Sprintf("the message %.100q again", want.body), "%.100q", m.body)
		}
	}
	return nil
}

func resume(e *examiner) error {
	a, all, err := e.replied()
	if err != nil {
		return err
	}
	defer a.reply.close()
	from := len(all) / 2
	if err := a.tellf("resume %s %d %d", a.call, from, 1<<20); err != nil {
		return err
	}
	return a.same(all[from:])
}

func nothingMissing(e *examiner) error {
	a, all, err := e.replied()
	if err != nil {
		return err
	}
	defer a.reply.close()
	if err := a.tellf("resume %s %d %d", a.call, len(all), 1<<20); err != nil {
		return err
	}
	m, err := a.numbered(len(all), e.patience)
	if err == nil && len(m.frames) > 0 {
		err = wrong(fmt.Sprintf("message %d without a frame", len(all)), "%.100q", m.body)
	}
	return err
}

func requestAgain(e *examiner) error {
	a, all, err := e.replied()
	if err != nil {
		return err
	}
	defer a.reply.close()
	if err := a.send(); err != nil {
		return err
	}
	return a.same(all)
}

// lists asks as an asker does that does not know the list of members, and then as one that remembers the
// list.
func lists(e *examiner) error {
	known := make(map[string][]string)
	for _, says := range []string{"numbered", "known", "known"} {
		number, members, err := e.listed(says)
		switch {
		case err != nil:
			return err
		case number == "": // the node gives no numbers
		case known[number] == nil:
			known[number] = members
		case !slices.Equal(known[number], members):
			return wrong(fmt.Sprintf("the members %q of list %s again", known[number], number), "%q", members)
		}
	}
	return nil
}

// listed asks all members, and returns their names, and the number of their list if the list has a number.
func (e *examiner) listed(says string) (number string, members []string, err error) {
	a, err := e.newRequest(e.request)
	if err != nil {
		return "", nil, err
	}
	defer a.reply.close()
	a.set("Dispatch-Window", strconv.Itoa(1<<20))
	a.set("Dispatch-Names", says)
	if err := a.send(); err != nil {
		return "", nil, err
	}
	all, err := a.whole2()
	if err != nil || len(all[0].frames) == 0 {
		return "", nil, err
	}
	first := all[0].frames[0]
	switch {
	case first.list == "" || len(first.words) > 0:
		return first.list, first.words, nil
	case says != "known":
		return "", nil, wrong("the names with the number, for who knows no list", "%s", first.line)
	}
	if err := a.tellf("names %s 0 %d", a.call, 1<<20); err != nil {
		return "", nil, err
	}
	m, err := a.numbered(noNumber, e.patience)
	switch {
	case err != nil:
		return "", nil, err
	case len(m.frames) != 1 || m.frames[0].kind != "names" || m.frames[0].list != first.list || len(m.frames[0].words) == 0:
		return "", nil, wrong("names @"+first.list+" … in a message without a number", "%.100q", m.body)
	}
	return first.list, m.frames[0].words, a.same(all)
}

func forgotten(e *examiner) error {
	a, _, err := e.replied()
	if err != nil {
		return err
	}
	defer a.reply.close()
	if err := a.tellf("done %s\nresume %s 0 %d", a.call, a.call, 1<<20); err != nil {
		return err
	}
	m, err := a.numbered(noNumber, e.patience)
	if err == nil && (len(m.frames) != 1 || m.frames[0].kind != "forgotten") {
		err = wrong("forgotten, in a message with - for its number", "%.100q", m.body)
	}
	return err
}
