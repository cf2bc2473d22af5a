package main

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/dispatchdebug"
)

const pagePath = "/debug/dispatch/"

// page is the live page of a bus, served on a port of this machine.
type page struct {
	url     string
	handler *dispatchdebug.Handler
	server  *http.Server
	served  chan error
}

// openPage serves the page until it is closed.
func openPage(bus *dispatch.Bus, addr string) (*page, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &page{
		url:     fmt.Sprintf("http://%s%s", listener.Addr(), pagePath),
		handler: dispatchdebug.New(bus),
		served:  make(chan error, 1),
	}
	mux := http.NewServeMux()
	mux.Handle(pagePath, p.handler)
	p.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { p.served <- p.server.Serve(listener) }()
	return p, nil
}

// close ends the connections, and waits until the server has stopped.
func (p *page) close() {
	p.handler.Close()
	p.server.Close()
	<-p.served
}
