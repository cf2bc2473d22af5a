package oteldispatch

// growStack gives the goroutine a stack with room for a span. The SDK needs more than 4 KiB to start or to end
// one, and the goroutines of members and observers begin with 2 KiB. Each growth copies the stack and all its
// frames, so it costs less to grow once, before the SDK adds its frames.
func growStack() { room(false) }

// room has a frame of 4 KiB, although it never uses the array: the stack grows when a function is called.
//
//go:noinline
func room(used bool) {
	if used {
		var bytes [4 << 10]byte
		use(bytes[:])
	}
}

//go:noinline
func use([]byte) {}
