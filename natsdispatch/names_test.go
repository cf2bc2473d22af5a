package natsdispatch

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestLister(t *testing.T) {
	var l lister
	a, b := []dispatch.Member{memberOf("a")}, []dispatch.Member{memberOf("a"), memberOf("b")}
	for i, c := range []struct {
		members []dispatch.Member
		number  uint64
		again   bool
	}{{a, 1, false}, {a, 1, true}, {b, 2, false}, {a, 3, false}, {a, 3, true}} {
		if number, again := l.numberOf(c.members); number != c.number || again != c.again {
			t.Errorf("call %d: number %d, again %v; want %d, %v", i, number, again, c.number, c.again)
		}
	}
}

// A list is remembered for one process of a node, as long as the names are not too many.
func TestTableRemembersNames(t *testing.T) {
	table := table{forget: time.Hour, most: 100}
	say := func(node, event string, epoch int64, seq uint64, groups ...string) {
		table.hear(announcement{Node: node, Topic: "t", Event: event, Epoch: epoch, Seq: seq, BeatMS: 1000, Groups: groups}, second(0))
	}
	list := func(epoch int64, n int) *names {
		return &names{epoch: epoch, number: 1, members: make([]dispatch.Member, n)}
	}
	knows := func(what, node string, want, sum int, full bool) {
		t.Helper()
		got := -1
		if n := table.at(place{"t", node}); n != nil {
			got = 0
			if l := n.names.Load(); l != nil {
				got = len(l.members)
			}
		}
		if got != want || table.names != sum || table.unnamed != full {
			t.Errorf("%s: %d names of %s, %d of all, full: %v; want %d, %d, %v", what, got, node, table.names, table.unnamed, want, sum, full)
		}
	}
	at := place{"t", "n"}
	table.learn(at, list(5, 3))
	say("n", eventHello, 5, 0)
	knows("not known yet", "n", 0, 0, false)
	table.learn(at, list(4, 3))
	knows("the list of another process", "n", 0, 0, false)
	table.learn(at, list(5, 3))
	table.learn(at, list(5, 2))
	knows("learned twice", "n", 2, 2, false)
	say("n", eventChange, 5, 1, "g")
	table.expire(second(4), nil)
	say("n", eventBeat, 5, 2, "g")
	knows("after a change and a silence", "n", 2, 2, false)
	say("n", eventHello, 6, 0)
	knows("of the process before", "n", 0, 0, false)
	table.learn(at, list(6, mostNames))
	knows("as many as may be", "n", mostNames, mostNames, false)
	say("m", eventHello, 5, 0)
	table.learn(place{"t", "m"}, list(5, 1))
	knows("one too many", "m", 0, mostNames, true)
	say("n", eventBye, 6, 1)
	knows("after a bye", "m", 0, 0, false)
}

func TestListsKnown(t *testing.T) {
	for _, c := range []struct {
		known, nodes int
		want         string
	}{{0, 0, namesNumbered}, {0, 1, namesNumbered}, {1, 3, namesNumbered}, {1, 2, namesKnown}, {3, 3, namesKnown}} {
		if got := listsKnown(c.known, c.nodes); got != c.want {
			t.Errorf("%d of %d: %q, want %q", c.known, c.nodes, got, c.want)
		}
	}
}

// The number of a list is valid only in the first frame of a reply.
func TestTallyOfLists(t *testing.T) {
	known := &names{epoch: 5, number: 7, members: []dispatch.Member{{Node: "n", Name: "a"}}}
	for _, c := range []struct {
		name string
		said string
		err  error
	}{
		{"known", "accept @7\n", nil},
		{"of another process", "accept @7\n", errNames},
		{"named again", "accept @8 b\n", nil},
		{"another number", "accept @8\n", errNames},
		{"all of another number", "all 3 @8\n[1]\n", errNames},
		{"later", "accept @7\naccept @7\n", ErrMalformed},
		{"later, with names", "accept b\naccept @8 c\n", ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			tally := tally{node: "n", epoch: 5, limit: 100, most: 10, to: &earBook{known: map[dispatch.Member]bool{{Node: "n", Name: "a"}: true}}, names: known}
			if c.name == "of another process" {
				tally.epoch = 6
			}
			_, err := tally.read([]byte(c.said))
			if !errors.Is(err, c.err) {
				t.Errorf("%v, want %v", err, c.err)
			}
			if errors.Is(err, errNames) && tally.accepted {
				t.Error("it counts as accepted")
			}
		})
	}
	if got := fmt.Sprint(known.members); got != "[n/a]" {
		t.Errorf("the list is %s after that", got)
	}
}
