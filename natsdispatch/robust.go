package natsdispatch

import (
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
)

// Robust is an option for nats.Connect that sets the options that both sides need:
//
//   - The connection reconnects for ever, also if there is no server at first, every 250 ms with a jitter
//     of 100 ms (1 s with TLS).
//   - It buffers nothing while it is broken, so that no request is sent after its call has ended.
//   - A ping every 5 s detects a dead connection within 15 s.
//   - The name of the connection is that of the program, unless an option has set another name.
//
// Later options override it:
//
//	nc, err := nats.Connect(url, natsdispatch.Robust, nats.PingInterval(time.Second))
func Robust(o *nats.Options) error {
	o.AllowReconnect = true
	o.MaxReconnect = -1
	o.ReconnectBufSize = -1
	o.RetryOnFailedConnect = true
	o.ReconnectWait = 250 * time.Millisecond
	o.ReconnectJitter, o.ReconnectJitterTLS = 100*time.Millisecond, time.Second
	o.PingInterval, o.MaxPingsOut = 5*time.Second, 2
	if o.Name == "" {
		o.Name = filepath.Base(os.Args[0])
	}
	return nil
}
