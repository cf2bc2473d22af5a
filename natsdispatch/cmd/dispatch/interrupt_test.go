package main

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// A command that is interrupted ends, also if it still waits for the request on its input or for the greeting of
// the server.
func TestInterruptedBeforeItIsConnected(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, c := range []struct {
		args   []string
		status int
	}{
		{[]string{"ask", "t", "-"}, exitNothing},
		{[]string{"ask", "t"}, exitUnavailable},
		{[]string{"nodes"}, exitUnavailable},
	} {
		input, never := io.Pipe()
		defer never.Close()
		p := &program{stdin: input, stdout: io.Discard, stderr: io.Discard, getenv: func(name string) string {
			return map[string]string{"NATS_URL": "nats://" + silent.Addr().String()}[name]
		}}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		ended := make(chan int)
		go func() { ended <- p.run(ctx, append(c.args, "--no-context")) }()
		select {
		case status := <-ended:
			if status != c.status {
				t.Errorf("%q ended with %d, want %d", c.args, status, c.status)
			}
		case <-time.After(4 * time.Second): // the command waits for 5 s for the server
			t.Errorf("%q does not end", c.args)
		}
	}
}
