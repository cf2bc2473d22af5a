package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

const (
	// A good die exceeds neither.
	maxLeakage Amperes = 11e-9
	maxRipple  Volts   = 50e-3
)

// site tests one die of each touchdown.
type site struct {
	number  int
	temper  temper
	volts   *dispatch.Dispatcher[Die, Volts]
	amperes *dispatch.Dispatcher[Die, Amperes]
}

// addSites registers the sites of a cell. A site is one piece of hardware and can do one thing
// at a time. A run that has not had its turn when the call ends is never started.
func addSites(bus *dispatch.Bus) (names []string, err error) {
	verdicts := dispatch.On[Touchdown, Verdict](bus)
	for i, temper := range []temper{good, good, slow, flaky, hanging} {
		s := &site{i + 1, temper, dispatch.On[Die, Volts](bus), dispatch.On[Die, Amperes](bus)}
		name := fmt.Sprintf("site-%d", s.number)
		if _, err := verdicts.AddProducer(testDies, s.test, dispatch.WithName(name), dispatch.WithConcurrency(1)); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// test tests the die that the site has at a touchdown. It asks instruments with calls that get
// its context, so that they end no later than its own call.
func (s *site) test(ctx context.Context, t Touchdown) (Verdict, error) {
	die := Die{t, s.number}
	if die.beyondTheEdge() {
		return Verdict{}, fmt.Errorf("%w: no die here", dispatch.ErrDecline)
	}
	if err := wait(ctx, die.contactTakes()); err != nil {
		return Verdict{}, err
	}
	if err := s.temper(ctx, die); err != nil {
		return Verdict{}, err
	}
	bin, err := s.bin(ctx, die)
	return Verdict{die, bin}, err
}

// bin measures the die until its bin is determined.
func (s *site) bin(ctx context.Context, die Die) (Bin, error) {
	_, err := s.volts.First(ctx, forceVoltage, die)
	if errors.Is(err, errOverCurrent) {
		return BinShort, nil // errors.Is finds the error of an instrument in the error of the call
	}
	if err != nil {
		return 0, err
	}
	leakage, err := s.amperes.First(ctx, measureLeakage, die)
	if err != nil {
		return 0, err
	}
	if leakage > maxLeakage {
		return BinLeakage, nil
	}
	for sample, err := range s.volts.Stream(ctx, captureRipple, die) {
		if err != nil {
			return 0, err
		}
		if sample.Value > maxRipple {
			return BinRipple, nil // leaving the loop cancels the call
		}
	}
	return BinPass, nil
}

// A wafer is round: at the first touchdown the first site has no die under its needles, and
// at the last touchdown the fourth site has none.
func (d Die) beyondTheEdge() bool {
	return d.Site == 1 && d.At.Number == 1 || d.Site == 4 && d.At.Number == touchdowns
}

// temper is the fault of a site. It is called when the needles have been lowered.
type temper func(context.Context, Die) error

func good(context.Context, Die) error { return nil }

// slow has to lower its needles a second time.
func slow(ctx context.Context, _ Die) error { return wait(ctx, 600*time.Millisecond) }

// flaky has a worn needle, and a driver that panics without contact.
func flaky(_ context.Context, d Die) error {
	switch c := chance(d, "contact"); {
	case c < 0.06:
		var reply []byte // the driver got none
		_ = reply[0]
	case c < 0.25:
		return errors.New("needle 17 has no contact")
	}
	return nil
}

// hangs is the time for which a driver may wait for its hardware.
const hangs = 2600 * time.Millisecond

// hanging has a driver that sometimes waits for its hardware and ignores its context. The
// touchdown goes on without it.
func hanging(ctx context.Context, d Die) error {
	if chance(d, "hang") < 0.12 {
		time.Sleep(hangs)
	}
	return context.Cause(ctx) // nil if the call has not ended
}
