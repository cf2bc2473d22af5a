package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestLinesOfJSON(t *testing.T) {
	s := newScene(t)
	s.expires()
	lines := s.lines(t.Context(), "*/*")
	want(t, lines, `{"result":{"from":"a","value":12.5}}`) // b has not answered yet
	wait(t, "b to be asked", s.asked)
	wait(t, "c to fail", s.failed)
	s.expire()
	want(t, lines, `{"end":{"reason":"deadline","elapsed_ns":7,"missing":[`+
		`{"from":"b","state":"late","error":"context deadline exceeded"},`+
		`{"from":"c","state":"failed","error":"503 Service Unavailable"}]}}`)
	if lines.Scan() {
		t.Errorf("after the end comes %q", lines.Text())
	}
}

func TestServerSentEvents(t *testing.T) {
	s := newScene(t)
	s.expires()
	lines := s.lines(t.Context(), "text/event-stream")
	want(t, lines, `event: result`, `data: {"from":"a","value":12.5}`, ``)
	wait(t, "b to be asked", s.asked)
	wait(t, "c to fail", s.failed)
	s.expire()
	want(t, lines, `event: end`, `data: {"reason":"deadline","elapsed_ns":7,"missing":[`+
		`{"from":"b","state":"late","error":"context deadline exceeded"},`+
		`{"from":"c","state":"failed","error":"503 Service Unavailable"}]}`, ``)
	if lines.Scan() {
		t.Errorf("after the end comes %q", lines.Text())
	}
}

func TestTheCallIsCanceledWhenTheClientLeaves(t *testing.T) {
	s := newScene(t)
	ctx, leave := context.WithCancel(t.Context())
	want(t, s.lines(ctx, "*/*"), `{"result":{"from":"a","value":12.5}}`)
	wait(t, "b to be asked", s.asked)
	wait(t, "c to fail", s.failed)
	leave()
	wait(t, "b to see its client leave", s.left)
	wantStates(t, wait(t, "the end of the call", s.ended), dispatch.ReasonCanceled, dispatch.StateCanceled)
}

func TestAStreamEndsBeforeTheServerDoes(t *testing.T) {
	s := newScene(t)
	begun := make(chan struct{})
	s.gateway.Config.RegisterOnShutdown(func() { close(begun) })
	lines := s.lines(t.Context(), "*/*")
	want(t, lines, `{"result":{"from":"a","value":12.5}}`)
	wait(t, "b to be asked", s.asked)
	wait(t, "c to fail", s.failed)

	down := make(chan error, 1)
	go func() { down <- shutDown(t.Context(), s.gateway.Config, s.d) }()
	wait(t, "the shutdown to begin", begun)
	close(s.answer)
	want(t, lines, `{"result":{"from":"b","value":9.9}}`,
		`{"end":{"reason":"all ended","elapsed_ns":7,"missing":[{"from":"c","state":"failed","error":"503 Service Unavailable"}]}}`)
	if err := wait(t, "the shutdown", down); err != nil {
		t.Error(err)
	}
}

func TestAStreamSaysThatTheServerHasEndedIt(t *testing.T) {
	s := newScene(t)
	lines := s.lines(t.Context(), "*/*")
	want(t, lines, `{"result":{"from":"a","value":12.5}}`)
	wait(t, "b to be asked", s.asked)
	wait(t, "c to fail", s.failed)
	noGrace, cancel := context.WithCancel(t.Context())
	cancel()
	if err := shutDown(noGrace, s.gateway.Config, s.d); err != nil {
		t.Error(err)
	}
	want(t, lines, `{"end":{"reason":"closed","elapsed_ns":7,"missing":[`+
		`{"from":"b","state":"canceled","error":"dispatch: closed"},`+
		`{"from":"c","state":"failed","error":"503 Service Unavailable"}]}}`)
	wait(t, "b to see its client leave", s.left)
}

func TestWithoutAnItemNobodyIsAsked(t *testing.T) {
	s := newScene(t)
	resp := s.get(t.Context(), "", "*/*")
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusBadRequest || err != nil || !strings.Contains(string(body), "which item?") {
		t.Errorf("got %s: %q, %v", resp.Status, body, err)
	}
	if n := s.d.Bus().Snapshot().Sent; n != 0 {
		t.Errorf("%d calls were sent", n)
	}
}

func TestTheProgram(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	r, out := io.Pipe()
	status := make(chan int, 1)
	var errs bytes.Buffer
	go func() {
		status <- run(ctx, []string{"-addr", "127.0.0.1:0", "-timeout", "10ms"}, out, &errs)
		out.Close()
	}()
	printed := bufio.NewScanner(r)
	url := ""
	for url == "" && printed.Scan() {
		_, url, _ = strings.Cut(printed.Text(), "curl -N ")
	}
	resp, err := http.Get(strings.Trim(url, "'"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(body), `{"from":"hangs","state":"late","error":"context deadline exceeded"}`) {
		t.Errorf("the stream does not say that hangs is late:\n%s", body)
	}
	interrupt()
	if got := wait(t, "the program to end", status); got != 0 || errs.Len() > 0 {
		t.Errorf("the exit status is %d, the errors are %q", got, &errs)
	}
}

func TestTheProgramDoesNotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct {
		name string
		args []string
		want int
		errs string // how the errors begin
	}{
		{"help", []string{"-h"}, 0, "Usage of gateway:"},
		{"an unknown flag", []string{"-x"}, 2, "flag provided but not defined: -x"},
		{"no time", []string{"-timeout", "0s"}, 2, "gateway: -timeout is 0s, and has to be positive"},
		{"an address in use", []string{"-addr", taken.Addr().String()}, 1, "gateway: listen tcp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if got := run(t.Context(), tt.args, &out, &errs); got != tt.want || !strings.HasPrefix(errs.String(), tt.errs) || out.Len() > 0 {
				t.Errorf("the exit status is %d, the errors are %q, the output is %q", got, &errs, &out)
			}
		})
	}
}
