package measure_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

func TestTable(t *testing.T) {
	tab := measure.NewTable("case", "time", "bar")
	tab.Row("producers=1", "1.50 µs", measure.AtMost(0.4, 0.9))
	tab.Row("producers=1000", "12.00 µs", measure.AtMost(0.91, 0.9))
	tab.Row("producers=2", "1 µs", measure.AtMost(7, measure.None))
	var got strings.Builder
	tab.Print(&got)
	want := `
| case           |     time |          bar |
|:---------------|---------:|-------------:|
| producers=1    |  1.50 µs |     ≤ 0.9 ok |
| producers=1000 | 12.00 µs | ≤ 0.9 MISSED |
| producers=2    |     1 µs |              |
`
	if got.String() != want {
		t.Errorf("got %swant %s", &got, want)
	}
}

func TestCompareKeepsTheOrderOfItsArguments(t *testing.T) {
	slow := measure.Side{Name: "slow", Call: func() error { time.Sleep(2 * time.Millisecond); return nil }}
	quick := measure.Side{Name: "quick", Call: func() error { return nil }}
	r := measure.Rounds{N: 5, Length: 100 * time.Microsecond}
	got, err := r.Compare(slow, quick, slow)
	if err != nil {
		t.Fatal(err)
	}
	if got[1].Time >= got[0].Time || got[1].Time >= got[2].Time {
		t.Errorf("took %v; want the second to be the quick one", got)
	}
}

func TestEachRoundBeginsWithBeforeAndEndsWithAfter(t *testing.T) {
	var events strings.Builder
	r := measure.Rounds{N: 2, Calls: 2}
	_, err := r.Compare(measure.Side{
		Before: func() error { events.WriteByte('b'); return nil },
		Call:   func() error { events.WriteByte('c'); return nil },
		After:  func() { events.WriteByte('a') },
	})
	// One round warms up, and each begins with a call that is not measured.
	if want := strings.Repeat("bccca", 3); err != nil || events.String() != want {
		t.Errorf("got %v, %v; want %v", &events, err, want)
	}
}

func TestCompareNamesTheSideThatFails(t *testing.T) {
	broken := errors.New("broken")
	_, err := measure.Rounds{N: 1, Calls: 1}.Compare(measure.Side{Name: "hand", Call: func() error { return broken }})
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "hand: ") {
		t.Errorf("got the error %v", err)
	}
}

func TestChoose(t *testing.T) {
	parts := []measure.Part{{Name: "quick"}, {Name: "sleep"}, {Name: "topics"}}
	chosen, err := measure.Choose(parts, "topics,quick")
	if err != nil || measure.Names(chosen) != "quick,topics" {
		t.Errorf("chose %v, %v; want quick and topics", chosen, err)
	}
	if _, err := measure.Choose(parts, "quick,slow"); err == nil {
		t.Error("chose a part that does not exist")
	}
}

func TestABrokenPartIsToldAndTheOthersRun(t *testing.T) {
	var out strings.Builder
	ran := false
	measure.RunAll(&out, []measure.Part{
		{Name: "a", Run: func() error { return errors.New("no") }},
		{Name: "b", Run: func() error { ran = true; return nil }},
	})
	if !ran || !strings.Contains(out.String(), "BROKEN: no") {
		t.Errorf("the second part ran: %v; got %s", ran, &out)
	}
}
