package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
)

func get(t *testing.T, url string) (status int, contentType string, body []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get("Content-Type"), body
}

func TestThePageIsThereUntilTheCellStops(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	read, write := io.Pipe()
	exit := make(chan int, 1)
	go func() {
		exit <- run(ctx, nil, write, io.Discard)
		write.Close()
	}()
	lines := bufio.NewScanner(read)
	if !lines.Scan() {
		t.Fatal("nothing is printed")
	}
	url, ok := strings.CutPrefix(lines.Text(), "live page: ")
	if !ok {
		t.Fatalf("the first line is %q, want the address of the page", lines.Text())
	}
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "L001/W01/T01") {
		// The cell is at work when it has tested a first touchdown.
	}

	if status, kind, _ := get(t, url); status != http.StatusOK || !strings.HasPrefix(kind, "text/html") {
		t.Errorf("the page is %d %s, want 200 and HTML", status, kind)
	}
	status, _, body := get(t, url+"data.json")
	if status != http.StatusOK || !json.Valid(body) {
		t.Errorf("data.json is %d and valid: %t, want 200 and valid", status, json.Valid(body))
	}
	for _, topic := range []string{"handler.load", "cell.test", "instrument.supply", "instrument.leakage", "instrument.ripple"} {
		if !bytes.Contains(body, []byte(topic)) {
			t.Errorf("data.json does not mention %s", topic)
		}
	}

	stop()
	var rest []string
	for lines.Scan() {
		rest = append(rest, lines.Text())
	}
	if status := <-exit; status != 0 {
		t.Errorf("exit status is %d, want 0", status)
	}
	if !strings.Contains(strings.Join(rest, "\n"), "dies tested") {
		t.Errorf("no summary in the end: %q", rest)
	}
	if connection, err := net.Dial("tcp", strings.TrimPrefix(strings.TrimSuffix(url, pagePath), "http://")); err == nil {
		connection.Close()
		t.Error("the page is still there")
	}
}

func TestUsage(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		errs   string // how standard error begins
	}{
		{"help", []string{"-h"}, 0, "Usage of testcell:\n"},
		{"unknown flag", []string{"-x"}, 2, "flag provided but not defined: -x\n"},
		{"argument", []string{"lot"}, 2, "testcell: unexpected argument \"lot\"\n"},
		{"address in use", []string{"-addr", taken.Addr().String()}, 1, "testcell: listen tcp " + taken.Addr().String() + ": "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if status := run(t.Context(), tt.args, &out, &errs); status != tt.status {
				t.Errorf("exit status is %d, want %d", status, tt.status)
			}
			if !strings.HasPrefix(errs.String(), tt.errs) {
				t.Errorf("standard error is %q, want it to begin with %q", &errs, tt.errs)
			}
			if out.Len() > 0 {
				t.Errorf("standard output has %q, want nothing", &out)
			}
		})
	}
}

func TestTheTerminalGetsNoStacks(t *testing.T) {
	var errs bytes.Buffer
	slog.New(withoutStacks(&errs)).Error("producer panicked", slog.GroupAttrs("dispatch",
		slog.String("producer", "site-4"), slog.String("stack", "goroutine 1 [running]"), slog.String("added_at", "sites.go:1")))
	if got, want := errs.String(), "level=ERROR msg=\"producer panicked\" dispatch.producer=site-4\n"; got != want {
		t.Errorf("the line is %q, want %q", got, want)
	}
}
