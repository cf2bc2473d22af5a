package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/seed-bb4b4d74/dispatch"
)

var (
	errProbe = errors.New("probe is open")
	errFuse  = errors.New("fuse is blown")
	errUser  = errors.New("user pressed stop")
	errPage  = errors.New("the page has to be there after 50ms")
)

// have makes the outcomes of members that ended alike.
func have(state dispatch.State, err error, names ...string) []dispatch.Outcome {
	var all []dispatch.Outcome
	for _, name := range names {
		all = append(all, dispatch.Outcome{Member: dispatch.Member{Name: name}, State: state, Err: err})
	}
	return all
}

func answered(names ...string) []dispatch.Outcome { return have(dispatch.StateOK, nil, names...) }
func declined(names ...string) []dispatch.Outcome {
	return have(dispatch.StateDeclined, dispatch.ErrDecline, names...)
}

func failed(name string, err error) []dispatch.Outcome { return have(dispatch.StateFailed, err, name) }

// unknown are members that WithTargets names and the bus does not have.
func unknown(names ...string) (all []dispatch.Outcome) {
	for _, name := range names {
		all = append(all, have(dispatch.StateGone, fmt.Errorf("%w: %q", dispatch.ErrUnknownMember, name), name)...)
	}
	return all
}

// numbered returns n names.
func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("site-", i+1))
	}
	return names
}

// ending is how a call ended.
type ending struct {
	reason  dispatch.Reason
	cause   error
	quorum  int
	first   bool
	members [][]dispatch.Outcome
}

func (e ending) report() dispatch.Report {
	r := dispatch.Report{Topic: "cell.measure", Reason: e.reason, Outcomes: slices.Concat(e.members...)}
	return dispatch.ReportOf(r, e.cause, e.quorum, e.first)
}

func (e ending) err() error {
	if e.first {
		return dispatch.FirstErr(e.report())
	}
	return e.report().Err()
}

type ends = [][]dispatch.Outcome

// inner is the error of a call that a producer has sent.
func inner(members ...[]dispatch.Outcome) error {
	r := ending{reason: dispatch.ReasonAllEnded, members: members}.report()
	r.Topic = "cell.stock"
	return r.Err()
}

// texts is what users read, by the situation they are in.
var texts = map[string]struct {
	ending
	want string // after dispatch: cell.measure:
}{
	// Every member ended.
	"one member failed": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{answered("site-1"), failed("site-2", errProbe)}},
		`1 of 2 members did not answer: site-2 failed: probe is open`,
	},
	"the only member failed": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{failed("site-1", errProbe)}},
		`no member answered: site-1 failed: probe is open`,
	},
	"members failed alike": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{failed("site-1", errProbe), failed("site-2", errFuse), failed("site-3", errProbe)}},
		`no member answered: site-1, site-3 failed: probe is open; site-2 failed: fuse is blown`,
	},
	"a mix of states": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{
			answered("a"), declined("b", "c"), have(dispatch.StateGone, dispatch.ErrRemoved, "d"),
			have(dispatch.StateLate, context.DeadlineExceeded, "e"), have(dispatch.StatePanicked, &dispatch.PanicError{Value: "no reference"}, "f"), failed("g", errProbe),
		}},
		`6 of 7 members did not answer: 2 declined, f panicked: no reference; g failed: probe is open; d gone: removed; e late`,
	},
	"late in the grace, in its own words": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{have(dispatch.StateLate, fmt.Errorf("reading: %w", context.DeadlineExceeded), "a")}},
		`no member answered: a late: reading: context deadline exceeded`,
	},
	"a context of its own": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{failed("a", context.Canceled), failed("b", context.DeadlineExceeded)}},
		`no member answered: a failed: context canceled; b failed: context deadline exceeded`,
	},

	// WithTargets.
	"typo in WithTargets": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{answered("site-2"), unknown("site-9")}},
		`no producer named "site-9"`,
	},
	"two typos": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{unknown("site-9", `a "name"`)}},
		`no producer named "site-9", "a \"name\""`,
	},
	"a typo beside a failure": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{answered("site-1"), unknown("site-9"), failed("site-2", errProbe)}},
		`2 of 3 members did not answer: site-2 failed: probe is open; no producer named "site-9"`,
	},
	"a typo beside a member that is gone": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{answered("site-1"), unknown("site-9"), have(dispatch.StateGone, dispatch.ErrRemoved, "site-2")}},
		`2 of 3 members did not answer: no producer named "site-9"; site-2 gone: removed`,
	},
	"a typo, and a relay that did not return": {
		ending{reason: dispatch.ReasonDeadline, cause: context.DeadlineExceeded, members: ends{answered("site-1"), unknown("site-9")}},
		`deadline exceeded: 1 of 2 members did not answer: no producer named "site-9"`,
	},
	"a typo and a quorum": {
		ending{reason: dispatch.ReasonQuorumLost, quorum: 2, cause: dispatch.ErrQuorumLost, members: ends{answered("site-1"), unknown("site-9")}},
		`quorum of 2 lost: 1 of 2 members answered: no producer named "site-9"`,
	},

	// WithQuorum.
	"WithQuorum(30), 4 members": {
		ending{reason: dispatch.ReasonQuorumLost, quorum: 30, cause: dispatch.ErrQuorumLost, members: ends{have(dispatch.StateCanceled, dispatch.ErrQuorumLost, numbered(4)...)}},
		`quorum of 30 is impossible with 4 members`,
	},
	"an impossible quorum, known late": {
		ending{reason: dispatch.ReasonQuorumLost, quorum: 2, cause: dispatch.ErrQuorumLost, members: ends{failed("cell-7/site-1", errProbe)}},
		`quorum of 2 is impossible with 1 member: cell-7/site-1 failed: probe is open`,
	},
	"quorum lost by failures": {
		ending{reason: dispatch.ReasonQuorumLost, quorum: 3, cause: dispatch.ErrQuorumLost, members: ends{
			answered("site-1"), failed("site-2", errProbe), failed("site-3", errProbe), have(dispatch.StateCanceled, dispatch.ErrQuorumLost, "site-4"),
		}},
		`quorum of 3 lost: 1 of 4 members answered (1 member unfinished): site-2, site-3 failed: probe is open`,
	},
	"quorum lost by declines": {
		ending{reason: dispatch.ReasonQuorumLost, quorum: 2, cause: dispatch.ErrQuorumLost, members: ends{answered("site-1"), declined("site-2")}},
		`quorum of 2 lost: 1 of 2 members answered: 1 declined`,
	},
	"quorum that relays kept open at the deadline": {
		ending{reason: dispatch.ReasonDeadline, quorum: 2, cause: context.DeadlineExceeded, members: ends{answered("site-1"), declined("site-2")}},
		`deadline exceeded: quorum of 2 not reached: 1 of 2 members answered: 1 declined`,
	},
	"quorum lost, and not known which": {
		ending{reason: dispatch.ReasonQuorumLost, cause: dispatch.ErrQuorumLost, members: ends{failed("site-1", errProbe)}},
		`quorum lost: site-1 failed: probe is open`,
	},

	// First.
	"First, all decline": {
		ending{reason: dispatch.ReasonQuorumLost, quorum: 1, first: true, cause: dispatch.ErrQuorumLost, members: ends{declined("site-1", "site-2")}},
		`no member answered: 2 declined`,
	},
	"First, all decline, each to the end": {
		ending{reason: dispatch.ReasonAllEnded, first: true, members: ends{declined("site-1", "site-2")}},
		`no member answered: 2 declined`,
	},
	"First, one fails": {
		ending{reason: dispatch.ReasonQuorumLost, first: true, cause: dispatch.ErrQuorumLost, members: ends{failed("site-1", errProbe), declined("site-2", "site-3")}},
		`no member answered: 2 declined, site-1 failed: probe is open`,
	},
	"First, at the deadline": {
		ending{reason: dispatch.ReasonDeadline, first: true, cause: context.DeadlineExceeded, members: ends{have(dispatch.StateLate, context.DeadlineExceeded, "site-1"), failed("site-2", errProbe)}},
		`deadline exceeded: no member answered: site-2 failed: probe is open; site-1 late`,
	},
	"First, typo in WithTargets": {
		ending{reason: dispatch.ReasonQuorumLost, quorum: 1, first: true, cause: dispatch.ErrQuorumLost, members: ends{unknown("site-9")}},
		`no producer named "site-9"`,
	},
	"First, one has no result and one fails": {
		ending{reason: dispatch.ReasonAllEnded, first: true, members: ends{answered("stream"), failed("site-2", errProbe)}},
		`1 of 2 members did not answer: site-2 failed: probe is open`,
	},
	"First, with a quorum of the sender's": {
		ending{reason: dispatch.ReasonQuorumLost, quorum: 2, first: true, cause: dispatch.ErrQuorumLost, members: ends{answered("site-1"), failed("site-2", errProbe)}},
		`quorum of 2 lost: 1 of 2 members answered: site-2 failed: probe is open`,
	},

	// The call ended before its members did.
	"canceled": {
		ending{reason: dispatch.ReasonCanceled, cause: errUser, members: ends{have(dispatch.StateCanceled, errUser, numbered(4)...)}},
		`canceled: user pressed stop (4 members unfinished)`,
	},
	"canceled without a cause": {
		ending{reason: dispatch.ReasonCanceled, cause: context.Canceled, members: ends{answered("site-1"), have(dispatch.StateCanceled, context.Canceled, "site-2")}},
		`canceled (1 member unfinished)`,
	},
	"canceled, after a failure": {
		ending{reason: dispatch.ReasonCanceled, cause: errUser, members: ends{failed("site-1", errProbe), have(dispatch.StateCanceled, errUser, "site-2", "site-3")}},
		`canceled: user pressed stop (2 members unfinished): site-1 failed: probe is open`,
	},
	"canceled while it waited for producers": {
		ending{reason: dispatch.ReasonCanceled, cause: errUser}, `canceled: user pressed stop`,
	},
	"canceled by the call it belongs to": {
		ending{reason: dispatch.ReasonCanceled, cause: dispatch.ErrSatisfied, members: ends{have(dispatch.StateCanceled, dispatch.ErrSatisfied, "site-1")}},
		`canceled: satisfied (1 member unfinished)`,
	},
	"deadline": {
		ending{reason: dispatch.ReasonDeadline, cause: context.DeadlineExceeded, members: ends{answered("site-1"), have(dispatch.StateLate, context.DeadlineExceeded, "site-2", "site-3")}},
		`deadline exceeded: 2 of 3 members did not answer: site-2, site-3 late`,
	},
	"deadline, and a failure": {
		ending{reason: dispatch.ReasonDeadline, cause: context.DeadlineExceeded, members: ends{have(dispatch.StateLate, context.DeadlineExceeded, "site-2"), answered("site-1"), failed("site-3", errProbe)}},
		`deadline exceeded: 2 of 3 members did not answer: site-3 failed: probe is open; site-2 late`,
	},
	"deadline with the sender's cause": {
		ending{
			reason: dispatch.ReasonDeadline, cause: dispatch.WithKind(errPage, context.DeadlineExceeded),
			members: ends{answered("site-1"), have(dispatch.StateLate, dispatch.WithKind(errPage, context.DeadlineExceeded), "site-2", "site-3")},
		},
		`deadline exceeded: the page has to be there after 50ms: 2 of 3 members did not answer: site-2, site-3 late`,
	},
	"too few producers": {
		ending{reason: dispatch.ReasonDeadline, cause: dispatch.TooFewProducers(4, 1)},
		`deadline exceeded: too few producers: 4 wanted, 1 registered`,
	},
	"deadline before a member is known": {
		ending{reason: dispatch.ReasonDeadline, cause: context.DeadlineExceeded}, `deadline exceeded`,
	},
	"stalled": {
		ending{reason: dispatch.ReasonStalled, cause: dispatch.ErrStalled, members: ends{answered("site-1"), have(dispatch.StateCanceled, dispatch.ErrStalled, "site-2", "site-3")}},
		`stalled: 2 of 3 members did not answer: site-2, site-3 unfinished`,
	},
	"failed fast": {
		ending{reason: dispatch.ReasonFailedFast, cause: dispatch.ErrFailFast, members: ends{answered("site-1"), failed("site-2", errProbe), have(dispatch.StateCanceled, dispatch.ErrFailFast, "site-3")}},
		`failed fast (1 member unfinished): site-2 failed: probe is open`,
	},
	"closed": {
		ending{reason: dispatch.ReasonClosed, cause: dispatch.ErrClosed, members: ends{answered("site-1"), have(dispatch.StateCanceled, dispatch.ErrClosed, "site-2", "site-3")}},
		`closed (2 members unfinished)`,
	},
	"no producers": {
		ending{reason: dispatch.ReasonNoProducers, cause: dispatch.ErrNoProducers}, `no producers`,
	},
	"First, no producers": {
		ending{reason: dispatch.ReasonNoProducers, first: true, cause: dispatch.ErrNoProducers}, `no producers`,
	},
	"under way": {
		ending{members: ends{answered("site-1"), failed("site-2", errProbe), have(dispatch.StatePending, nil, "site-3")}},
		`pending (1 member unfinished): site-2 failed: probe is open`,
	},

	// What members may end with.
	"all replicas of a group failed": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{answered("site-1"), failed("g", groupOf(failed("a", errors.New("x")), failed("b", errors.New("y"))))}},
		`1 of 2 members did not answer: g failed: no replica answered: a failed: x; b failed: y`,
	},
	"replicas ended in different ways": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{failed("g", groupOf(declined("a"), failed("b", errProbe), have(dispatch.StateGone, dispatch.ErrRemoved, "c")))}},
		`no member answered: g failed: no replica answered: 1 declined, b failed: probe is open; c gone: removed`,
	},
	"rejected: queue full": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{have(dispatch.StateRejected, fmt.Errorf("%w: 8 waiting already", dispatch.ErrQueueFull), "site-1")}},
		`no member answered: site-1 rejected: queue full: 8 waiting already`,
	},
	"rejected: stuck": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{have(dispatch.StateRejected, fmt.Errorf("%w: 64 runs have outlived their calls", dispatch.ErrStuck), "site-1")}},
		`no member answered: site-1 rejected: producer stuck: 64 runs have outlived their calls`,
	},
	"gone: removed": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{have(dispatch.StateGone, dispatch.ErrRemoved, "site-1")}},
		`no member answered: site-1 gone: removed`,
	},
	"gone: a node": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{have(dispatch.StateGone, fmt.Errorf("%w: cell-2: not heard of for 3s", dispatch.ErrGone), "cell-2/oven")}},
		`no member answered: cell-2/oven gone: cell-2: not heard of for 3s`,
	},
	"gone, and no more is known": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{have(dispatch.StateGone, dispatch.ErrGone, "cell-2/oven")}},
		`no member answered: cell-2/oven gone`,
	},
	"unreachable": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{failed("cell-9/*", fmt.Errorf("%w: cell-9 has not accepted the request", dispatch.ErrUnreachable))}},
		`no member answered: cell-9/* failed: unreachable: cell-9 has not accepted the request`,
	},
	"lost": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{failed("far/a", fmt.Errorf("%w: relay r returned", dispatch.ErrLost))}},
		`no member answered: far/a failed: lost: relay r returned`,
	},
	"a panic": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{have(dispatch.StatePanicked, &dispatch.PanicError{Value: "no reference", Stack: []byte("stack")}, "site-1")}},
		`no member answered: site-1 panicked: no reference`,
	},
	"Goexit": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{failed("site-1", dispatch.ErrGoexit)}},
		`no member answered: site-1 failed: producer called runtime.Goexit`,
	},
	"a nested call's error": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{failed("site-1", inner(failed("shelf", errProbe), answered("cellar")))}},
		`no member answered: site-1 failed: cell.stock: 1 of 2 members did not answer: shelf failed: probe is open`,
	},
	"a nested call's error, wrapped": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{failed("site-1", fmt.Errorf("asking (%w): %w", dispatch.ErrNoResult, inner(failed("shelf", errProbe))))}},
		`no member answered: site-1 failed: asking (no result): cell.stock: no member answered: shelf failed: probe is open`,
	},
	"joined errors": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{failed("site-1", errors.Join(errProbe, dispatch.ErrTooDeep))}},
		`no member answered: site-1 failed: probe is open\ncalls nested too deep`,
	},
	"an error of a package whose name ends alike": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{failed("site-1", errors.New("natsdispatch: too large"))}},
		`no member answered: site-1 failed: natsdispatch: too large`,
	},
	"a member's error with a newline": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{failed("site-1", errors.New("404 page not found\n\x1b[2J\xff\u2028 \"é\" C:\\x"))}},
		`no member answered: site-1 failed: 404 page not found\n\x1b[2J\xff\u2028 "é" C:\x`,
	},
	"a member's error in another encoding": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{failed("site-1", errors.New("caf\xe9"))}},
		`no member answered: site-1 failed: caf\xe9`,
	},
	"a name with a newline": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{failed("site\n1", errProbe), unknown("site\n9")}},
		`no member answered: site\n1 failed: probe is open; no producer named "site\n9"`,
	},
	"an error that panics": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{failed("site-1", (*fs.PathError)(nil))}},
		`no member answered: site-1 failed: <nil>`,
	},

	// Many members.
	"ten fail": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{have(dispatch.StateFailed, errProbe, numbered(10)...)}},
		`no member answered: site-1, site-2, site-3, site-4, site-5, site-6, site-7, site-8, site-9, site-10 failed: probe is open`,
	},
	"500 fail alike": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{have(dispatch.StateFailed, errProbe, numbered(500)...)}},
		`no member answered: site-1, site-2, site-3, site-4, site-5, site-6, site-7, site-8, site-9, site-10 and 490 more failed: probe is open`,
	},
	"500 fail, each for itself": {
		ending{reason: dispatch.ReasonAllEnded, members: each(500)},
		`no member answered: site-1 failed: 1; site-2 failed: 2; site-3 failed: 3; site-4 failed: 4; site-5 failed: 5; ` +
			`site-6 failed: 6; site-7 failed: 7; site-8 failed: 8; site-9 failed: 9; site-10 failed: 10; and 490 more`,
	},
	"500 are late, one fails": {
		ending{reason: dispatch.ReasonDeadline, cause: context.DeadlineExceeded, members: ends{have(dispatch.StateLate, context.DeadlineExceeded, numbered(500)...), failed("last", errProbe)}},
		`deadline exceeded: no member answered: last failed: probe is open; site-1, site-2, site-3, site-4, site-5, site-6, site-7, site-8, site-9 and 491 more late`,
	},
	"12 typos": {
		ending{reason: dispatch.ReasonAllEnded, members: ends{unknown(numbered(12)...)}},
		`no producer named "site-1", "site-2", "site-3", "site-4", "site-5", "site-6", "site-7", "site-8", "site-9", "site-10" and 2 more`,
	},
	"1,000 canceled": {
		ending{reason: dispatch.ReasonCanceled, cause: errUser, members: ends{have(dispatch.StateCanceled, errUser, numbered(1000)...)}},
		`canceled: user pressed stop (1000 members unfinished)`,
	},
}

// each makes n members that fail with errors of their own.
func each(n int) (all ends) {
	for i, name := range numbered(n) {
		all = append(all, failed(name, fmt.Errorf("%d", i+1)))
	}
	return all
}

// groupOf is the error of a group whose replicas ended so.
func groupOf(members ...[]dispatch.Outcome) error {
	r := ending{reason: dispatch.ReasonQuorumLost, cause: dispatch.ErrQuorumLost, quorum: 1, members: members}.report()
	for i := range r.Outcomes {
		r.Outcomes[i].Member.Group = "g"
	}
	return dispatch.GroupError(r)
}

func TestErrorTexts(t *testing.T) {
	for name, test := range texts {
		t.Run(name, func(t *testing.T) {
			err := test.err()
			if err == nil {
				t.Fatal("no error")
			}
			got, want := err.Error(), "dispatch: cell.measure: "+test.want
			if got != want {
				t.Errorf("it says\n\t%s\nwant\n\t%s", got, want)
			}
			if strings.Contains(got, "complete") || strings.Count(got, " dispatch: ") > 0 {
				t.Errorf("%q has a word that is wrong", got)
			}
			wraps(t, test.report(), err)
		})
	}
}

// The error of a group wraps those of its replicas and nothing else.
func TestGroupErrorWrapsOnlyReplicas(t *testing.T) {
	if err := groupOf(failed("a", errProbe)); errors.Is(err, dispatch.ErrQuorumLost) || !errors.Is(err, errProbe) {
		t.Errorf("%v leads to %v", err, dispatch.ErrQuorumLost)
	}
}

// wraps checks that the error leads to those of the members, whatever it says of them.
func wraps(t *testing.T, r dispatch.Report, err error) {
	t.Helper()
	for _, o := range r.Outcomes {
		if o.Err != nil && o.State != dispatch.StateDeclined && !errors.Is(err, o.Err) {
			t.Errorf("it does not lead to the error of %v: %v", o.Member, o.Err)
		}
	}
}

func TestErrorTextsAreBounded(t *testing.T) {
	long := strings.Repeat("ü", 1<<20)
	cut := strings.Repeat("ü", 510) + "…"
	recursion := errProbe
	for range 64 {
		recursion = inner(failed("self", recursion))
	}
	var longNames []string
	for i := range 20 {
		longNames = append(longNames, fmt.Sprint(long, i))
	}
	var longTexts ends
	for i, name := range longNames {
		longTexts = append(longTexts, failed(name, errors.New(fmt.Sprint(i, strings.Repeat("\n", 1<<12)))))
	}
	for name, test := range map[string]struct {
		ending
		most int
		has  string
	}{
		"a long error":                {ending{reason: dispatch.ReasonAllEnded, members: ends{failed("site-1", errors.New(long))}}, 1100, "site-1 failed: " + cut},
		"a long cause":                {ending{reason: dispatch.ReasonCanceled, cause: errors.New("x" + long), members: ends{have(dispatch.StateCanceled, errUser, "a")}}, 1100, "canceled: x" + cut + " (1 member"},
		"recursion 64 deep":           {ending{reason: dispatch.ReasonAllEnded, members: ends{failed("self", recursion)}}, 2048, "self failed: cell.stock: no member answered: self failed: cell.stock: "},
		"long names with long errors": {ending{reason: dispatch.ReasonAllEnded, members: longTexts}, 16 << 10, "and 10 more"},
		"nothing but our name":        {ending{reason: dispatch.ReasonAllEnded, members: ends{failed("a", errors.New(strings.Repeat("; dispatch: x", 1<<16)))}}, 1100, "…"},
	} {
		t.Run(name, func(t *testing.T) {
			got := test.err().Error()
			if len(got) > test.most || !utf8.ValidString(got) || !strings.Contains(got, test.has) || strings.Contains(got, "\n") {
				t.Errorf("it has %d bytes, at most %d wanted; want %q in %.2000q", len(got), test.most, test.has, got)
			}
			wraps(t, test.report(), test.err())
		})
	}
}

func TestFirstErrIsNeverNil(t *testing.T) {
	for name, test := range map[string]struct {
		ending
		is error
	}{
		"satisfied by a stream without a result": {ending{reason: dispatch.ReasonSatisfied, cause: dispatch.ErrSatisfied, members: ends{answered("stream"), failed("b", errProbe)}}, dispatch.ErrNoResult},
		"all ended without a result":             {ending{reason: dispatch.ReasonAllEnded, members: ends{answered("stream"), declined("b")}}, dispatch.ErrNoResult},
		"there were no producers":                {ending{reason: dispatch.ReasonNoProducers, cause: dispatch.ErrNoProducers}, dispatch.ErrNoProducers},
	} {
		if err := dispatch.FirstErr(test.report()); !errors.Is(err, test.is) {
			t.Errorf("%s: %v, want %v", name, err, test.is)
		}
	}
	err := dispatch.FirstErr(ending{reason: dispatch.ReasonAllEnded, members: ends{declined("a")}}.report())
	if partial := (*dispatch.PartialError)(nil); !errors.As(err, &partial) || partial.ErrorType() != "partial" || errors.Is(err, dispatch.ErrDecline) {
		t.Errorf("after declines alone: %v", err)
	}
}

func TestMemberErrorText(t *testing.T) {
	m := dispatch.Member{Node: "cell-7", Name: "site-1"}
	for want, err := range map[string]*dispatch.MemberError{
		"cell-7/site-1 failed: probe is open":               {Member: m, State: dispatch.StateFailed, Err: errProbe},
		"cell-7/site-1 canceled: user pressed stop":         {Member: m, State: dispatch.StateCanceled, Err: errUser},
		"cell-7/site-1 canceled: satisfied":                 {Member: m, State: dispatch.StateCanceled, Err: dispatch.ErrSatisfied},
		"cell-7/site-1 late":                                {Member: m, State: dispatch.StateLate, Err: context.DeadlineExceeded},
		"cell-7/site-1 declined":                            {Member: m, State: dispatch.StateDeclined, Err: dispatch.ErrDecline},
		`no producer named "cell-7/site-1"`:                 {Member: m, State: dispatch.StateGone, Err: dispatch.ErrUnknownMember},
		`cell-7/site-1 failed: unknown member: "elsewhere"`: {Member: m, State: dispatch.StateFailed, Err: fmt.Errorf("%w: %q", dispatch.ErrUnknownMember, "elsewhere")},
	} {
		if got := err.Error(); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
}

func TestShutdownErrorNamesTenOfEachKind(t *testing.T) {
	err := &dispatch.ShutdownError{Err: context.DeadlineExceeded}
	if got, want := err.Error(), "dispatch: shutdown: context deadline exceeded; still running"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	err.Calls = []dispatch.CallInfo{{ID: 7, Topic: "cell.measure"}}
	err.Listeners = []string{"screen\n"}
	for _, name := range numbered(12) {
		err.Producers = append(err.Producers, dispatch.Member{Name: name})
	}
	if got, want := err.Error(), "dispatch: shutdown: context deadline exceeded; still running: call 7 of cell.measure, "+
		"producer site-1, producer site-2, producer site-3, producer site-4, producer site-5, producer site-6, producer site-7, "+
		`producer site-8, producer site-9, producer site-10 and 2 more, listener screen\n`; got != want {
		t.Errorf("it says\n\t%s\nwant\n\t%s", got, want)
	}
}

func TestShutdownErrorNamesAProducerOnce(t *testing.T) {
	deaf, other := dispatch.Member{Name: "deaf"}, dispatch.Member{Group: "g", Name: "deaf"}
	err := &dispatch.ShutdownError{Err: context.Canceled, Producers: slices.Repeat([]dispatch.Member{deaf}, 64)}
	err.Producers = append(err.Producers, other, deaf)
	if got, want := err.Error(), "dispatch: shutdown: context canceled; still running: producer deaf (65 runs), producer g/deaf"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}

// The texts of calls on a bus, which have passed through the engine.
func TestErrorTextsOfCalls(t *testing.T) {
	gather := func(opts ...dispatch.CallOption) func(*testing.T, *dispatcher) error {
		return func(t *testing.T, d *dispatcher) error {
			_, err := d.Gather(t.Context(), ask, 0, opts...)
			return err
		}
	}
	first := func(t *testing.T, d *dispatcher) error {
		_, err := d.First(t.Context(), ask, 0)
		return err
	}
	all := func(n int, p producer, opts ...dispatch.ProducerOption) func(*testing.T, *dispatcher) {
		return func(t *testing.T, d *dispatcher) {
			for _, name := range numbered(n) {
				produce(t, d, name, p, opts...)
			}
		}
	}
	for name, test := range map[string]struct {
		with func(*testing.T, *dispatcher)
		call func(*testing.T, *dispatcher) error
		want string // nothing to ask for the length alone
		most int
	}{
		"one member failed": {
			with: func(t *testing.T, d *dispatcher) {
				produce(t, d, "site-1", quick(1))
				produce(t, d, "site-2", failing(errProbe))
			},
			call: gather(), want: "dispatch: kit.ask: 1 of 2 members did not answer: site-2 failed: probe is open",
		},
		"typo in WithTargets":       {all(2, quick(1)), gather(dispatch.WithTargets("site-1", "site-9")), `dispatch: kit.ask: no producer named "site-9"`, 0},
		"WithQuorum(30), 4 members": {all(4, quick(1)), gather(dispatch.WithQuorum(30)), "dispatch: kit.ask: quorum of 30 is impossible with 4 members", 0},
		"quorum lost":               {all(3, failing(errProbe)), gather(dispatch.WithQuorum(3), dispatch.WithParallelism(1)), "dispatch: kit.ask: quorum of 3 lost: 0 of 3 members answered (2 members unfinished): site-1 failed: probe is open", 0},
		"First, all decline":        {all(2, failing(dispatch.ErrDecline)), first, "dispatch: kit.ask: no member answered: 2 declined", 0},
		"First, all fail":           {all(2, failing(errProbe)), first, "dispatch: kit.ask: no member answered: site-1, site-2 failed: probe is open", 0},
		"group, all fail": {
			with: func(t *testing.T, d *dispatcher) {
				produce(t, d, "a", failing(errors.New("x")), dispatch.WithGroup("g"))
				produce(t, d, "b", failing(errors.New("y")), dispatch.WithGroup("g"))
			},
			call: gather(), want: "dispatch: kit.ask: no member answered: g failed: no replica answered: a failed: x; b failed: y",
		},
		"canceled, 1,000 members": {
			with: all(1000, patient),
			call: func(t *testing.T, d *dispatcher) error {
				c := send(t, d)
				c.Cancel(errUser)
				return c.Report().Err()
			},
			want: "dispatch: kit.ask: canceled: user pressed stop (1000 members unfinished)",
		},
		"recursion": {
			with: func(t *testing.T, d *dispatcher) {
				produce(t, d, "self", func(ctx context.Context, _ int) (int, error) { return d.First(ctx, ask, 0) })
			},
			call: gather(), most: 2048,
		},
		"Gather of the zero Topic": {
			call: func(t *testing.T, d *dispatcher) error {
				_, err := d.Gather(t.Context(), dispatch.Topic[int, int]{}, 0)
				return err
			},
			want: "dispatch: invalid argument: Gather: zero Topic",
		},
		"First without a context": {
			call: func(_ *testing.T, d *dispatcher) error {
				_, err := d.First(nil, ask, 0) //lint:ignore SA1012 it is what the test is about
				return err
			},
			want: "dispatch: invalid argument: First: nil context",
		},
		"a member's error with a newline": {all(1, failing(errors.New("404 page not found\n"))), gather(), `dispatch: kit.ask: no member answered: site-1 failed: 404 page not found\n`, 0},
		"deadline":                        {all(2, patient), gather(), "dispatch: kit.ask: deadline exceeded: no member answered: site-1, site-2 late", 0},
		"stalled":                         {func(t *testing.T, d *dispatcher) { produce(t, d, "a", quick(1)); produce(t, d, "b", patient) }, gather(dispatch.WithStall(time.Millisecond)), "dispatch: kit.ask: stalled: 1 of 2 members did not answer: b unfinished", 0},
		"failed fast":                     {func(t *testing.T, d *dispatcher) { produce(t, d, "a", failing(errProbe)); produce(t, d, "b", patient) }, gather(dispatch.WithFailFast()), "dispatch: kit.ask: failed fast (1 member unfinished): a failed: probe is open", 0},
		"too few producers":               {all(1, quick(1)), gather(dispatch.WithMinProducers(3)), "dispatch: kit.ask: deadline exceeded: too few producers: 3 wanted, 1 registered", 0},
		"no producers":                    {nil, gather(), "dispatch: kit.ask: no producers", 0},
		"a panic":                         {all(1, panicking("no reference")), gather(), "dispatch: kit.ask: no member answered: site-1 panicked: no reference", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
				if test.with != nil {
					test.with(t, d)
				}
				err := test.call(t, d)
				if err == nil {
					t.Fatal("no error")
				}
				if got := err.Error(); test.want != "" && got != test.want || test.most > 0 && len(got) > test.most {
					t.Errorf("it says, in %d bytes,\n\t%s\nwant\n\t%s", len(got), got, test.want)
				}
			})
		})
	}
}

// An error is what a sentinel says only along single links: what is in one of several
// branches, or in the error of another call, has happened to others.
func TestStatesFollowSingleLinks(t *testing.T) {
	sentinels := map[string]error{
		"declined": dispatch.ErrDecline, "gone": dispatch.ErrGone, "rejected": dispatch.ErrOverloaded, "panicked": &dispatch.PanicError{Value: 1},
	}
	wrapped := map[string]struct {
		wrap   func(error) error
		counts bool
	}{
		"itself":                  {func(err error) error { return err }, true},
		"wrapped":                 {func(err error) error { return fmt.Errorf("site: %w", err) }, true},
		"wrapped twice":           {func(err error) error { return fmt.Errorf("cell: %w", fmt.Errorf("site: %w", err)) }, true},
		"with words behind":       {func(err error) error { return fmt.Errorf("%w: %v", err, errProbe) }, true},
		"joined":                  {func(err error) error { return errors.Join(err, errProbe) }, false},
		"joined with itself":      {func(err error) error { return errors.Join(err) }, false},
		"one of two that wrap":    {func(err error) error { return fmt.Errorf("%w: %w", err, errProbe) }, false},
		"joined, and wrapped":     {func(err error) error { return fmt.Errorf("site: %w", errors.Join(errProbe, err)) }, false},
		"of a nested call":        {func(err error) error { return inner(failed("shelf", err)) }, false},
		"of a nested call's call": {func(err error) error { return fmt.Errorf("site: %w", inner(failed("shelf", inner(failed("x", err))))) }, false},
		"of a member":             {func(err error) error { return &dispatch.MemberError{State: dispatch.StateFailed, Err: err} }, false},
		"of a replica":            {func(err error) error { return fmt.Errorf("site: %w", groupOf(failed("a", err))) }, false},
		"claimed by a method":     {func(err error) error { return anyOf{err} }, false},
	}
	for what, sentinel := range sentinels {
		for how, test := range wrapped {
			err := test.wrap(sentinel)
			if _, panics := sentinel.(*dispatch.PanicError); !panics {
				if got := dispatch.Is(err, sentinel); got != test.counts {
					t.Errorf("%s, %s: is = %v", what, how, got)
				}
			}
			want := map[bool]string{true: what, false: "failed"}
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
					to.Name(far("a"))
					to.End(far("a"), err)
					return nil
				})
				produce(t, d, "p", failing(err))
				expect(t, ended(t, d), fmt.Sprintf("all ended: p %s, far/a %s", want[test.counts && what == "declined"], want[test.counts]))
			})
			if t.Failed() {
				t.Fatalf("%s, %s", what, how)
			}
		}
	}
	if dispatch.Is(&dispatch.PanicError{Value: dispatch.ErrDecline}, dispatch.ErrDecline) {
		t.Error("a panic counts as a decline")
	}
	if dispatch.Is(nil, dispatch.ErrDecline) {
		t.Error("no error counts as a decline")
	}
}

// anyOf is a list of errors as they were made before errors.Join.
type anyOf []error

func (a anyOf) Error() string { return fmt.Sprint([]error(a)) }
func (a anyOf) Is(target error) bool {
	return slices.ContainsFunc(a, func(err error) bool { return errors.Is(err, target) })
}

func TestACauseKeepsItsKind(t *testing.T) {
	own := dispatch.WithKind(errPage, context.DeadlineExceeded)
	if own.Error() != errPage.Error() || !errors.Is(own, errPage) || !errors.Is(own, context.DeadlineExceeded) || errors.Is(own, context.Canceled) {
		t.Errorf("%v is not both", own)
	}
	told := fmt.Errorf("too slow: %w", context.DeadlineExceeded)
	for _, test := range []struct{ cause, kind, want error }{
		{nil, context.Canceled, context.Canceled},
		{context.DeadlineExceeded, context.DeadlineExceeded, context.DeadlineExceeded},
		{told, context.DeadlineExceeded, told},
	} {
		if got := dispatch.WithKind(test.cause, test.kind); got != test.want {
			t.Errorf("%v as %v is %#v", test.cause, test.kind, got)
		}
	}
	r := ending{reason: dispatch.ReasonDeadline, cause: own, members: ends{have(dispatch.StateLate, own, "a")}}.report()
	if err := r.Err(); !errors.Is(err, errPage) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v does not lead to both", err)
	}
}

func TestErrorTypes(t *testing.T) {
	typeOf := func(err error) string {
		var typed interface{ ErrorType() string }
		if !errors.As(err, &typed) {
			return ""
		}
		return typed.ErrorType()
	}
	all := map[string]string{}
	for want, err := range map[string]error{
		"invalid_option": dispatch.ErrInvalidOption, "invalid_topic": dispatch.ErrInvalidTopic, "topic_type": dispatch.ErrTopicType,
		"invalid_argument": dispatch.ErrInvalidArgument, "duplicate": dispatch.ErrDuplicate, "closed": dispatch.ErrClosed,
		"no_producers": dispatch.ErrNoProducers, "quorum_lost": dispatch.ErrQuorumLost, "satisfied": dispatch.ErrSatisfied,
		"fail_fast": dispatch.ErrFailFast, "stalled": dispatch.ErrStalled, "stuck": dispatch.ErrStuck,
		"too_few_producers": dispatch.ErrTooFewProducers, "unknown_member": dispatch.ErrUnknownMember,
		"unreachable": dispatch.ErrUnreachable, "incompatible": dispatch.ErrIncompatible, "lost": dispatch.ErrLost,
		"gone": dispatch.ErrGone, "overloaded": dispatch.ErrOverloaded, "queue_full": dispatch.ErrQueueFull,
		"no_result": dispatch.ErrNoResult, "removed": dispatch.ErrRemoved, "declined": dispatch.ErrDecline,
		"too_deep": dispatch.ErrTooDeep, "goexit": dispatch.ErrGoexit, "stream_used": dispatch.ErrStreamUsed,
		"panic": &dispatch.PanicError{Value: 1}, "shutdown": &dispatch.ShutdownError{Err: context.Canceled},
	} {
		if got := typeOf(fmt.Errorf("here: %w", err)); got != want || all[got] != "" {
			t.Errorf("the type of %v is %q, want %q", err, got, want)
		}
		all[want] = err.Error()
	}

	for _, test := range []struct {
		state dispatch.State
		err   error
		want  string
	}{
		{dispatch.StateFailed, errBroken, "failed"},
		{dispatch.StateFailed, fmt.Errorf("x: %w", dispatch.ErrLost), "lost"},
		{dispatch.StateLate, context.DeadlineExceeded, "timeout"},
		{dispatch.StateCanceled, context.Canceled, "canceled"},
		{dispatch.StateCanceled, dispatch.ErrSatisfied, "satisfied"},
		{dispatch.StatePanicked, &dispatch.PanicError{Value: 1}, "panic"},
		{dispatch.StateLate, dispatch.WithKind(errPage, context.DeadlineExceeded), "timeout"},
		{dispatch.StateCanceled, dispatch.WithKind(errUser, context.Canceled), "canceled"},
		{dispatch.StateCanceled, dispatch.WithKind(dispatch.ErrStalled, context.Canceled), "stalled"},
	} {
		if got := typeOf(&dispatch.MemberError{State: test.state, Err: test.err}); got != test.want {
			t.Errorf("the type of a member that is %v with %v is %q, want %q", test.state, test.err, got, test.want)
		}
	}

	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		want := func(want string, opts ...dispatch.CallOption) {
			t.Helper()
			_, err := d.Gather(t.Context(), ask, 0, opts...)
			if got := typeOf(err); got != want {
				t.Errorf("the type of %v is %q, want %q", err, got, want)
			}
		}
		want("no_producers")
		want("too_few_producers", dispatch.WithMinProducers(2))
		broken := produce(t, d, "broken", failing(errBroken))
		want("partial")
		if _, err := d.First(t.Context(), ask, 0); typeOf(err) != "partial" {
			t.Errorf("the type of %v is %q, want partial", err, typeOf(err))
		}
		want("quorum_lost", dispatch.WithQuorum(1))
		want("fail_fast", dispatch.WithFailFast())
		broken.Remove()
		produce(t, d, "slow", slow(time.Hour, 1))
		want("timeout")
		c := send(t, d)
		c.Cancel(nil)
		for name, p := range map[string]producer{"panic": panicking(1), "failed": failing(errBroken)} {
			produce(t, d, name, p, dispatch.WithGroup(name))
			produce(t, d, name+" as well", p, dispatch.WithGroup(name))
			produce(t, d, name+" in both", p, dispatch.WithGroup("both"))
		}
		groups := send(t, d, dispatch.WithTargets("panic", "failed", "both")).Outcomes()
		for o := range groups {
			want := map[string]string{"panic": "panic", "failed": "failed", "both": "partial"}[o.Member.Group]
			if got := typeOf(&dispatch.MemberError{Member: o.Member, State: o.State, Err: o.Err}); got != want {
				t.Errorf("the type of %v is %q, want %q", o.Err, got, want)
			}
		}
		if got := typeOf(c.Report().Err()); got != "canceled" {
			t.Errorf("the type of %v is %q, want canceled", c.Report().Err(), got)
		}
	})
}

// A caller may cancel a call for the reason for which a member has failed.
func TestACauseIsPrintedOnceIfAMemberFailedWithIt(t *testing.T) {
	bubble(t, "of a member", func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", failing(errors.New("probe is open")))
		produce(t, d, "b", patient)
		c := send(t, d)
		for o := range c.Outcomes() {
			if o.Err != nil {
				c.Cancel(o.Err)
			}
		}
		if text := c.Report().Err().Error(); strings.Count(text, "probe is open") != 1 {
			t.Errorf("the cause is not there once: %s", text)
		}
	})
}

// rude is an error whose methods panic, except for its text.
type rude struct{ error }

func (rude) Is(error) bool     { panic("Is") }
func (rude) As(any) bool       { panic("As") }
func (r rude) Unwrap() error   { return r.error }
func (rude) ErrorType() string { panic("ErrorType") }

func TestTextsAndTypesOfErrorsSurviveMethodsThatPanic(t *testing.T) {
	bubble(t, "member", func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", failing(rude{errBroken}))
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			to.Name(far("a"))
			to.End(far("a"), rude{dispatch.ErrGone})
			return nil
		})
		r := ended(t, d)
		expect(t, r, "all ended: a failed, far/a gone")
		if text := r.Err().Error(); !strings.Contains(text, "far/a gone") {
			t.Error(text)
		}
		for _, err := range r.Err().(*dispatch.PartialError).Unwrap() {
			member := err.(*dispatch.MemberError)
			equal(t, "type", member.ErrorType(), member.State.String())
		}
	})
	bubble(t, "call", func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", patient)
		c := send(t, d)
		c.Cancel(rude{errBroken})
		equal(t, "type", c.Report().Err().(*dispatch.PartialError).ErrorType(), "canceled")
	})
}
