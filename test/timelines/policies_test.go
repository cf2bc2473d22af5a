package timelines_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// The code of the pages about policies. The documents show what is between the braces.

func timeout(ctx context.Context, cell *dispatcher) ([]float64, error) {
	volts, err := cell.Gather(ctx, measure, "vdd", dispatch.WithTimeout(3*time.Second))
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%d sites have answered in time: %w", len(volts), err)
	}
	return volts, err
}

func quorum(ctx context.Context, cell *dispatcher) ([]float64, error) {
	volts, err := cell.Gather(ctx, measure, "vdd", dispatch.WithQuorum(2))
	if err != nil {
		return nil, err // fewer than two sites answered
	}
	return volts, nil
}

func quorumLost(ctx context.Context, cell *dispatcher) ([]float64, error) {
	volts, err := cell.Gather(ctx, measure, "vdd", dispatch.WithQuorum(3))
	if errors.Is(err, dispatch.ErrQuorumLost) {
		return nil, fmt.Errorf("too few sites work: %w", err)
	}
	return volts, err
}

func majority(ctx context.Context, cell *dispatcher) ([]float64, error) {
	volts, err := cell.Gather(ctx, measure, "vdd", dispatch.WithMajority())
	if err != nil {
		return nil, err // at most half of the sites answered
	}
	return volts, nil
}

func required(ctx context.Context, cell *dispatcher) ([]float64, error) {
	volts, err := cell.Gather(ctx, measure, "vdd", dispatch.WithQuorum(2), dispatch.WithRequired("site-3"))
	if err != nil {
		return nil, err
	}
	return volts, nil
}

func ownTimeout(cell *dispatcher, site producer) error {
	_, err := cell.AddProducer(measure, site, dispatch.WithName("site-2"),
		dispatch.WithTimeout(time.Second)) // of the 4 s that the call has
	return err
}

func stall(ctx context.Context, cell *dispatcher) ([]float64, error) {
	volts, err := cell.Gather(ctx, measure, "vdd", dispatch.WithStall(time.Second))
	if errors.Is(err, dispatch.ErrStalled) {
		return volts, nil // the other members are considered silent
	}
	return volts, err
}

func failFast(ctx context.Context, cell *dispatcher) ([]float64, error) {
	volts, err := cell.Gather(ctx, measure, "vdd", dispatch.WithFailFast())
	if err != nil {
		return nil, fmt.Errorf("the part is bad: %w", err)
	}
	return volts, nil
}

func grace(ctx context.Context, cell *dispatcher) ([]float64, error) {
	volts, err := cell.Gather(ctx, measure, "vdd", dispatch.WithGrace(time.Second))
	if len(volts) == 0 {
		return nil, err
	}
	return volts, nil // including values that were returned during the grace
}

func stagger(ctx context.Context, cell *dispatcher) (float64, error) {
	volts, err := cell.First(ctx, measure, "vdd", dispatch.WithStagger(time.Second))
	if err != nil {
		return 0, err // no site answered
	}
	return volts, nil
}

func relaxed(ctx context.Context, cell *dispatcher, strict topic) ([]float64, error) {
	// The topic strict has WithFailFast() and WithQuorum(3); the bus has its own timeout.
	return cell.Gather(ctx, strict, "vdd", dispatch.WithDefaults(), dispatch.WithQuorum(2))
}

func group(ctx context.Context, cell *dispatcher, meters []producer) ([]float64, error) {
	for i, meter := range meters {
		name := dispatch.WithName(fmt.Sprint("meter-", i+1))
		if _, err := cell.AddProducer(measure, meter, name, dispatch.WithGroup("meters")); err != nil {
			return nil, err
		}
	}
	return cell.Gather(ctx, measure, "vdd")
}

func hedge(ctx context.Context, cell *dispatcher) ([]float64, error) {
	volts, err := cell.Gather(ctx, measure, "vdd", dispatch.WithHedge(time.Second))
	if err != nil {
		return nil, err
	}
	return volts, nil
}

func hedgeQuantile(ctx context.Context, cell *dispatcher) ([]float64, error) {
	return cell.Gather(ctx, measure, "vdd", dispatch.WithHedgeQuantile(0.95))
}

func targets(ctx context.Context, cell *dispatcher) ([]float64, error) {
	volts, err := cell.Gather(ctx, measure, "vdd", dispatch.WithTargets("site-2", "site-9"))
	if errors.Is(err, dispatch.ErrUnknownMember) {
		return nil, fmt.Errorf("is it spelled right? %w", err)
	}
	return volts, err
}

func minimum(ctx context.Context, cell *dispatcher) ([]float64, error) {
	volts, err := cell.Gather(ctx, measure, "vdd", dispatch.WithMinProducers(2))
	if errors.Is(err, dispatch.ErrTooFewProducers) {
		return nil, err // no producer was asked
	}
	return volts, err
}

func parallelism(ctx context.Context, cell *dispatcher) ([]float64, error) {
	volts, err := cell.Gather(ctx, measure, "vdd", dispatch.WithParallelism(2))
	if err != nil {
		return nil, err
	}
	return volts, nil
}

func maxQueue(cell *dispatcher, site producer) error {
	_, err := cell.AddProducer(measure, site, dispatch.WithName("site-1"),
		dispatch.WithConcurrency(1), // one run at a time
		dispatch.WithMaxQueue(1))    // one run waits for its turn
	return err
}

func mailbox(cell *dispatcher, show dispatch.Listener[string, float64]) error {
	_, err := cell.AddListener(measure, show,
		dispatch.WithName("display"),
		dispatch.WithMailbox(1, dispatch.DropOldest)) // keep only the latest
	return err
}

func retain(cell *dispatcher, show dispatch.Listener[string, float64]) error {
	// The calls are made through
	// dispatch.NewTopic[string, float64]("cell.measure", dispatch.WithRetain(2), …)
	_, err := cell.AddListener(measure, show,
		dispatch.WithName("display"),
		dispatch.WithRetained()) // first the retained results
	return err
}

func maxInFlight(ctx context.Context, addSites func(*dispatcher) error, pins []string) error {
	cell := dispatch.New[string, float64](dispatch.WithMaxInFlight(2))
	if err := addSites(cell); err != nil {
		return err
	}
	for _, pin := range pins {
		if _, err := cell.Send(ctx, measure, pin); err != nil {
			return err // ErrOverloaded: ctx ended before a place was free
		}
	}
	return nil
}

func noWait(ctx context.Context, cell *dispatcher, pin string) error {
	_, err := cell.Send(ctx, measure, pin, dispatch.WithNoWait())
	if errors.Is(err, dispatch.ErrOverloaded) {
		return fmt.Errorf("try again later: %w", err)
	}
	return err
}
