package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"time"
)

// request is the request of every call.
const request = 7

// producer is what all sides call.
type producer = func(ctx context.Context, req int) (int, error)

// work makes the i-th producer, which answers with the request plus i.
type work func(i int) producer

// quick producers return at once.
func quick(i int) producer {
	return func(_ context.Context, req int) (int, error) { return req + i, nil }
}

// sleep is for producers that block and ignore their contexts.
func sleep(i int) producer {
	return func(_ context.Context, req int) (int, error) {
		time.Sleep(time.Millisecond)
		return req + i, nil
	}
}

// selecting is for producers that wait and watch their contexts.
func selecting(i int) producer {
	return func(ctx context.Context, req int) (int, error) {
		timer := time.NewTimer(time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
			return req + i, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// server echoes the path of the request. It serves until the program ends.
var server = sync.OnceValue(func() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path[1:])
	}))
})

// client keeps a connection for every producer of a call.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}

// overHTTP is for producers that ask a server.
func overHTTP(i int) producer {
	url := server().URL + "/"
	return func(ctx context.Context, req int) (int, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+strconv.Itoa(req+i), nil)
		if err != nil {
			return 0, err
		}
		res, err := client.Do(r)
		if err != nil {
			return 0, err
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(string(body))
	}
}
