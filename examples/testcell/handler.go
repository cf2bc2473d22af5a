package main

import (
	"context"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A wafer of the cell is small, so that the handler changes it often.
const (
	touchdowns    = 8
	wafersInALot  = 25
	loadingTakes  = 600 * time.Millisecond
	steppingTakes = 500 * time.Millisecond
)

// addHandler registers the producer that brings the wafers.
func addHandler(bus *dispatch.Bus) error {
	_, err := dispatch.On[Wafer, WaferMap](bus).AddProducer(loadWafer, func(ctx context.Context, w Wafer) (WaferMap, error) {
		return WaferMap{touchdowns}, wait(ctx, loadingTakes)
	}, dispatch.WithName("handler"), dispatch.WithConcurrency(1))
	return err
}

// produce tests one lot after the other until ctx ends. It finishes a touchdown that has
// begun, because the needles must not leave a die in the middle of its test.
func produce(ctx context.Context, bus *dispatch.Bus) error {
	for lot := 1; ; lot++ {
		for number := range wafersInALot {
			if err := testWafer(ctx, bus, Wafer{lot, number + 1}); err != nil || ctx.Err() != nil {
				return err
			}
		}
	}
}

// testWafer tests one wafer, or as much of it as there is time for.
func testWafer(ctx context.Context, bus *dispatch.Bus, w Wafer) error {
	unhurried := context.WithoutCancel(ctx)
	layout, err := dispatch.On[Wafer, WaferMap](bus).First(unhurried, loadWafer, w)
	if err != nil {
		return err
	}
	cell := dispatch.On[Touchdown, Verdict](bus)
	for i := range layout.Touchdowns {
		if wait(ctx, steppingTakes) != nil {
			return nil
		}
		// The next touchdown follows even if sites fail. The listeners binning and logbook
		// get the verdicts, so the handler ignores them.
		call, err := cell.Send(unhurried, testDies, Touchdown{w, i + 1})
		if err != nil {
			return err
		}
		if err := call.Wait(unhurried); err != nil {
			return err
		}
	}
	return nil
}
