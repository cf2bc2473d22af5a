// Package dispatchtest helps to test producers and listeners of package dispatch.
//
// # A test in virtual time
//
// Package dispatch uses nothing but the timers and contexts of the standard
// library. So in a bubble of [testing/synctest] time is virtual: a call that
// lasts two seconds is over at once, and after exactly two seconds.
//
// Say this is a producer of our own, which needs time and watches its context:
//
//	var measure = dispatch.NewTopic[string, float64]("cell.measure")
//
//	// A meter measures the voltage of one rail, which takes until it has settled.
//	type meter struct {
//		rail    string
//		settles time.Duration
//		volts   float64
//	}
//
//	func (m *meter) Measure(ctx context.Context, rail string) (float64, error) {
//		if rail != m.rail {
//			return 0, dispatch.ErrDecline
//		}
//		select {
//		case <-time.After(m.settles):
//			return m.volts, nil
//		case <-ctx.Done():
//			return 0, context.Cause(ctx)
//		}
//	}
//
// Then its test puts it beside producers that behave as the test wants them to,
// and compares what a listener hears:
//
//	func TestMeter(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			cell := dispatch.New[string, float64](dispatch.WithTimeout(2 * time.Second))
//			ours := &meter{rail: "vdd", settles: 300 * time.Millisecond, volts: 1.21}
//			dispatchtest.Produce(t, cell, measure, ours.Measure, dispatch.WithName("meter"))
//			dispatchtest.Produce(t, cell, measure, dispatchtest.Answer[string](1.19), dispatch.WithName("quick"))
//			dispatchtest.Produce(t, cell, measure, dispatchtest.Slow[string](time.Minute, 1.2), dispatch.WithName("slow"))
//			heard := dispatchtest.Listen(t, cell, measure)
//
//			call, err := cell.Send(t.Context(), measure, "vdd")
//			if err != nil {
//				t.Fatal(err)
//			}
//			heard.Wait(2)
//			heard.Want(1.19, 1.21)
//			heard.WantFrom("quick", "meter")
//			if got := heard.Results()[1].Elapsed; got != ours.settles {
//				t.Errorf("the meter took %v, want %v", got, ours.settles)
//			}
//
//			heard.WaitDone(1)
//			dispatchtest.WantStates(t, call.Report(), map[string]dispatch.State{
//				"meter": dispatch.StateOK,
//				"quick": dispatch.StateOK,
//				"slow":  dispatch.StateLate,
//			})
//		})
//	}
//
// A listener of one's own is tested in the same way: [Produce] feeds it, and
// [testing/synctest.Wait] waits until it has heard everything.
//
// # Producers
//
// The producers are named after how they behave: [Answer], [Slow], [Deaf],
// [Failing], [Declining], [Panicking], [Exiting], [Flaky] and [Delayed]. Those that have a
// value hand out the same one, not a copy of what it points to, to every request.
// The request's type cannot be inferred and is written out, as above; [Failing],
// [Declining], [Panicking] and [Exiting] need both types. All may be called
// concurrently, and be registered more than once.
//
// # Relays
//
// [TestRelay] is the suite that every relay has to pass: rule by rule, on two buses that
// the relay under test connects. [Bridge] is a relay between two buses of one process. It
// shows what a relay has to do, and stands in where a test has no network.
//
// # What a bubble asks for
//
//   - Use the t of the bubble, and make channels and dispatchers inside it. A
//     goroutine that waits for something from outside stops the bubble's clock.
//   - A bubble ends when all its goroutines have. Release a [Deaf] producer before.
//   - Between producers that answer at the same time there is no order. Give them
//     different times, or compare with [Recorder.WantInAnyOrder].
//   - A call ends before its listeners have heard everything. Wait for them, with
//     [Recorder.WaitDone] or [testing/synctest.Wait], before comparing.
//
// Everything here works outside a bubble, too, where time passes as usual.
package dispatchtest
