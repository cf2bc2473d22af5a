package latency

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// quantile returns a quantile, or -1 if there are not enough latencies for it.
func quantile(r *Recent, q float64) time.Duration {
	if d, ok := r.Quantile(q); ok {
		return d
	}
	return -1
}

// near reports whether a quantile is too long by an eighth at most.
func near(got, want time.Duration) bool { return got >= want && got <= want*9/8 }

func TestBucketsFollowEachOther(t *testing.T) {
	for i := range buckets {
		if d := start(i); bucket(d) != i || i > 0 && bucket(d-1) != i-1 {
			t.Errorf("bucket %d starts at %v, which is in %d; before it is %d", i, d, bucket(d), bucket(d-1))
		}
		if from, to := start(i), start(i+1); i > 0 && float64(to)/float64(from) > 1.126 {
			t.Errorf("bucket %d goes from %v to %v", i, from, to)
		}
	}
	for _, d := range []time.Duration{math.MinInt64, -1, 0, 1, 1023} {
		if bucket(d) != 0 {
			t.Errorf("%v is in bucket %d, want the first", d, bucket(d))
		}
	}
	if last := bucket(math.MaxInt64); last != buckets-1 {
		t.Errorf("the longest is in bucket %d, want the last", last)
	}
	if span := start(buckets); span < 30*time.Minute {
		t.Errorf("the buckets end at %v", span)
	}
}

func TestQuantilesAreTooLongByAnEighthAtMost(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var r Recent
	var all []time.Duration
	for range Window {
		d := time.Duration(float64(5*time.Millisecond) * math.Exp(1.5*random.NormFloat64()))
		r.Add(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.95, 0.99, 0.998} {
		if got, want := quantile(&r, q), all[int(q*Window)]; !near(got, want) {
			t.Errorf("the quantile %v is %v, want about %v", q, got, want)
		}
	}
}

func TestAQuantileNeedsEnoughLatencies(t *testing.T) {
	for q, want := range map[float64]int{0.001: 20, 0.5: 20, 0.9: 20, 0.95: 20, 0.96: 25, 0.99: 100, 0.999: 1000, 0.9999: 1000, math.Nextafter(1, 0): 1000} {
		if got := Enough(q); got < want-1 || got > want+1 {
			t.Errorf("the quantile %v needs %d, want %d", q, got, want)
		}
		var r Recent
		for n := range 3 * Window {
			if got := quantile(&r, q); (got >= 0) != (n >= Enough(q)) {
				t.Fatalf("with %d latencies the quantile %v is %v, want one from %d on", n, q, got, Enough(q))
			}
			r.Add(time.Millisecond)
		}
	}
}

// Of the longest latencies it is known only that they are longer than the quantile.
func TestAQuantileStaysWhatItIsIfAllThatIsLongerIsCutOff(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var r Recent
	for range 50 * Window {
		d := time.Duration(random.IntN(1000)) * time.Millisecond
		if cut := quantile(&r, 0.75); cut > 0 {
			d = min(d, cut)
		}
		r.Add(d)
	}
	if got := quantile(&r, 0.75); got < 700*time.Millisecond || got > 900*time.Millisecond {
		t.Errorf("the quantile 0.75 of what is spread over a second is %v in the end", got)
	}
}

// After a change the quantile follows within two windows, and in between moves to the new
// latencies as their share grows.
func TestOldLatenciesAreForgotten(t *testing.T) {
	var r Recent
	for range 10 * Window {
		r.Add(time.Millisecond)
	}
	for n := range 2 * Window {
		r.Add(time.Second)
		got := quantile(&r, 0.9)
		if n < 50 && !near(got, time.Millisecond) || n > 300 && !near(got, time.Second) {
			t.Fatalf("after %d long ones the quantile 0.9 is %v", n+1, got)
		}
	}
	if got := quantile(&r, 0.001); !near(got, time.Second) {
		t.Errorf("after two windows of long ones the shortest are %v", got)
	}
}

func TestExtremeLatenciesHaveQuantiles(t *testing.T) {
	var short, long Recent
	for range 100 {
		short.Add(-time.Second)
		long.Add(math.MaxInt64)
	}
	if got := quantile(&short, 0.5); got < 0 || got > 1024 {
		t.Errorf("of the shortest it is %v", got)
	}
	if got := quantile(&long, 0.5); got < 30*time.Minute {
		t.Errorf("of the longest it is %v", got)
	}
}
