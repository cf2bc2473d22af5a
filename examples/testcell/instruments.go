package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// errOverCurrent is the error of the supply for a die with a short circuit.
var errOverCurrent = errors.New("over-current")

const (
	supplySettles    = 40 * time.Millisecond
	meterSettles     = 80 * time.Millisecond
	meterTakesAWhile = 400 * time.Millisecond
	rippleSamples    = 5
	sampleTakes      = 30 * time.Millisecond
)

// addInstruments registers the instruments that the sites of a cell share.
func addInstruments(bus *dispatch.Bus) error {
	volts := dispatch.On[Die, Volts](bus)
	// There is one supply. Its producer is serial, so sites wait for their turn, and
	// do not wait longer than their own deadline.
	if _, err := volts.AddProducer(forceVoltage, supply, dispatch.WithName("supply"), dispatch.WithConcurrency(1)); err != nil {
		return err
	}
	if _, err := volts.AddStreamProducer(captureRipple, digitizer, dispatch.WithName("digitizer")); err != nil {
		return err
	}
	amperes := dispatch.On[Die, Amperes](bus)
	for i := range 3 {
		// The meters are replicas: together they are one member of a call.
		_, err := amperes.AddProducer(measureLeakage, func(ctx context.Context, d Die) (Amperes, error) {
			return measure(ctx, i+1, d)
		}, dispatch.WithName(fmt.Sprintf("meter-%d", i+1)), dispatch.WithGroup("meters"))
		if err != nil {
			return err
		}
	}
	return nil
}

// supply powers a die and returns the resulting voltage.
func supply(ctx context.Context, d Die) (Volts, error) {
	if err := wait(ctx, supplySettles); err != nil {
		return 0, err
	}
	if d.shorted() {
		return 0, fmt.Errorf("supply: %w at site %d", errOverCurrent, d.Site)
	}
	return 1.8, nil
}

// measure is the producer of a meter.
func measure(ctx context.Context, meter int, d Die) (Amperes, error) {
	settles := meterSettles
	if chance(d, fmt.Sprint("meter", meter)) < 0.1 {
		settles = meterTakesAWhile
	}
	if err := wait(ctx, settles); err != nil {
		return 0, err
	}
	return d.leakage(), nil
}

// digitizer yields one sample after the other. It never fails: the caller leaves the loop, or
// the context ends.
func digitizer(ctx context.Context, d Die) iter.Seq2[Volts, error] {
	return func(yield func(Volts, error) bool) {
		for n := range rippleSamples {
			if err := wait(ctx, sampleTakes); err != nil {
				yield(0, err)
				return
			}
			if !yield(d.ripple(n), nil) {
				return
			}
		}
	}
}

// wait waits as long as the hardware would, or returns the cause of ctx if ctx ends first.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
