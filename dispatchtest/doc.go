// Package dispatchtest contains helpers for tests of producers and listeners of package
// dispatch.
//
// # A test in virtual time
//
// Package dispatch uses only the timers and contexts of the standard library. So its time
// is virtual in a bubble of [testing/synctest]: a call of two seconds takes exactly two
// seconds of virtual time, and no real time.
//
// For example, this producer takes some time and watches its context:
//
//	var measure = dispatch.NewTopic[string, float64]("cell.measure")
//
//	// A meter measures the voltage of one rail. The voltage needs time to settle.
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
// Its test adds producers with a known behavior, and compares the results that a listener
// gets:
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
// To test a listener of your own, add producers with [Produce], send a request, and call
// [testing/synctest.Wait]: after the end of the call it returns when the listener has been
// called with all results. If the listener itself waits, for example in [time.Sleep], then
// synctest.Wait returns while it waits; sleep for longer in the test, too, or call
// [dispatch.Bus.Shutdown].
//
// # Producers
//
// The producers are named after their behavior: [Answer], [Slow], [Deaf], [Failing],
// [Declining], [Panicking], [Exiting], [Flaky] and [Delayed]. A producer with a value
// returns the same value for every request; it does not copy the data to which the value
// points. The compiler cannot infer the type of the request, so write it out, as above;
// [Failing], [Declining], [Panicking] and [Exiting] need both types. All producers are safe
// for concurrent use and may be registered more than once.
//
// # Relays
//
// [TestRelay] is a test suite for relays. It tests one rule after the other, on two buses
// that the relay connects. [Bridge] is a relay between two buses of one process. It is an
// example of a relay. In tests it can replace a relay that needs a network.
//
// # Rules for bubbles
//
//   - Use the t of the bubble, and make channels and dispatchers inside the bubble. A
//     goroutine that waits for an event outside the bubble stops the bubble's clock.
//   - A bubble ends when all its goroutines have ended. Release a [Deaf] producer before
//     that.
//   - Producers that answer at the same time have no order. Give them different times, or
//     compare with [Recorder.WantInAnyOrder].
//   - A call may end before its listeners are called with all results. Wait for the results of a
//     recorder with [Recorder.WaitDone] or [testing/synctest.Wait] before you compare.
//
// This package also works outside a bubble, in real time.
package dispatchtest
