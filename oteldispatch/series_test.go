package oteldispatch

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestTalliesAreBounded(t *testing.T) {
	n := &names{members: unlessAutomatic, listened: unlessAutomatic}
	m := &metrics{names: n, tallies: tallies{names: n, mostEver: 100}, produced: true}
	s := &m.tallies
	end := func(topic string, names ...string) {
		r := dispatch.Report{Topic: topic}
		for _, name := range names {
			r.Outcomes = append(r.Outcomes, dispatch.Outcome{Member: dispatch.Member{Name: name}, State: dispatch.StateOK, Started: true})
		}
		m.ended(t.Context(), &r)
		members := 0
		for _, t := range s.topics {
			members += len(t.members)
		}
		if members != s.members || members+len(s.topics) > 100 {
			t.Fatalf("%d members of %d topics are kept, %d are counted", members, len(s.topics), s.members)
		}
	}
	for i := range 500 {
		end("often", "a", "b")
		end(fmt.Sprint("topic-", i), "x")
	}
	if f := s.topics["often"]; f.sent[0].count != 500 || f.members[dispatch.Member{Name: "a"}].consumed != 500 {
		t.Errorf("what is used often was forgotten: %+v", f)
	}
	if s.topics["topic-0"] != nil || s.topics["topic-499"] == nil {
		t.Error("what was used least recently is not what went")
	}
	for i := range 500 {
		end("often", fmt.Sprint("site ", i))
	}
}

func TestHistogramHasTheBucketsOfTheConventions(t *testing.T) {
	for i, b := range buckets {
		if want := time.Duration(b * float64(time.Second)); bounds[i] != want {
			t.Errorf("bound %d is %v, want %v", i, bounds[i], want)
		}
	}
	var h histogram
	for _, d := range []time.Duration{0, 5e6, 5e6 + 1, 10e9, time.Hour} {
		h.add(d)
	}
	if h.counts != [len(bounds) + 1]uint64{0: 2, 1: 1, 13: 1, 14: 1} || h.min != 0 || h.count != 5 || h.max != time.Hour || h.sum != time.Hour+10e9+10e6+1 {
		t.Errorf("got %+v", h)
	}
}

func TestAutomaticNamesAreLeftOut(t *testing.T) {
	for name, want := range map[string]string{
		"producer-1": "", "listener-4711": "", "relay-2": "",
		"producer": "producer", "producer-": "producer-", "producer-a": "producer-a", "site-1": "site-1", "my-producer-1": "my-producer-1",
	} {
		if got := unlessAutomatic(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}
