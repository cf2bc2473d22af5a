package dispatchdebug

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// relay adds a relay to the bench.
func (b *bench) relay(name string, f dispatch.Relay[string, string]) {
	b.t.Helper()
	if _, err := b.d.AddRelay(measure, f, dispatch.WithName(name)); err != nil {
		b.t.Fatal(err)
	}
}

// hangs is a relay that names no members, and returns when the call ends.
func hangs(ctx context.Context, _ string, _ *dispatch.Roster[string]) error {
	<-ctx.Done()
	return nil
}

// critical returns the names of the rows that the end of the call waited for.
func (c *callPart) critical() string {
	var names []string
	for _, r := range c.Rows {
		if r.Critical {
			names = append(names, r.Name)
		}
	}
	return strings.Join(names, " ")
}

// The verdict on a call is a whole sentence, with the member that the end of the call waited for first. The
// rows of these members are critical.
func TestTheVerdictBeginsWithTheMemberThatTheEndWaitedFor(t *testing.T) {
	const ms = time.Millisecond
	never := after(time.Hour, "", nil)
	for name, test := range map[string]struct {
		add               func(*bench)
		opts              []dispatch.CallOption
		verdict, critical string
	}{
		"a quorum lost by a member that declines": {
			func(b *bench) {
				b.add("a", after(10*ms, "", nil))
				b.add("early", after(10*ms, "", dispatch.ErrDecline))
				b.add("declines", after(20*ms, "", dispatch.ErrDecline))
			},
			[]dispatch.CallOption{dispatch.WithQuorum(2)},
			"Given up after 20 ms because the quorum could not be reached without declines (declined), early (declined)", "declines",
		},
		"a quorum lost by a timeout": {
			func(b *bench) {
				b.add("fails", after(10*ms, "", errors.New("probe is open")))
				b.add("goes on", never)
				b.add("late", never, dispatch.WithTimeout(300*ms))
			},
			[]dispatch.CallOption{dispatch.WithQuorum(2)},
			"Given up after 300 ms because the quorum could not be reached without late (0 late), fails (failed)", "late",
		},
		"a quorum that is too large": {
			func(b *bench) { b.add("a", never) },
			[]dispatch.CallOption{dispatch.WithQuorum(2)},
			"Given up after 0 because the quorum could not be reached: it is larger than the number of members. ", "",
		},
		"a failure": {
			func(b *bench) {
				b.add("fails", after(20*ms, "", errors.New("probe is open")))
				b.add("declines", after(10*ms, "", dispatch.ErrDecline))
				b.add("late", never, dispatch.WithTimeout(10*ms))
			},
			[]dispatch.CallOption{dispatch.WithFailFast(), dispatch.WithTargets("absent", "fails", "declines", "late")},
			"Given up after 20 ms because of the failure of fails (failed)", "fails",
		},
		"a member that was late before the deadline": {
			func(b *bench) {
				b.add("own", deaf(time.Minute), dispatch.WithTimeout(100*ms))
				b.add("watches", never)
				b.add("deaf", deaf(1500*ms))
			},
			nil,
			"Ended at its deadline of 1 s without an answer from deaf (500 ms late), watches (0 late), own (still running)", "watches deaf",
		},
		"a required member that fails": {
			func(b *bench) {
				b.add("a", after(10*ms, "", nil))
				b.add("required", after(600*ms, "", errors.New("probe is open")))
				b.add("other", never)
			},
			[]dispatch.CallOption{dispatch.WithQuorum(1), dispatch.WithRequired("required")},
			"Enough answers after 600 ms; the last to end was required (failed)", "required",
		},
		"a member that declines last": {
			func(b *bench) {
				b.add("a", after(10*ms, "", nil))
				b.add("declines", after(900*ms, "", dispatch.ErrDecline))
			},
			nil,
			"Complete after 900 ms; the last to end was declines (declined after 900 ms)", "declines",
		},
		"a relay that names nobody": {
			func(b *bench) { b.relay("relay", hangs) },
			nil,
			"Ended at its deadline of 1 s, before a member was asked. ", "",
		},
		"producers that do not come": {
			func(*bench) {},
			[]dispatch.CallOption{dispatch.WithMinProducers(2)},
			"Ended at its deadline of 1 s because there were too few producers. ", "",
		},
		"a relay that does not return": {
			func(b *bench) {
				b.add("a", after(0, "", nil))
				b.relay("relay", hangs)
			},
			nil,
			"Ended at its deadline of 1 s, though all its members had ended: a relay had not returned. ", "",
		},
		"a relay that does not return, and a failure": {
			func(b *bench) {
				b.add("fails", after(0, "", errors.New("probe is open")))
				b.relay("relay", hangs)
			},
			nil,
			"Ended at its deadline of 1 s because a relay had not returned, without an answer from fails (failed)", "",
		},
		"a stall": {
			func(b *bench) {
				b.add("a", after(0, "", nil))
				b.relay("relay", hangs)
			},
			[]dispatch.CallOption{dispatch.WithStall(100 * ms)},
			"Given up after 100 ms because no further result came, though all its members had ended: a relay had not returned. ", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				test.add(b)
				id := b.call(test.opts...)
				time.Sleep(2 * time.Second)
				c := b.waterfall(id)
				want(t, "verdict", c.Verdict+" "+c.culprits(), test.verdict)
				want(t, "critical", c.critical(), test.critical)
			})
		})
	}
}

// First ends with a result of a stream, which has not ended itself.
func TestTheVerdictOnAFirstThatEndsWithAStream(t *testing.T) {
	inBubble(t, func(b *bench) {
		stream := func(ctx context.Context, _ string) iter.Seq2[string, error] {
			return func(yield func(string, error) bool) {
				time.Sleep(100 * time.Millisecond)
				yield("3.3 V", nil)
				<-ctx.Done()
			}
		}
		b.add("never", after(time.Hour, "", nil))
		if _, err := b.d.AddStreamProducer(measure, stream, dispatch.WithName("stream")); err != nil {
			t.Fatal(err)
		}
		b.add("early", after(0, "", errors.New("probe is open")))
		if _, err := b.d.First(b.t.Context(), measure, "vdd"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c := b.waterfall(1)
		want(t, "verdict", c.Verdict+" "+c.culprits(), "Enough answers after 100 ms; the last one came from stream (100 ms)")
		want(t, "critical", c.critical(), "stream")
	})
}

// The member that the end of a call waited for is named, also if most members are not kept.
func TestTheVerdictOnACallOfManyMembers(t *testing.T) {
	for name, test := range map[string]struct {
		err     error
		opt     dispatch.CallOption
		verdict string
	}{
		"failed fast":            {errors.New("probe is open"), dispatch.WithFailFast(), "Given up after 10 ms because of the failure of decides (failed)"},
		"satisfied":              {nil, dispatch.WithQuorum(1), "Enough answers after 10 ms; the last one came from decides (10 ms)"},
		"quorum lost":            {dispatch.ErrDecline, dispatch.WithQuorum(2*mostRows + 1), "Given up after 10 ms because the quorum could not be reached without decides (declined)"},
		"a quorum that is large": {nil, dispatch.WithQuorum(2*mostRows + 2), "Given up after 0 because the quorum could not be reached. "},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				for i := range 2 * mostRows {
					b.add(fmt.Sprint("never-", i), after(time.Hour, "", nil))
				}
				b.add("decides", after(10*time.Millisecond, "", test.err))
				c := b.waterfall(b.call(test.opt))
				want(t, "verdict", c.Verdict+" "+c.culprits(), test.verdict)
				want(t, "members that are not kept", c.Left, mostRows+1)
			})
		})
	}
}

// While a call waits for producers, the verdict counts them.
func TestTheVerdictCountsTheProducersThatAreMissing(t *testing.T) {
	inBubble(t, func(b *bench) {
		c := b.send(dispatch.WithMinProducers(2))
		time.Sleep(100 * time.Millisecond)
		want(t, "two", b.waterfall(c.ID()).Verdict, "In flight for 100 ms of 1 s; it waits for 2 more producers.")
		b.add("a", after(0, "", nil))
		time.Sleep(100 * time.Millisecond)
		want(t, "one", b.waterfall(c.ID()).Verdict, "In flight for 200 ms of 1 s; it waits for 1 more producer.")
		b.add("b", after(0, "", nil))
		<-c.Done()
	})
}
