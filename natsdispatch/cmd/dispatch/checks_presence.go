package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

func presenceChecks() []check {
	return []check{
		{"presence: fields", "An announcement has node, topic, event, epoch, seq, beat_ms, versions and codecs.", fields},
		{"presence: a pattern in a probe", "A node answers a probe whose body is a pattern that matches a topic of its own.", patterns},
		{"presence: a probe for another topic", "A node answers a probe whose body is one of its topics or a pattern that matches one.", otherTopic},
		{"presence: seq and epoch", "seq counts the announcements of an epoch; the epoch stays the same until the node starts again.", counts},
		{"presence: beats", "A node announces itself every beat_ms on {prefix}.{space}.presence.{node}.{topic}. If it names node_beat_ms it beats as often on {prefix}.{space}.presence.{node}, and answers a tell.", beats},
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

// longestWait is the longest interval of beats that the suite waits for.
const longestWait = 10 * time.Second

func waitsFor(beatMS int64) error {
	if beatMS > longestWait.Milliseconds() {
		return skipped(fmt.Sprintf("it beats every %d ms, and this suite waits for %v at most", beatMS, longestWait))
	}
	return nil
}

// beatOn waits for a beat on a subject of the space, which is given without prefix and space.
func beatOn(e *examiner, subject string) (*nats.Msg, error) {
	subject = e.prefix + "." + e.space + "." + subject
	in, err := e.subscribe(subject)
	if err != nil {
		return nil, err
	}
	defer in.close()
	m, err := in.next(e.patience + e.about.patience())
	if err != nil {
		return nil, wrong("a beat on "+subject, "%v", err)
	}
	return m, nil
}

// beatsForAll checks the beats of a node that sends one beat for all of its topics.
func beatsForAll(e *examiner) error {
	if err := waitsFor(e.about.AllMS); err != nil {
		return err
	}
	m, err := beatOn(e, "presence."+escape(e.about.Node))
	if err != nil {
		return err
	}
	b, err := parseBeat(m.Data)
	switch {
	case err != nil || b.Node != e.about.Node || b.Epoch != e.about.Epoch:
		return wrong(fmt.Sprintf("a beat of node %s and epoch %d", e.about.Node, e.about.Epoch), "%s", m.Data)
	case *b.Edition < e.about.Edition:
		return wrong(fmt.Sprintf("the edition %d, or a later one", e.about.Edition), "%d", *b.Edition)
	}
	return tells(e)
}

// tells checks that a node announces itself when it receives a tell.
func tells(e *examiner) error {
	in, err := e.newInbox()
	if err != nil {
		return err
	}
	defer in.close()
	if err := e.nc.PublishRequest(e.acks(), in.Subject, []byte("tell\n")); err != nil {
		return err
	}
	a, err := e.announced(in)
	if err != nil {
		return wrong("an announcement of "+e.about.Node, "%v", err)
	}
	if a.Node != e.about.Node || a.Topic != e.topic || a.Epoch != e.about.Epoch {
		return wrong("an announcement of "+e.about.Node+" on "+e.topic, "%+v", a)
	}
	return nil
}

func beats(e *examiner) error {
	if e.about.AllMS != 0 {
		return beatsForAll(e)
	}
	if err := waitsFor(e.about.BeatMS); err != nil {
		return err
	}
	m, err := beatOn(e, "presence."+escape(e.about.Node)+"."+e.topic)
	if err != nil {
		return err
	}
	a, err := parseAnnouncement(m.Data)
	if err != nil || a.Node != e.about.Node || a.Topic != e.topic {
		return wrong("an announcement of node "+e.about.Node+" on "+e.topic, "%s", m.Data)
	}
	return nil
}
