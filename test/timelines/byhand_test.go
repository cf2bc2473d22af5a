package timelines_test

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-bb4b4d74/dispatch"
)

// The code of the page about the loop written by hand: a first version, the corrected version,
// and the version with dispatch.

type reading struct {
	site  string
	volts float64
}

type site struct {
	name  string
	volts func(ctx context.Context, pin string) (float64, error)
}

type loop struct {
	sites     []site
	listeners []chan<- reading
}

func (c *loop) measure(ctx context.Context, pin string) ([]reading, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	readings := make([]reading, len(c.sites))
	for i, s := range c.sites {
		g.Go(func() error {
			volts, err := s.volts(ctx, pin)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			readings[i] = reading{s.name, volts}
			for _, l := range c.listeners {
				l <- readings[i]
			}
			return nil
		})
	}
	return readings, g.Wait()
}

var (
	errLate   = errors.New("late")
	errGoexit = errors.New("ended its goroutine")
)

type outcome struct {
	reading
	index int
	err   error
}

type mended struct {
	mu    sync.Mutex // guards sites
	sites []site
}

func (c *mended) measure(ctx context.Context, pin string) []outcome {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	c.mu.Lock()
	sites := slices.Clone(c.sites) // sites may be added or removed meanwhile
	c.mu.Unlock()
	ended := make(chan outcome, len(sites)) // buffered, so that late sites do not block
	outcomes := make([]outcome, len(sites))
	for i, s := range sites {
		outcomes[i] = outcome{reading{site: s.name}, i, errLate}
		go func() { // not errgroup: its Wait blocks until all sites have returned
			o := outcome{reading{site: s.name}, i, errGoexit}
			defer func() {
				if v := recover(); v != nil {
					o.err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
				}
				ended <- o
			}()
			o.volts, o.err = s.volts(ctx, pin)
		}()
	}
	for range sites {
		select {
		case o := <-ended:
			outcomes[o.index] = o
		case <-ctx.Done():
			return outcomes
		}
	}
	return outcomes
}

func newCell(sites []site) (*dispatcher, error) {
	cell := dispatch.New[string, float64]()
	for _, s := range sites {
		if _, err := cell.AddProducer(measure, s.volts, dispatch.WithName(s.name)); err != nil {
			return nil, err
		}
	}
	return cell, nil
}

func readings(ctx context.Context, cell *dispatcher, pin string) ([]reading, error) {
	var all []reading
	for r, err := range cell.Stream(ctx, measure, pin) {
		if err != nil {
			return all, err // names each site that did not answer, and why
		}
		all = append(all, reading{r.From.Name, r.Value})
	}
	return all, nil
}

func listen(cell *dispatcher, display func(reading)) (*dispatch.Registration, error) {
	return cell.AddListener(measure, func(_ context.Context, r result) {
		display(reading{r.From.Name, r.Value})
	}, dispatch.WithName("display"))
}

func states(ctx context.Context, cell *dispatcher, pin string) (map[string]dispatch.State, error) {
	call, err := cell.Send(ctx, measure, pin)
	if err != nil {
		return nil, err
	}
	<-call.Done() // at the deadline at the latest
	states := make(map[string]dispatch.State)
	for _, o := range call.Report().Outcomes {
		states[o.Member.Name] = o.State
	}
	return states, nil
}
