package dispatchtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// ErrFlaky is what a producer made by [Flaky] returns for the calls it fails.
var ErrFlaky = errors.New("dispatchtest: flaky producer failed")

// Produce registers the producer as [dispatch.Dispatcher.AddProducer] does, and
// removes it when the test is over. If it cannot be registered the test fails at
// once; so Produce must be called from the test's own goroutine.
func Produce[Req, Res any](t testing.TB, d *dispatch.Dispatcher[Req, Res], on dispatch.Selector[Req, Res], p dispatch.Producer[Req, Res], opts ...dispatch.ProducerOption) *dispatch.Registration {
	t.Helper()
	added, err := d.AddProducer(on, p, opts...)
	if err != nil {
		t.Fatalf("dispatchtest.Produce: %v", err)
	}
	t.Cleanup(added.Remove)
	return added
}

// Answer returns a producer that answers every request with v at once.
func Answer[Req, Res any](v Res) dispatch.Producer[Req, Res] {
	return func(context.Context, Req) (Res, error) { return v, nil }
}

// Slow returns a producer that answers every request with v after d. If the
// context ends first the producer returns its cause, see [context.Cause]. If the
// context ends when d is just over, either may happen.
func Slow[Req, Res any](d time.Duration, v Res) dispatch.Producer[Req, Res] {
	return func(ctx context.Context, _ Req) (Res, error) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return v, nil
		case <-ctx.Done():
			var none Res
			return none, context.Cause(ctx)
		}
	}
}

// Deaf returns a producer that ignores its context: it answers every request with
// v, but not before release is closed. A value sent on release lets go of one
// run.
//
// A bubble does not end before its goroutines do. So a test in a bubble has to
// make the channel there, and to close it.
func Deaf[Req, Res any](release <-chan struct{}, v Res) dispatch.Producer[Req, Res] {
	return func(context.Context, Req) (Res, error) {
		<-release
		return v, nil
	}
}

// Failing returns a producer that returns err for every request. It panics if
// err is nil.
func Failing[Req, Res any](err error) dispatch.Producer[Req, Res] {
	if err == nil {
		panic("dispatchtest.Failing: nil error")
	}
	return func(context.Context, Req) (Res, error) {
		var none Res
		return none, err
	}
}

// Declining returns a producer that has nothing to say to any request: it returns
// [dispatch.ErrDecline].
func Declining[Req, Res any]() dispatch.Producer[Req, Res] {
	return Failing[Req, Res](dispatch.ErrDecline)
}

// Panicking returns a producer that panics with the value, which may be nil, at
// every request.
func Panicking[Req, Res any](value any) dispatch.Producer[Req, Res] {
	return func(context.Context, Req) (Res, error) { panic(value) }
}

// Exiting returns a producer that calls [runtime.Goexit] at every request, as one
// does that makes a test fail with FailNow or Fatal.
func Exiting[Req, Res any]() dispatch.Producer[Req, Res] {
	return func(context.Context, Req) (Res, error) {
		runtime.Goexit()
		panic("unreachable")
	}
}

// Flaky returns a producer that fails a share of its requests, from 0 for none to
// 1 for all, with [ErrFlaky], and hands the others on to p. Which requests fail,
// counted in the order in which they come, depends on the seed alone. It panics
// if the share is out of range or p is nil.
func Flaky[Req, Res any](seed uint64, share float64, p dispatch.Producer[Req, Res]) dispatch.Producer[Req, Res] {
	if !(share >= 0 && share <= 1) { // NaN is out of range, too
		panic(fmt.Sprintf("dispatchtest.Flaky: share %v is not within 0 and 1", share))
	}
	if p == nil {
		panic("dispatchtest.Flaky: nil Producer")
	}
	var mu sync.Mutex // guards random
	random := rand.New(rand.NewPCG(seed, 0))
	fails := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return random.Float64() < share
	}
	return func(ctx context.Context, req Req) (Res, error) {
		if fails() {
			var none Res
			return none, ErrFlaky
		}
		return p(ctx, req)
	}
}

// A Latency draws from a distribution of latencies. It is called with a source of random
// numbers, and never concurrently with the same one. A latency that is negative counts as 0.
type Latency func(*rand.Rand) time.Duration

// LogNormal is the log-normal distribution with this median and this 99th percentile, which
// is what the latencies of many real services look like: most are close to the median, a few
// are many times as long. It panics unless the median is positive and less than p99.
func LogNormal(median, p99 time.Duration) Latency {
	if median <= 0 || p99 <= median {
		panic(fmt.Sprintf("dispatchtest.LogNormal: median %v and p99 %v are not 0 < median < p99", median, p99))
	}
	const quantile = 2.3263478740408408 // of 0.99 in the standard normal distribution
	sigma := math.Log(float64(p99)/float64(median)) / quantile
	return func(r *rand.Rand) time.Duration {
		return time.Duration(min(float64(median)*math.Exp(sigma*r.NormFloat64()), math.MaxInt64/2))
	}
}

// Delayed returns a producer that lets a time pass before it hands a request on to p, which
// differs from request to request. The times, in the order in which the requests come,
// depend on the seed alone. If the context ends first the producer returns its cause, as one
// made by [Slow] does. It panics if the latency or p is nil.
func Delayed[Req, Res any](seed uint64, latency Latency, p dispatch.Producer[Req, Res]) dispatch.Producer[Req, Res] {
	if latency == nil {
		panic("dispatchtest.Delayed: nil Latency")
	}
	if p == nil {
		panic("dispatchtest.Delayed: nil Producer")
	}
	var mu sync.Mutex // guards random
	random := rand.New(rand.NewPCG(seed, 0))
	draw := func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return latency(random)
	}
	return func(ctx context.Context, req Req) (Res, error) {
		timer := time.NewTimer(draw())
		defer timer.Stop()
		select {
		case <-timer.C:
			return p(ctx, req)
		case <-ctx.Done():
			var none Res
			return none, context.Cause(ctx)
		}
	}
}
