// The gateway program asks several shops for a price, and streams each answer to a browser
// or to curl as it arrives. At the end it lists the shops that did not answer:
//
//	go run ./gateway
//
// The shops are HTTP servers that the program starts on this machine. One shop is quick,
// one is slow, one hangs and one fails.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/examples/recipes"
	"github.com/seed-bb4b4d74/dispatch/examples/recipes/internal/shops"
)

// grace is how long the streams may go on when the program is interrupted.
const grace = 5 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("gateway", flag.ContinueOnError)
	flags.SetOutput(errs)
	addr := flags.String("addr", "localhost:8080", "where to listen")
	timeout := flags.Duration("timeout", 3*time.Second, "the longest `duration` of a call")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if *timeout <= 0 {
		fmt.Fprintf(errs, "gateway: -timeout is %v, and has to be positive\n", *timeout)
		return 2
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		fmt.Fprintln(errs, "gateway:", err)
		return 1
	}

	d := dispatch.New[string, float64](dispatch.WithTimeout(*timeout))
	for _, shop := range []struct {
		name    string
		handler http.HandlerFunc
	}{
		{"quick", shops.Sells(12.5)},
		{"slow", shops.Slow(time.Second, shops.Sells(9.9))},
		{"hangs", shops.Hangs},
		{"fails", shops.Fails},
	} {
		server := httptest.NewServer(shop.handler)
		defer server.Close()
		if _, err := d.AddProducer(price, recipes.Fetch(http.DefaultClient, server.URL), dispatch.WithName(shop.name)); err != nil {
			fmt.Fprintln(errs, "gateway:", err)
			return 1
		}
	}

	fmt.Fprintf(out, "Open http://%v/ or run\n  curl -N 'http://%[1]v/prices?item=lamp'\n", listener.Addr())
	if err := serve(ctx, listener, d, grace); err != nil {
		fmt.Fprintln(errs, "gateway:", err)
		return 1
	}
	return 0
}

// serve serves the gateway until ctx ends. Then it lets the streams end.
func serve(ctx context.Context, listener net.Listener, d *dispatch.Dispatcher[string, float64], grace time.Duration) error {
	server := &http.Server{Handler: handler(d), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return errors.Join(err, d.Close())
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := shutDown(ctx, server, d)
	<-served
	return err
}
