package books

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/seed-bb4b4d74/dispatch"
)

// TestCheck makes a call whose books are right, and then changes them so that they are wrong.
func TestCheck(t *testing.T) {
	right := func(*Entry, *Testimony) {}
	for _, test := range []struct {
		name  string
		spoil func(*Entry, *Testimony)
		wrong bool
	}{
		{"nothing", right, false},
		{"a result is missing", func(e *Entry, _ *Testimony) { e.Results = e.Results[:1] }, true},
		{"a result comes twice", func(e *Entry, _ *Testimony) { e.Results[1].Value = e.Results[0].Value }, true},
		{"a result of a stranger", func(e *Entry, _ *Testimony) { e.Results[0].From.Name = "stranger" }, true},
		{"a result of another request", func(e *Entry, _ *Testimony) { e.Results[0].Value = Value(8, 1) }, true},
		{"a gap", func(e *Entry, _ *Testimony) { e.Results[1].Seq++ }, true},
		{"a member twice", func(e *Entry, _ *Testimony) { e.Report.Outcomes[1] = e.Report.Outcomes[0] }, true},
		{"a member without an end", func(e *Entry, _ *Testimony) { e.Report.Outcomes[2].State = dispatch.StatePending }, true},
		{"an OK with an error", func(e *Entry, _ *Testimony) { e.Report.Outcomes[0].Err = context.Canceled }, true},
		{"a reason that does not fit", func(e *Entry, _ *Testimony) { e.Report.Reason = dispatch.ReasonSatisfied }, true},
		{"a quorum that was passed", func(e *Entry, _ *Testimony) { e.Quorum = 1 }, true},
		{"a result unheard", func(_ *Entry, w *Testimony) { w.Heard = w.Heard[:1] }, true},
		{"results heard in another order", func(_ *Entry, w *Testimony) { slices.Reverse(w.Heard) }, true},
		{"another report heard", func(_ *Entry, w *Testimony) { w.Report.Reason = dispatch.ReasonClosed }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, w := called(t)
				test.spoil(e, &w)
				err := errors.Join(e.Check(), e.Proves(w, All, false))
				if (err != nil) != test.wrong {
					t.Errorf("found %v", err)
				}
			})
		})
	}
}

// called returns the books of a call with two answers and a failure.
func called(t *testing.T) (*Entry, Testimony) {
	d, on := dispatch.New[int, int](), dispatch.NewTopic[int, int]("books")
	for i := range 3 {
		_, err := d.AddProducer(on, func(_ context.Context, req int) (int, error) {
			if i == 2 {
				return 0, errors.New("broken")
			}
			return Value(req, i), nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var heard Testimony
	w := &Witness{Name: "witness", Give: func(given Testimony) { heard = given }}
	if _, err := d.AddListener(on, w.Listen, dispatch.OnDone(w.Done)); err != nil {
		t.Fatal(err)
	}
	c, err := d.Send(t.Context(), on, 7)
	if err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	synctest.Wait()
	one := func(dispatch.Member) bool { return false }
	return &Entry{Report: c.Report(), Results: slices.Collect(c.Results()), Many: one, Exact: true}, heard
}
