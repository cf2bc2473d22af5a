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

// ErrFlaky is the error of a producer made by [Flaky].
var ErrFlaky = errors.New("dispatchtest: flaky producer failed")

// Produce registers the producer like [dispatch.Dispatcher.AddProducer], and removes it when
// the test ends. If it cannot register the producer, the test fails and stops at once; so
// Produce must be called from the test's own goroutine.
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

// Slow returns a producer that answers every request with v after d. If its context ends
// first, the producer returns the cause of the context, see [context.Cause]. If the context
// ends exactly after d, either may happen.
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

// Deaf returns a producer that ignores its context. It answers every request with v, but
// only after release is closed. A value that is sent on release releases one run.
//
// A bubble does not end before its goroutines have ended. So a test in a bubble must make
// the channel inside the bubble, and close it.
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

// Declining returns a producer that declines every request: it returns
// [dispatch.ErrDecline].
func Declining[Req, Res any]() dispatch.Producer[Req, Res] {
	return Failing[Req, Res](dispatch.ErrDecline)
}

// Panicking returns a producer that panics with the value for every request. The value may
// be nil.
func Panicking[Req, Res any](value any) dispatch.Producer[Req, Res] {
	return func(context.Context, Req) (Res, error) { panic(value) }
}

// Exiting returns a producer that calls [runtime.Goexit] for every request, like a producer
// that calls FailNow or Fatal of a test.
func Exiting[Req, Res any]() dispatch.Producer[Req, Res] {
	return func(context.Context, Req) (Res, error) {
		runtime.Goexit()
		panic("unreachable")
	}
}

// Flaky returns a producer that fails a share of its requests with [ErrFlaky], and passes
// the others to p. The share is between 0 (none) and 1 (all). The positions of the failing
// requests, in the order of arrival, depend only on the seed and the share. Flaky panics if
// the share is out of range or p is nil.
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
// numbers, and never concurrently with the same source. A negative latency counts as 0.
type Latency func(*rand.Rand) time.Duration

// LogNormal is the log-normal distribution with this median and this 99th percentile. Many
// real services have such latencies: most are close to the median, and a few are many times
// as long. LogNormal panics unless the median is positive and less than p99.
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

// Delayed returns a producer that waits before it passes a request to p. The wait differs
// from request to request. The waits, in the order in which requests arrive, depend only on
// the seed and the latency. If its context ends first, the producer returns the cause of the
// context, like a producer made by [Slow]. Delayed panics if the latency or p is nil.
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
