package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// inbox is a subscription of the examiner, in most cases to a new inbox subject.
type inbox struct {
	*nats.Subscription
	ctx context.Context // of the command; when it ends, next returns its error
}

func (e *examiner) newInbox() (inbox, error) {
	return e.subscribe(e.nc.NewInbox())
}

func (e *examiner) subscribe(subject string) (inbox, error) {
	sub, err := e.nc.SubscribeSync(subject)
	if err != nil {
		return inbox{}, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	return inbox{sub, e.ctx}, nil
}

// next waits for a message. It ignores the message by which the server says that there are no responders.
// It returns nats.ErrTimeout if no message comes.
func (i inbox) next(patience time.Duration) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(i.ctx, max(patience, time.Millisecond))
	defer cancel()
	for {
		m, err := i.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, nats.ErrNoResponders):
		case errors.Is(err, context.DeadlineExceeded):
			return nil, nats.ErrTimeout
		default:
			return m, err
		}
	}
}

// close ends the subscription. This fails only if the connection is closed.
func (i inbox) close() { _ = i.Unsubscribe() }

// probe sends a probe and returns the inbox of the answers.
func (e *examiner) probe(pattern string) (inbox, error) {
	to, err := e.newInbox()
	if err != nil {
		return to, err
	}
	return to, e.probeTo(to, pattern)
}

func (e *examiner) probeTo(to inbox, pattern string) error {
	return e.nc.PublishRequest(e.prefix+"."+e.space+".probe", to.Subject, []byte(pattern))
}

// announced waits for the next announcement of the node.
func (e *examiner) announced(in inbox) (announcement, error) {
	end := time.Now().Add(e.patience)
	for {
		m, err := in.next(time.Until(end))
		if err != nil {
			return announcement{}, fmt.Errorf("an announcement: %w", err)
		}
		a, err := parseAnnouncement(m.Data)
		if err != nil {
			return a, wrong("an announcement as JSON", "%.200q: %v", m.Data, err)
		}
		if a.Node == e.about.Node {
			return a, nil
		}
	}
}

// asking is a request to the node.
type asking struct {
	e     *examiner
	call  string
	msg   *nats.Msg
	reply inbox
	last  message2 // the message with the largest number that numbered has returned
}

// plenty is the budget of requests whose check does not test time.
const plenty = time.Minute

// newRequest returns a request with all required headers. The caller may change it before it calls send.
func (e *examiner) newRequest(body string) (*asking, error) {
	reply, err := e.newInbox()
	if err != nil {
		return nil, err
	}
	e.asked++
	a := &asking{e: e, reply: reply, call: reply.Subject[strings.LastIndexByte(reply.Subject, '.')+1:] + "." + strconv.Itoa(e.asked)}
	a.msg = nats.NewMsg(e.prefix + ".v1." + e.space + ".ask." + e.topic)
	a.msg.Reply, a.msg.Data = reply.Subject, []byte(body)
	a.set("Dispatch-Version", "1")
	a.set("Dispatch-Type", "request")
	a.set("Dispatch-Call", a.call)
	a.set("Dispatch-Codec", "json")
	a.setBudget(plenty)
	return a, nil
}

// set sets a header without changing the case of its key.
func (a *asking) set(key, value string) { a.msg.Header[key] = []string{value} }

func (a *asking) setBudget(d time.Duration) {
	a.set("Dispatch-Budget", strconv.FormatInt(d.Microseconds(), 10))
}

func (a *asking) send() error { return a.e.nc.PublishMsg(a.msg) }

// cancel sends a cancel of the request to one node, or to all nodes if node is empty.
func (a *asking) cancel(node string) error {
	m := nats.NewMsg(a.e.prefix + ".v1." + a.e.space + ".ask." + a.e.topic)
	m.Header = nats.Header{"Dispatch-Version": {"1"}, "Dispatch-Type": {"cancel"}, "Dispatch-Call": {a.call}}
	if node != "" {
		m.Header["Dispatch-Node"] = []string{escape(node)}
	}
	m.Data = []byte(`cancelled "the check is over"`)
	return a.e.nc.PublishMsg(m)
}

// ask sends a request that change has changed, and waits for the whole reply. change may be nil.
func (e *examiner) ask(body string, change func(*asking)) (reply, error) {
	a, err := e.newRequest(body)
	if err != nil {
		return reply{}, err
	}
	defer a.reply.close()
	if change != nil {
		change(a)
	}
	if err := a.send(); err != nil {
		return reply{}, err
	}
	return a.whole(e.patience)
}

// reply is what the node has sent in answer to a request.
type reply struct {
	messages []*nats.Msg
	frames   []frame
}

// whole waits until the node has sent the last frame of the reply. patience bounds the wait for each
// message.
func (a *asking) whole(patience time.Duration) (r reply, err error) {
	for {
		done, err := a.more(&r, patience)
		if done || err != nil {
			return r, err
		}
	}
}

// more waits for one message of the node, adds it to r, and reports whether it has the last frame. It
// ignores messages of other nodes.
func (a *asking) more(r *reply, patience time.Duration) (done bool, err error) {
	end := time.Now().Add(patience)
	for {
		m, err := a.reply.next(time.Until(end))
		switch {
		case errors.Is(err, nats.ErrTimeout):
			return false, wrong("a reply with final or reject at its end", "within %v: %s", patience, r)
		case err != nil:
			return false, fmt.Errorf("after %s: %w", r, err)
		case m.Header.Get("Dispatch-Node") != escape(a.e.about.Node) && m.Header.Get("Dispatch-Node") != "":
			continue
		}
		r.messages = append(r.messages, m)
		frames, err := parseFrames(m.Data)
		r.frames = append(r.frames, frames...)
		if err != nil {
			return false, wrong("frames as the protocol writes them", "%v", err)
		}
		for _, f := range frames {
			done = done || f.kind == "final" || f.kind == "reject"
		}
		return done, nil
	}
}

// String returns the lines of the frames, without the values.
func (r reply) String() string {
	if len(r.messages) == 0 {
		return "nothing"
	}
	lines := make([]string, 0, len(r.frames))
	for i, f := range r.frames {
		if i == 20 {
			lines = append(lines, fmt.Sprintf("… %d frames in all", len(r.frames)))
			break
		}
		line := f.line
		if len(line) > 200 {
			line = line[:200] + "…"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, " | ")
}

// members returns the members that the accepts name, as the node has written them.
func (r reply) members() (words []string) {
	for _, f := range r.frames {
		if f.kind == "accept" {
			words = append(words, f.words...)
		}
	}
	return words
}

// last returns the last frame.
func (r reply) last() frame {
	if len(r.frames) == 0 {
		return frame{}
	}
	return r.frames[len(r.frames)-1]
}

// answered is ask, with an error if the reply does not end with final.
func (e *examiner) answered(body string, change func(*asking)) (reply, error) {
	r, err := e.ask(body, change)
	if err == nil && r.last().kind != "final" {
		err = wrong("accept … final", "%s", r)
	}
	return r, err
}

// silent checks that the node does not answer the request, also for a while after it has answered another
// request.
func (a *asking) silent(what string) error {
	if _, err := a.e.answered(a.e.request, nil); err != nil {
		return fmt.Errorf("the request after it: %w", err)
	}
	return a.quiet(what, a.e.quiet)
}

// quiet checks that the node does not answer the request within the duration while.
func (a *asking) quiet(what string, while time.Duration) error {
	var r reply
	_, err := a.more(&r, while)
	if len(r.messages) > 0 {
		return wrong(what, "%s", r)
	}
	var m *mismatch
	if err != nil && !errors.As(err, &m) {
		return err
	}
	return nil
}

// rejected checks that the node rejects a request with the code, and sends nothing else.
func (e *examiner) rejected(code string, body string, change func(*asking)) (reply, error) {
	r, err := e.ask(body, change)
	if err != nil {
		return r, err
	}
	if f := r.last(); len(r.frames) != 1 || f.kind != "reject" || f.code != code {
		return r, wrong("reject … "+code+" …, and nothing else", "%s", r)
	}
	return r, nil
}
