package dispatchdebug

import (
	"testing"
	"time"
)

func TestBucketsOfAWindowMeetAndAreNarrow(t *testing.T) {
	for d := time.Duration(0); d < 10*time.Minute; d += max(d/50, time.Microsecond) {
		b := bucketOf(d)
		if d > 0 && b < bucketOf(d-time.Microsecond) {
			t.Fatalf("%v is in bucket %d, less than before", d, b)
		}
		if b == windowBuckets-1 {
			t.Fatalf("%v is in the last bucket", d)
		}
		if off := middleOf(b) - d; off.Abs() > max(d/15, time.Microsecond) {
			t.Fatalf("%v is taken for %v", d, middleOf(b))
		}
	}
	if bucketOf(-time.Second) != 0 || bucketOf(1<<62) != windowBuckets-1 {
		t.Error("what is out of range is not in the outermost buckets")
	}
}

func TestWindowForgets(t *testing.T) {
	var w window
	if w.quantile(0.5).took != unknown || w.longest().took() != unknown {
		t.Error("a window without runs has a median")
	}
	near := func(p float64, want time.Duration) {
		t.Helper()
		if got := w.quantile(p); (got.took-want).Abs() > want/15 || got.more {
			t.Errorf("p%v: got %+v, want %v", p*100, got, want)
		}
	}
	for range 200 {
		w.add(time.Second, false)
	}
	near(0.5, time.Second)
	for range 200 { // the older ones still count
		w.add(time.Millisecond, false)
	}
	near(0.25, time.Millisecond)
	near(0.99, time.Second)
	for range 2 * windowSize {
		w.add(10*time.Millisecond, false)
	}
	near(0, 10*time.Millisecond)
	near(1, 10*time.Millisecond)
}

// With few runs and with many a percentile is one of nearest rank, and never longer than
// the longest run.
func TestQuantilesAreOfNearestRank(t *testing.T) {
	var w window
	for range 6 {
		w.add(992*time.Microsecond, false)
	}
	w.add(time.Second, false)
	if p50, p99 := w.quantile(0.5), w.quantile(0.99); p50.took != 992*time.Microsecond || p99.took != time.Second {
		t.Errorf("p50 %v, p99 %v of seven runs", p50, p99)
	}
	for _, n := range []int{1, fewRuns, fewRuns + 1, 3 * windowSize} {
		var w window
		for range n {
			w.add(800*time.Millisecond, false)
		}
		if got := w.latencies(); got != (latencies{P50: 800 * time.Millisecond, P99: 800 * time.Millisecond, Max: 800 * time.Millisecond}) {
			t.Errorf("%d runs of 800 ms: %+v", n, got)
		}
	}
}

// A run that was cut off counts as one that took longer.
func TestCutOffRunsCountAsMore(t *testing.T) {
	for _, n := range []int{10, 1000} {
		var w window
		for i := range n {
			w.add(time.Second, false)
			if i%4 == 0 { // a fifth of all
				w.add(10*time.Millisecond, true)
			}
		}
		p10, p50, p99 := w.quantile(0.1), w.quantile(0.5), w.quantile(0.99)
		if p10.took > 11*time.Millisecond || !p10.more {
			t.Errorf("%d: p10 %+v, want more than 10 ms", n, p10)
		}
		if (p50.took-time.Second).Abs() > time.Second/15 || p50.more {
			t.Errorf("%d: p50 %+v, want 1 s", n, p50)
		}
		if (p99.took-time.Second).Abs() > time.Second/15 || !p99.more {
			t.Errorf("%d: p99 %+v, want more than 1 s", n, p99)
		}
	}
}

func TestHistory(t *testing.T) {
	var h history
	for i := range 100 {
		h.add(i%2 == 0)
	}
	if h.count() != 32 {
		t.Errorf("got %d of the last 64, want 32", h.count())
	}
}

func TestASeriesIsTheLastMinute(t *testing.T) {
	var s series
	if got := s.minute(5); got != (slot{}) {
		t.Errorf("nothing happened, got %+v", got)
	}
	for n := range int64(30) {
		s.at(n).runs++
		s.at(n).lost += time.Second
	}
	for at, want := range map[int64]uint32{29: slots, 30: slots - 1, 29 + slots - 1: 1, 29 + slots: 0, 1 << 40: 0} {
		if got := s.minute(at); got.runs != want || got.lost != time.Duration(want)*time.Second {
			t.Errorf("in the minute up to slot %d: got %+v, want %d", at, got, want)
		}
	}
	s.at(3).runs++ // far too late
	if got := s.minute(29).runs; got > slots+1 {
		t.Errorf("got %d", got)
	}
	s.at(100).runs++
	if got := s.minute(100).runs; got != 1 {
		t.Errorf("after a long pause: got %d, want 1", got)
	}
}
