package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// fake is a node that follows docs/wire-protocol.md without using natsdispatch, and that can have one
// fault. It has the members thermometer and lamp. If it is rich, it also has a replica of the group g.
type fake struct {
	t           *testing.T
	nc          *nats.Conn
	name, topic string
	fault       string // the rule that the node breaks; see TestConformanceFindsFaults; empty: none
	rich        bool   // the node has types, a bus, and a group

	mu    sync.Mutex // guards the fields below
	said  int
	beats int
	seen  map[string]bool
	stops map[string]chan struct{}
}

const fakeEpoch = 1790000000000000

func (f *fake) has(fault string) bool { return f.fault == fault }

func (f *fake) start() {
	f.seen, f.stops = make(map[string]bool), make(map[string]chan struct{})
	f.subscribe("dispatch.v1.default.ask."+f.topic, "", func(m *nats.Msg) { f.hear("", m) })
	if f.rich {
		f.subscribe("dispatch.v1.default.group.g."+f.topic, "dispatch", func(m *nats.Msg) { f.hear("g", m) })
	}
	f.subscribe("dispatch.default.probe", "", f.hearProbe)
	f.subscribe("dispatch.v1.default.ask."+f.topic+".="+escape(f.name), "", func(m *nats.Msg) {
		if string(m.Data) == "tell\n" && !f.has("a tell is not answered") {
			f.announce("beat", m.Reply)
		}
	})
	if err := f.nc.Flush(); err != nil {
		f.t.Fatal(err)
	}
	f.announce("hello", "")
	if f.has("no beats") {
		return
	}
	stop := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f.announce("beat", "")
				f.beat()
			case <-stop:
				return
			}
		}
	})
	f.t.Cleanup(func() { close(stop); beating.Wait() })
}

// manyTopics has the faults of a node that announces that it serves other topics too, and that it sends one
// beat for all of them.
var manyTopics = []string{"no fault of many topics", "no beats for all topics", "beats of another epoch", "beats of an old edition", "a tell is not answered"}

// beat sends one beat for all topics, if the node is one of manyTopics.
func (f *fake) beat() {
	epoch, edition := int64(fakeEpoch), 2
	switch {
	case !slices.Contains(manyTopics, f.fault) || f.has("no beats for all topics"):
		return
	case f.has("beats of another epoch"):
		epoch++
	case f.has("beats of an old edition"):
		edition--
	}
	f.mu.Lock()
	f.beats++
	body := fmt.Sprintf(`{"node":%q,"epoch":%d,"seq":%d,"edition":%d}`, f.name, epoch, f.beats, edition)
	f.mu.Unlock()
	_ = f.nc.Publish("dispatch.default.presence."+escape(f.name), []byte(body)) // the connection may be closed
}

func (f *fake) subscribe(subject, queue string, hear nats.MsgHandler) {
	if _, err := f.nc.QueueSubscribe(subject, queue, hear); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fake) announce(event, to string) {
	f.mu.Lock()
	seq, epoch := f.said, int64(fakeEpoch)
	f.said++
	f.mu.Unlock()
	a := map[string]any{
		"node": f.name, "topic": f.topic, "event": event, "epoch": epoch, "seq": seq,
		"beat_ms": 50, "versions": []int{1}, "codecs": []string{"json"}, "new": true,
	}
	if slices.Contains(manyTopics, f.fault) {
		a["node_beat_ms"], a["edition"] = 50, 2
	}
	if f.rich {
		a["types"], a["bus"], a["groups"] = "t1", "B1", []string{"g"}
	}
	switch f.fault {
	case "epoch of nanoseconds":
		a["epoch"] = fakeEpoch * 1000
	case "epoch of the moment":
		a["epoch"] = fakeEpoch + seq
	case "seq stands still":
		a["seq"] = 0
	case "no beat_ms":
		delete(a, "beat_ms")
	case "hello to probes":
		a["event"] = "hello"
	case "beats for another topic":
		if to == "" {
			a["topic"] = "other"
		}
	}
	body, _ := json.Marshal(a)
	if to == "" {
		to = "dispatch.default.presence." + escape(f.name) + "." + f.topic
	}
	_ = f.nc.Publish(to, body) // the connection may be closed
}

func (f *fake) hearProbe(m *nats.Msg) {
	pattern := string(m.Data)
	exact := pattern == f.topic
	matches := exact || pattern == ">" || strings.Count(pattern, ".") == strings.Count(f.topic, ".") &&
		(strings.HasSuffix(pattern, ".*") || strings.HasSuffix(pattern, ".>")) && strings.HasPrefix(f.topic, pattern[:len(pattern)-1])
	if f.has("exact probes only") {
		matches = exact
	}
	if m.Reply != "" && (matches || f.has("answers all probes")) {
		f.announce("beat", m.Reply)
	}
}

// answer is a reply that the node is sending.
type answer struct {
	f       *fake
	to      string
	seq     int
	results int
}

func (a *answer) say(frames ...string) { a.sayWith(nil, frames...) }

func (a *answer) sayWith(more nats.Header, frames ...string) {
	f := a.f
	m := nats.NewMsg(a.to)
	m.Header = nats.Header{
		"Dispatch-Version": {"1"}, "Dispatch-Node": {escape(f.name)}, "Dispatch-Epoch": {strconv.Itoa(fakeEpoch)}, "Dispatch-Seq": {strconv.Itoa(a.seq)},
	}
	switch f.fault {
	case "no version in replies":
		delete(m.Header, "Dispatch-Version")
	case "another epoch in replies":
		m.Header.Set("Dispatch-Epoch", "7")
	case "seq from 1":
		m.Header["Dispatch-Seq"] = []string{strconv.Itoa(a.seq + 1)}
	}
	for k, v := range more {
		m.Header[k] = v
	}
	a.seq++
	m.Data = []byte(strings.Join(frames, "\n") + "\n")
	if f.has("no line feed at the end") {
		m.Data = m.Data[:len(m.Data)-1]
	}
	_ = f.nc.PublishMsg(m) // the connection may be closed
}

func (a *answer) reject(code, number string) {
	if a.f.has("no service headers") {
		a.say("reject failed " + code + ` "no"`)
		return
	}
	a.sayWith(nats.Header{"Nats-Service-Error": {"no"}, "Nats-Service-Error-Code": {number}}, "reject failed "+code+` "no"`)
}

func (f *fake) hear(group string, m *nats.Msg) {
	h := m.Header
	call := h.Get("Dispatch-Call")
	switch kind := h.Get("Dispatch-Type"); {
	case kind == "cancel":
		f.hearCancel(call, h.Get("Dispatch-Node"))
		return
	case kind != "request" && !f.has("answers any type"), m.Reply == "":
		return
	}
	a := &answer{f: f, to: m.Reply}
	micros, err := strconv.Atoi(h.Get("Dispatch-Budget"))
	hops, _ := strconv.Atoi(h.Get("Dispatch-Hops"))
	switch types := h.Get("Dispatch-Types"); {
	case h.Get("Dispatch-Version") != "1" && !f.has("any version"):
		a.reject("incompatible", "409")
		return
	case (len(call) > 128 || call == "") && !f.has("any call"), err != nil && !f.has("any budget"):
		a.reject("malformed", "400")
		return
	case micros <= 0 && err == nil && !f.has("answers without budget"):
		return
	case h.Get("Dispatch-Codec") != "json" && !f.has("any codec"), f.rich && types != "" && types != "t1" && !f.has("any types"):
		a.reject("incompatible", "409")
		return
	case hops > 64 && !f.has("any hops"):
		a.reject("too-deep", "500")
		return
	case f.has("rejects headers that it does not know") && h.Get("Dispatch-Colour") != "":
		a.reject("malformed", "400")
		return
	case slices.Contains(strings.Fields(h.Get("Dispatch-Path")), "B1") && f.rich && !f.has("any path"):
		return
	}
	var body struct{ Slow, Large bool }
	if err := json.Unmarshal(m.Data, &body); err != nil && !f.has("any body") {
		a.reject("malformed", "400")
		return
	}
	f.mu.Lock()
	known := f.seen[call]
	f.seen[call] = true
	stop := make(chan struct{})
	f.stops[call] = stop
	f.mu.Unlock()
	if known && !f.has("runs a call twice") {
		return
	}
	targets := strings.Fields(h.Get("Dispatch-Targets"))
	all := len(h["Dispatch-Targets"]) == 0 || f.has("ignores targets")
	var members []string
	for _, name := range []string{"thermometer", "lamp"} {
		if group == "" && (all || slices.Contains(targets, name)) {
			members = append(members, name)
		}
	}
	if group != "" || f.rich && f.has("groups in requests to all") {
		members = append(members, "g/")
	}
	if group != "" && f.has("all in requests to groups") {
		members = append(members, "lamp")
	}
	if len(members) == 0 && f.has("rejects unknown targets") {
		a.reject("unknown-member", "500")
		return
	}
	go f.answer(a, members, body.Slow, body.Large, time.Duration(micros)*time.Microsecond, stop)
}

func (f *fake) hearCancel(call, node string) {
	if node != "" && node != escape(f.name) && !f.has("hears cancels for others") || f.has("ignores cancels") {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if stop, ok := f.stops[call]; ok {
		delete(f.stops, call)
		close(stop)
	} else if !f.has("forgets cancels") {
		f.seen[call] = true
	}
}

func (f *fake) answer(a *answer, members []string, slow, large bool, budget time.Duration, stop chan struct{}) {
	accept := strings.Join(append([]string{"accept"}, members...), " ")
	switch f.fault {
	case "members are not escaped":
		accept = strings.ReplaceAll(accept, "lamp", "lämp")
	case "a member twice":
		accept += " lamp lamp"
	}
	if !f.has("no accept") {
		a.say(accept)
	}
	if f.has("rejects after accepting") {
		a.reject("malformed", "400")
		return
	}
	if slow {
		select {
		case <-stop:
			if f.has("speaks after a cancel") {
				a.say(`end 0 0 cancelled cancelled ""`)
			}
			return
		case <-time.After(budget):
		}
	}
	for i := range members {
		f.end(a, i, slow && i == 0, large && i == 0)
	}
	results, count := a.results, len(members)
	switch f.fault {
	case "final counts too many results":
		results++
	case "final counts too few members":
		count--
	case "no final":
		return
	}
	a.say(fmt.Sprintf("final %d %d", count, results))
	if f.has("speaks after the final") {
		a.say(`end 0 1 ok`)
	}
}

// end sends the result and the end of a member.
func (f *fake) end(a *answer, member int, slow, large bool) {
	if slow {
		switch f.fault {
		case "late is failed":
			a.say(fmt.Sprintf(`end %d 0 failed - "too slow"`, member))
		default:
			a.say(fmt.Sprintf(`end %d 0 late deadline "too slow"`, member))
		}
		return
	}
	value, total := "21.25", 5
	switch f.fault {
	case "values are no JSON":
		value = "21,25"
	case "total is too large":
		total = 6
	case "a number that is none":
		a.say("result x 1 1\n1")
	case "member out of range":
		a.say("result 9 1 1\n1")
		a.results++
	}
	number := member
	if large {
		value = `"` + strings.Repeat("x", 1<<20) + `"`
		total = len(value)
		cut := len(value) / 2
		part := value[:cut]
		if f.has("parts are lost") {
			part = part[:cut-1]
		}
		if f.has("no parts") {
			value, total = "1", 1
		} else {
			a.say(fmt.Sprintf("part %d %d\n%s", number, len(part), part))
			value = value[cut:]
		}
	}
	a.say(fmt.Sprintf("result %d %d %d\n%s", number, len(value), total, value), "rumour about 1 2 3")
	a.results++
	switch f.fault {
	case "no ends":
	case "an end counts too few":
		a.say(fmt.Sprintf("end %d 0 ok", number))
	case "a state of its own":
		a.say(fmt.Sprintf(`end %d 1 tired - ""`, number))
	case "a code of its own":
		a.say(fmt.Sprintf(`end %d 1 failed tired ""`, number))
	case "a text without quotes":
		a.say(fmt.Sprintf(`end %d 1 failed - tired`, number))
	default:
		a.say(fmt.Sprintf("end %d 1 ok", number))
	}
}
