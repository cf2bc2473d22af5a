package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
)

// The server accepts four users and no others.
func TestConnections(t *testing.T) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	config := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(config, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	users := startServer(t, fmt.Sprintf(`authorization { users: [
		{user: floor, password: secret}
		{nkey: %s}
		{user: narrow, password: secret, permissions: {subscribe: ["_INBOX_N.>"], publish: ["dispatch.default.probe"]}}
	] }`, public))
	token := startServer(t, `authorization { token: s3cr3t }`)
	context := func(name string, fields map[string]any) {
		t.Helper()
		body, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		write("nats/context/"+name+".json", string(body))
	}
	seedFile := write("seed.nk", string(seed))
	context("floor", map[string]any{"description": "ours", "url": users, "user": "floor", "password": "secret", "jetstream_domain": "x"})
	context("wrong", map[string]any{"url": users, "user": "floor", "password": "wrong"})
	context("nkey", map[string]any{"url": users, "nkey": "$SEEDS/seed.nk"})
	context("home", map[string]any{"url": users, "nkey": "~/seed.nk"})
	context("token", map[string]any{"url": token, "token": "s3cr3t"})
	context("narrow", map[string]any{"url": users, "user": "narrow", "password": "secret", "inbox_prefix": "_INBOX_N"})
	context("nsc", map[string]any{"nsc": "nsc://o/a/u"})
	context("socks", map[string]any{"socks_proxy": "socks5://localhost"})
	context("op", map[string]any{"url": users, "user": "floor", "password": "op://vault/item"})
	write("nats/context/broken.json", "{")
	xdg := "XDG_CONFIG_HOME=" + config
	for _, c := range []struct {
		name     string
		env      []string
		args     []string
		refused  string // the error if the server or the command refuses; empty: the connection is made
		selected string // the selected context
	}{
		{name: "nobody", args: []string{"-s", users}, refused: "Authorization Violation"},
		{name: "user and password", args: []string{"-s", users, "--user", "floor", "--password", "secret"}},
		{name: "from the environment", env: []string{"NATS_URL=" + users, "NATS_USER=floor", "NATS_PASSWORD=secret"}},
		{name: "flags win over the environment", env: []string{"NATS_URL=nats://127.0.0.1:1", "NATS_USER=x"}, args: []string{"--server", users, "--user", "floor", "--password", "secret"}},
		{name: "an nkey wins over a user of the environment", env: []string{"NATS_USER=x", "NATS_PASSWORD=y"}, args: []string{"-s", users, "--nkey", seedFile}},
		{name: "an nkey wins over credentials of the environment", env: []string{"NATS_CREDS=/does/not/exist"}, args: []string{"-s", users, "--nkey", seedFile}},
		{name: "a user wins over an nkey of the environment", env: []string{"NATS_NKEY=/does/not/exist"}, args: []string{"-s", users, "--user", "floor", "--password", "secret"}},
		{name: "credentials win over a user of the environment", env: []string{"NATS_USER=floor", "NATS_PASSWORD=secret"}, args: []string{"-s", users, "--creds", "/does/not/exist"}, refused: "/does/not/exist"},
		{name: "a user with a password of the environment", env: []string{"NATS_USER=x", "NATS_PASSWORD=secret"}, args: []string{"-s", users, "--user", "floor"}},
		{name: "a password wins over the context", args: []string{"--context", "wrong", "--password", "secret"}},
		{name: "a password of the environment wins over the context", env: []string{"NATS_PASSWORD=secret"}, args: []string{"--context", "wrong"}},
		{name: "token", args: []string{"-s", token, "--user", "s3cr3t"}},
		{name: "nkey", args: []string{"-s", users, "--nkey", seedFile}},
		{name: "creds that are not there", args: []string{"-s", users, "--creds", "/does/not/exist"}, refused: "/does/not/exist"},
		{name: "context", args: []string{"--context", "floor"}},
		{name: "context from the environment", env: []string{"NATS_CONTEXT=floor"}},
		{name: "context with an nkey", env: []string{"SEEDS=" + config}, args: []string{"--context", "nkey"}},
		{name: "context with a path at home", env: []string{"HOME=" + config}, args: []string{"--context", "home"}},
		{name: "context with a token", args: []string{"--context", "token"}},
		{name: "context with an inbox prefix", args: []string{"--context", "narrow"}},
		{name: "inbox prefix", args: []string{"-s", users, "--user=narrow", "--password=secret", "--inbox-prefix=_INBOX_N"}},
		{name: "context with a wrong password", args: []string{"--context", "wrong"}, refused: "Authorization Violation"},
		{name: "flags win over the context", args: []string{"--context", "wrong", "--nkey", seedFile}},
		{name: "the server wins over the context", args: []string{"--context", "floor", "-s", token}, refused: "Authorization Violation"},
		{name: "the context that is selected", selected: "floor\n"},
		{name: "the context that is selected is not wanted", selected: "wrong", args: []string{"--no-context", "-s", users, "--nkey", seedFile}},
		{name: "the context that is selected is not there", selected: "missing", refused: `there is no context "missing"`},
		{name: "what cannot be done: nsc", args: []string{"--context", "nsc"}, refused: "nsc is not supported"},
		{name: "what cannot be done: a proxy", args: []string{"--context", "socks"}, refused: "socks_proxy is not supported"},
		{name: "what cannot be done: 1Password", args: []string{"--context", "op"}, refused: "password: op://… is not supported"},
		{name: "no JSON", args: []string{"--context", "broken"}, refused: `context "broken"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := append([]string{xdg}, c.env...)
			if err := os.Remove(filepath.Join(config, "nats/context.txt")); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if c.selected != "" {
				write("nats/context.txt", c.selected)
			}
			p := start(t, "", env, append([]string{"nodes", "--wait", "1ms"}, c.args...)...)
			// No node serves a topic on this server, so exit status 2 means that the connection was made.
			switch status := p.waited(); {
			case c.refused == "" && status != exitNothing:
				t.Errorf("ended with %d", status)
			case c.refused != "" && (status != exitUnavailable && status != exitUsage || !strings.Contains(p.stderr(), c.refused)):
				t.Errorf("ended with %d, and did not say %q", status, c.refused)
			case strings.Contains(p.stderr(), "secret") || strings.Contains(p.stderr(), "s3cr3t"):
				t.Errorf("it prints secrets")
			}
		})
	}
}

// A flag wins over the context also if it says no.
func TestFlagThatSaysNo(t *testing.T) {
	config := t.TempDir()
	if err := os.MkdirAll(filepath.Join(config, "nats/context"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(config, "nats/context/first.json"), []byte(`{"tls_first":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	getenv := func(key string) string {
		return map[string]string{"XDG_CONFIG_HOME": config, "NATS_CONTEXT": "first"}[key]
	}
	for args, want := range map[string]bool{"": true, "--tlsfirst": true, "--tlsfirst=false": false} {
		var c connection
		set := new(program).flags("nodes")
		c.addTo(set, getenv)
		if err := set.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		if s, err := c.settings(getenv); err != nil || s.TLSFirst != want {
			t.Errorf("with %q: TLS first is %v, %v; want %v", args, s.TLSFirst, err, want)
		}
	}
}
