package main

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// A command that waits for messages ends if the server does not let it back in, and says why.
func TestConnectionIsClosedForGood(t *testing.T) {
	url, send := startServerOn(t, "-1", "")
	env := []string{"NATS_URL=" + url}
	commands := []*process{
		start(t, "", env, "listen", "cell.measure"), start(t, "", env, "nodes", "--watch", "--json"),
	}
	commands[0].says("listening")
	cell(t, connect(t, url), "cell-7", sites{"site-1": volts(1)})
	commands[1].says("cell-7")
	send(syscall.SIGKILL)
	startServerOn(t, url[strings.LastIndexByte(url, ':')+1:], `authorization { token: s3cr3t }`)
	for _, p := range commands {
		if p.ends(exitUnavailable); !strings.Contains(p.stderr(), "is closed: nats: Authorization Violation") {
			t.Errorf("%q said %q", p.Args[1:], p.stderr())
		}
	}
}

// A command that runs until it is interrupted outlives a server that answers nothing for a while.
func TestWatchOutlivesASilentServer(t *testing.T) {
	t.Parallel()
	url, send := startServerOn(t, "-1", "")
	p := start(t, "", []string{"NATS_URL=" + url}, "nodes", "--watch", "--json")
	cell(t, connect(t, url), "cell-7", sites{"site-1": volts(1)})
	p.says("cell-7")
	send(syscall.SIGSTOP)
	time.Sleep(8 * time.Second) // for longer than a probe waits for the server
	send(syscall.SIGCONT)
	cell(t, connect(t, url), "cell-8", sites{"site-1": volts(1)})
	p.says("cell-8")
	p.interrupt()
	p.ends(exitComplete)
}

// A command that the server does not allow to publish or to subscribe ends, and says what was refused.
func TestServerRefuses(t *testing.T) {
	url := startServer(t, `authorization { users: [{user: u, password: p, permissions: {
		subscribe: {deny: ["dispatch.v1.default.result.>", "dispatch.default.presence.>"]}, publish: {deny: ["dispatch.default.probe"]}
	}}] }`)
	for _, c := range []struct{ args, says string }{
		{"listen cell.measure", `Subscription to "dispatch.v1.default.result.*.cell.measure"`},
		{"nodes --wait 1m", `Publish to "dispatch.default.probe"`},
		{"nodes cell.measure --watch", `ermissions`},
		{"conformance cell.measure --patience 1m", `Publish to "dispatch.default.probe"`},
		{"ask cell.measure", `ermissions`},
	} {
		args := append(strings.Fields(c.args), "-s", url, "--user", "u", "--password", "p")
		if p := start(t, "", nil, args...).ends(exitUnavailable); !strings.Contains(p.stderr(), c.says) || p.stdout() != "" {
			t.Errorf("%s: said %q", c.args, p.stderr())
		}
	}
}

// A request that the server does not allow is no request that nobody answers.
func TestServerRefusesTheRequest(t *testing.T) {
	url := startServer(t, `authorization { users: [
		{user: u, password: p, permissions: {publish: {deny: ["dispatch.v1.default.ask.>"]}}}
		{user: all, password: p}
	] }`)
	cell(t, connect(t, strings.Replace(url, "//", "//all:p@", 1)), "cell-7", sites{"site-1": volts(1)})
	p := start(t, "", nil, "ask", "cell.measure", "-s", url, "--user", "u", "--password", "p").ends(exitUnavailable)
	if !strings.Contains(p.stderr(), `Publish to "dispatch.v1.default.ask.cell.measure"`) || !strings.Contains(p.stdout(), "nothing: ") {
		t.Errorf("said %q and %q", p.stdout(), p.stderr())
	}
}

// The command prints nothing about nodes that come and go while it asks.
func TestAskIsQuietAboutNodes(t *testing.T) {
	url := startServer(t, "")
	cell(t, connect(t, url), "cell-7", sites{"site-1": volts(1)})
	if p := run(t, exitComplete, url, "ask", "cell.measure"); p.stderr() != "" {
		t.Errorf("said %q", p.stderr())
	}
}
