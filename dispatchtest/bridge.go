package dispatchtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/seed-bb4b4d74/dispatch"
)

// Bridge returns a relay to the same topics on another bus of this process. The members of
// calls on far become members of the node in calls on this bus. They keep their own names; a
// group has no name of a replica. Bridge is an example of a relay, and replaces a relay that
// needs a network:
//
//	near.AddRelay(measure, dispatchtest.Bridge(far, "cell-7"))
//
// Calls on far have the deadline of the call and the policies of far's bus; they do not use
// the defaults of the topic on this side. Members that relays of far name keep the node that
// they have there. Bridge names them when the next result arrives or the next member ends. A
// member that far's call cancels, for example because far's bus has a quorum, is Failed on this
// side, with the cause. Each result and each end costs a check of all members; this is fine for
// a test, but too slow for thousands of members.
// Two buses that are bridged in both directions ask each other until calls are nested too
// deep.
func Bridge[Req, Res any](far *dispatch.Dispatcher[Req, Res], node string) dispatch.Relay[Req, Res] {
	return func(ctx context.Context, req Req, to *dispatch.Roster[Res]) error {
		info, _ := dispatch.CallFrom(ctx)
		topic, err := dispatch.ParseTopic[Req, Res](info.Topic)
		if err != nil {
			return err
		}
		// The context has the deadline. The default timeout of far must not end the call earlier.
		opts := []dispatch.CallOption{dispatch.WithTimeout(math.MaxInt64)}
		targets := targetsOn(node, to.Targets())
		if targets != nil {
			opts = append(opts, dispatch.WithTargets(targets...))
		}
		call, err := far.Send(ctx, topic, req, opts...)
		if errors.Is(err, dispatch.ErrClosed) {
			return endError{dispatch.ErrGone, fmt.Errorf("%s: %w", node, err)}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", node, err)
		}

		unknown := make(map[dispatch.Member]bool) // targets that no producer of far has, but maybe a member of another bus
		for _, name := range targets {
			unknown[dispatch.Member{Name: name}] = !has(far.Bus().Snapshot(), info.Topic, name)
		}

		const ended = -1
		var mu sync.Mutex                      // guards given and late, and keeps the end of a member behind its results
		given := make(map[dispatch.Member]int) // results handed in, of those named so far
		late := false
		lookLocked := func() {
			for _, o := range call.Report().Outcomes {
				if unknown[o.Member] {
					continue
				}
				m := onNode(node, o.Member)
				results, named := given[m]
				if !named {
					given[m] = 0
					to.Name(m)
				}
				switch {
				case o.State == dispatch.StateLate && !errors.Is(o.Err, dispatch.ErrTimeout):
					late = true
				case o.State != dispatch.StatePending && results == o.Results:
					given[m] = ended
					to.End(m, endOf(o))
				}
			}
		}
		look := func() {
			mu.Lock()
			defer mu.Unlock()
			lookLocked()
		}
		look()
		var following sync.WaitGroup
		following.Go(func() {
			for range call.Outcomes() {
				look()
			}
		})
		for r := range call.Results() {
			m := onNode(node, r.From)
			mu.Lock()
			if _, named := given[m]; !named {
				lookLocked()
			}
			given[m]++
			to.Result(m, r.Value)
			lookLocked()
			mu.Unlock()
		}
		following.Wait()
		look()
		if !late {
			return nil
		}
		// The deadline of far may come first. This bus decides which members are late: at its
		// own deadline, or in the grace, if the relay reports these members then.
		<-ctx.Done()
		for m, results := range given {
			if results != ended {
				to.End(m, context.DeadlineExceeded)
			}
		}
		return nil
	}
}

// targetsOn returns the names as they are known on the node itself; nil stands for all of
// its members.
func targetsOn(node string, targets []string) []string {
	names := slices.Clone(targets)
	for i, name := range names {
		here, ok := strings.CutPrefix(name, node+"/")
		switch {
		case ok && here == "*":
			return nil
		case ok:
			names[i] = here
		}
	}
	return names
}

// has reports whether a bus has a producer of this name on the topic. The report says it only
// after the call has found the member.
func has(s dispatch.Snapshot, topic, name string) bool {
	named := func(p dispatch.ProducerSnapshot) bool {
		return dispatch.Member{Group: p.Group, Name: p.Name}.Matches(name)
	}
	return slices.ContainsFunc(s.Patterns.Producers, named) ||
		slices.ContainsFunc(s.Topics, func(t dispatch.TopicSnapshot) bool {
			return t.Name == topic && slices.ContainsFunc(t.Producers, named)
		})
}

// onNode returns the member of this bus for a member of the other bus. For a group it has no
// name: the replica that answers is not known when the group is named.
func onNode(node string, m dispatch.Member) dispatch.Member {
	if m.Node == "" {
		m.Node = node
		if m.Group != "" {
			m.Name = ""
		}
	}
	return m
}

// endOf returns the error from which a roster reads the state of the outcome.
func endOf(o dispatch.Outcome) error {
	group := o.Member.Group != "" && o.Err != nil // its error says nothing about the state
	switch o.State {
	case dispatch.StateDeclined:
		if group {
			return endError{dispatch.ErrDecline, o.Err}
		}
	case dispatch.StatePanicked:
		if group {
			return &dispatch.PanicError{Value: o.Err}
		}
	case dispatch.StateGone:
		return endError{dispatch.ErrGone, o.Err}
	case dispatch.StateRejected:
		return endError{dispatch.ErrOverloaded, o.Err}
	case dispatch.StateLate:
		return endError{dispatch.ErrTimeout, o.Err}
	case dispatch.StateCanceled:
		if errors.Is(o.Err, dispatch.ErrClosed) {
			return endError{dispatch.ErrGone, o.Err}
		}
	case dispatch.StateFailed:
		// The error may wrap one that describes the end of another member. The roster must not
		// read the state from it.
		var panicked *dispatch.PanicError
		for _, other := range []error{dispatch.ErrDecline, dispatch.ErrGone, dispatch.ErrOverloaded, dispatch.ErrTimeout} {
			if errors.Is(o.Err, other) {
				return errors.New(o.Err.Error())
			}
		}
		if errors.As(o.Err, &panicked) {
			return errors.New(o.Err.Error())
		}
	}
	return o.Err
}

// endError is an error from which a roster reads the state. errors.Is and errors.As find in it
// what they find in the error of far.
type endError struct{ state, err error }

func (e endError) Error() string        { return fmt.Sprintf("%v: %v", e.state, e.err) }
func (e endError) Unwrap() error        { return e.state }
func (e endError) Is(target error) bool { return errors.Is(e.err, target) }
func (e endError) As(target any) bool   { return errors.As(e.err, target) }
