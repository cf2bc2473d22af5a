package main

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"net/http"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/examples/recipes"
)

var price = dispatch.NewTopic[string, float64]("shop.price")

//go:embed page
var files embed.FS

// handler serves the page, and the prices that it shows.
func handler(d *dispatch.Dispatcher[string, float64]) http.Handler {
	page, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the name is wrong
	}
	mux := http.NewServeMux()
	mux.Handle("GET /prices", recipes.Gateway(d, price, askedFor))
	mux.Handle("GET /", http.FileServerFS(page))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src data:")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}

func askedFor(r *http.Request) (string, error) {
	item := r.FormValue("item")
	if item == "" {
		return "", errors.New("which item? Ask for one with ?item=lamp")
	}
	return item, nil
}

// shutDown refuses new requests and waits for the streams, which end with their calls. If
// grace ends first, shutDown ends the calls; then the streams end with the reason closed.
func shutDown(grace context.Context, server *http.Server, d *dispatch.Dispatcher[string, float64]) error {
	if server.Shutdown(grace) == nil {
		return d.Shutdown(grace)
	}
	d.Close()
	lastWords, cancel := context.WithTimeout(context.WithoutCancel(grace), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(lastWords); err != nil {
		return errors.Join(err, server.Close())
	}
	return nil
}
