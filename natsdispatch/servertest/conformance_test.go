package servertest_test

import (
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/dispatchtest"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// TestRelay runs the conformance suite of dispatchtest over a real server, with each codec.
func TestRelay(t *testing.T) {
	s := startServer(t)
	for _, codec := range []natsdispatch.Codec{natsdispatch.JSON{}, natsdispatch.Gob{}} {
		t.Run(codec.Name(), func(t *testing.T) {
			dispatchtest.TestRelay(t, func(t testing.TB, near, far *dispatch.Dispatcher[string, string], topic dispatch.Topic[string, string]) {
				node, err := natsdispatch.Serve(connect(t, s.ClientURL()), far, topic, natsdispatch.WithNode("far"), loud(t))
				if err != nil {
					t.Fatalf("Serve: %v", err)
				}
				t.Cleanup(func() { node.Close() })
				remote, err := natsdispatch.Join(connect(t, s.ClientURL()), near, topic, loud(t),
					natsdispatch.WithCodec(codec), natsdispatch.WithAcceptWindow(10*time.Second), natsdispatch.WithDiscovery(50*time.Millisecond))
				if err != nil {
					t.Fatalf("Join: %v", err)
				}
				t.Cleanup(func() { remote.Close() })
				await(t, remote, "far")
			})
		})
	}
}
