// The scenes program shows the live page of a bus in one bad situation. Use it to develop the page,
// or to see what a problem looks like on it:
//
//	go run ./dispatchdebug/scenes slow-site
//
// Without a name it lists the scenes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"

	"github.com/seed-bb4b4d74/dispatch/dispatchdebug/scenes/scene"
)

func main() {
	address := flag.String("http", "127.0.0.1:8090", "the `address` to serve the page on")
	flag.Parse()
	s, ok := scene.ByName(flag.Arg(0))
	if !ok {
		fmt.Fprintln(os.Stderr, "usage: scenes [-http address] NAME")
		for _, s := range scene.All() {
			fmt.Fprintf(os.Stderr, "  %-12s %s\n", s.Name, s.Shows)
		}
		os.Exit(2)
	}
	if err := serve(s, *address); err != nil {
		fmt.Fprintln(os.Stderr, "scenes:", err)
		os.Exit(1)
	}
}

func serve(s scene.Scene, address string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	stage := s.Play()
	defer stage.Close()
	mux := http.NewServeMux()
	mux.Handle("/debug/dispatch/", stage.Handler)
	server := &http.Server{Handler: mux}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	fmt.Printf("%s\nhttp://%s/debug/dispatch/%s\n", s.Shows, l.Addr(), s.Page)
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
