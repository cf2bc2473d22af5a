package natsdispatch

import (
	"strings"
	"testing"
)

// Names are as long as the servers can have them in a subject.
func TestSubjectsFitIntoALine(t *testing.T) {
	s := subjects{strings.Repeat("p", longestPrefix), strings.Repeat("s", longestSpace)}
	topic, node, group := strings.Repeat("t", longestTopic), strings.Repeat("\x01", longestNode), strings.Repeat("g", longestGroup)
	if err := checkNodeName(node); err != nil {
		t.Error(err)
	}
	if err := checkGroup(group); err != nil {
		t.Error(err)
	}
	const rest = 512 // bytes of a line besides its subject, with a reply subject
	for _, subject := range []string{s.ask(topic), s.group(group, topic), s.acks(node, topic), s.presence(node, topic), s.result(node, topic)} {
		if len(subject) > 4096-rest {
			t.Errorf("a subject may have %d bytes: %.20s…", len(subject), subject)
		}
	}
	for _, name := range []string{"", "*", node + "x", "\xff"} {
		if checkNodeName(name) == nil {
			t.Errorf("%q may be the name of a node", name)
		}
	}
	for _, name := range []string{group + "g", strings.Repeat(" ", longestGroup/3+1), "\xff"} {
		if checkGroup(name) == nil {
			t.Errorf("%.20q may be the name of a group", name)
		}
	}
}
