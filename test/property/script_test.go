package property

import (
	"context"
	"errors"
	"runtime"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-bb4b4d74/dispatch"
)

// step is what a producer does before it gives a result, or ends.
type step struct {
	delay  time.Duration
	heeds  bool // whether it watches its context
	ending ending
	count  int // results of a stream, or of a member that a relay names
}

// ending is how a step ends.
type ending int

const (
	answers ending = iota
	fails
	panics
	exits
	declines
	isDeaf // it waits for the end of the schedule, and then answers
	leaves // with ErrGone, as relays do
	refuses
	endings
)

// script has the steps of a producer or relay, which it takes for different requests.
type script []step

func (s *schedule) script(label string) script {
	steps := make(script, 3)
	for i := range steps {
		steps[i] = step{
			delay:  s.ticks(0, 10, label+" delay"),
			heeds:  s.chance(2, label+" heeds"),
			ending: rapid.SampledFrom([]ending{answers, answers, answers, answers, fails, panics, exits, declines, isDeaf, leaves, refuses}).Draw(s.T, label),
			count:  s.draw(0, 3, label+" results"),
		}
	}
	return steps
}

// of returns the step for a request. Members that share a script take different steps.
func (sc script) of(req, who int) step { return sc[(req+who)%len(sc)] }

// wait waits as long as the step says.
func (st step) wait(ctx context.Context) error {
	if !st.heeds {
		time.Sleep(st.delay)
		return nil
	}
	timer := time.NewTimer(st.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish ends the step.
func (s *schedule) finish(st step) error {
	switch st.ending {
	case fails:
		return errBroken
	case panics:
		panic(errBroken)
	case exits:
		runtime.Goexit()
	case declines:
		return dispatch.ErrDecline
	case isDeaf:
		<-s.release
	case leaves:
		return dispatch.ErrGone
	case refuses:
		return errors.Join(errBroken, dispatch.ErrOverloaded)
	case answers, endings:
	}
	return nil
}
