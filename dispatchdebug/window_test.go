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
	if w.quantile(0.5) != unknown {
		t.Error("a window without runs has a median")
	}
	near := func(p float64, want time.Duration) {
		t.Helper()
		if got := w.quantile(p); (got - want).Abs() > want/15 {
			t.Errorf("p%v: got %v, want %v", p*100, got, want)
		}
	}
	for range 200 {
		w.add(time.Second)
	}
	near(0.5, time.Second)
	for range 200 { // the older ones still count
		w.add(time.Millisecond)
	}
	near(0.25, time.Millisecond)
	near(0.99, time.Second)
	for range 2 * windowSize {
		w.add(10 * time.Millisecond)
	}
	near(0, 10*time.Millisecond)
	near(1, 10*time.Millisecond)
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
