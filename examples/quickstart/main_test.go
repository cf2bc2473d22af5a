package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// In virtual time every line has its exact place.
func TestQuickstart(t *testing.T) {
	const want = `Two producers answer requests on three topics, and two listeners get the results:

  P0 takes 200 ms    topic1, my_topic
  P1 takes 500 ms    topic1, topic2, my_topic
  L1 listens to      topic1, topic2, my_topic
  L2 listens to      topic1, my_topic

Both producers have enough time. The call ends with the last answer, not after 4 s.
  0.00 s  topic1    the call asks P0 and P1: 3 + 4 + 5 = ?; timeout 4000 ms
  0.20 s  topic1      P0 → L1: the sum is 12
  0.20 s  topic1      P0 → L2: the sum is 12
  0.50 s  topic1      P1 → L1: the sum is 12
  0.50 s  topic1      P1 → L2: the sum is 12
  0.50 s  topic1    the call ends (all ended): P0 ok after 200 ms, P1 ok after 500 ms

P1 is too slow this time. The call ends without it, and its report names P1.
  0.60 s  my_topic  the call asks P0 and P1: 3 + 4 + 5 = ?; timeout 300 ms
  0.80 s  my_topic    P0 → L1: the sum is 12
  0.80 s  my_topic    P0 → L2: the sum is 12
  0.90 s  my_topic  the call ends (deadline): P0 ok after 200 ms, P1 late after 300 ms
  1.10 s  my_topic  P1 answers 200 ms after the end: only OnLate receives the result

On this topic there are only P1 and L1.
  1.20 s  topic2    the call asks P1: 3 + 4 + 5 = ?; timeout 1000 ms
  1.70 s  topic2      P1 → L1: the sum is 12
  1.70 s  topic2    the call ends (all ended): P1 ok after 500 ms

P0 and L2 are removed while P0 runs. P0 may finish; L2 gets no more results.
  1.80 s  topic1    the call asks P0 and P1: 3 + 4 + 5 = ?; timeout 4000 ms
  1.90 s  topic1    P0 and L2 are removed
  2.00 s  topic1      P0 → L1: the sum is 12
  2.30 s  topic1      P1 → L1: the sum is 12
  2.30 s  topic1    the call ends (all ended): P0 ok after 200 ms, P1 ok after 500 ms

From now on, calls do not ask P0.
  2.40 s  topic1    the call asks P1: 3 + 4 + 5 = ?; timeout 4000 ms
  2.90 s  topic1      P1 → L1: the sum is 12
  2.90 s  topic1    the call ends (all ended): P1 ok after 500 ms

P1 is removed as well. A call without producers ends at once.
  3.00 s  topic1    the call asks no producer: 3 + 4 + 5 = ?; timeout 4000 ms
  3.00 s  topic1    the call ends (no producers)
`
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		if err := run(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("timeline (-want +got):\n%s", diff)
		}
	})
}

func TestQuickstartStopsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 750*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := run(ctx, io.Discard); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v, want that of the context", err)
		}
		if took := time.Since(began); took != 750*time.Millisecond {
			t.Errorf("it took %v, want the context's 750ms", took)
		}
		time.Sleep(time.Second) // the producers go on, because they ignore their contexts
	})
}
