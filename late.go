package dispatch

// lateHook is a registered OnLate.
type lateHook struct {
	recipient
	fn any // a func(Result, time.Duration) with the types of the selection
}
