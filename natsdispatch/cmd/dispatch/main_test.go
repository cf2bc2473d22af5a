package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// patience is how long a test waits before it fails.
const patience = time.Minute

// built is the directory of the programs under test: the command and a NATS server.
var built string

func TestMain(m *testing.M) {
	status, err := withPrograms(m.Run)
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(status)
}

func withPrograms(run func() int) (status int, err error) {
	if built, err = os.MkdirTemp("", "dispatch-command-"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(built)) }()
	command := []string{"build", "-o", filepath.Join(built, "dispatch")}
	if raceFlag != "" {
		command = append(command, raceFlag)
	}
	for _, args := range [][]string{
		append(command, "."),
		{"build", "-o", filepath.Join(built, "nats-server"), "github.com/nats-io/nats-server/v2"},
	} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			return 1, fmt.Errorf("go %v: %w\n%s", args, err, out)
		}
	}
	return run(), nil
}

// startServer starts a NATS server with a configuration as a process, and returns its URL.
func startServer(t *testing.T, config string) string {
	t.Helper()
	url, _ := startServerOn(t, "-1", config)
	return url
}

// startServerOn starts a server on a port; on any free one if this is -1. send sends a signal to the server, and
// waits for its end if this is SIGKILL.
func startServerOn(t *testing.T, port, config string) (url string, send func(syscall.Signal)) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "server.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(filepath.Join(built, "nats-server"), "-c", file, "-a", "127.0.0.1", "-p", port, "--ports_file_dir", dir)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // the error is that the process was killed
	}()
	send = func(s syscall.Signal) {
		_ = cmd.Process.Signal(s) // the process may have ended
		if s == syscall.SIGKILL {
			<-ended
		}
	}
	t.Cleanup(func() {
		send(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("the server said:\n%s", said.String())
		}
	})
	var ports struct{ Nats []string }
	until(t, "the server to listen", func() bool {
		select {
		case <-ended:
			t.Fatalf("the server ended:\n%s", said.String())
		default:
		}
		files, _ := filepath.Glob(filepath.Join(dir, "*.ports"))
		if len(files) == 0 {
			return false
		}
		body, err := os.ReadFile(files[0])
		return err == nil && json.Unmarshal(body, &ports) == nil && len(ports.Nats) > 0
	})
	return ports.Nats[0], send
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited for %s, which did not come", what)
		}
	}
}

// process is a running command.
type process struct {
	*exec.Cmd
	t      *testing.T
	mu     sync.Mutex // guards out and errs
	out    bytes.Buffer
	errs   bytes.Buffer
	ended  chan struct{}
	status int // the exit status; set before ended is closed
}

// start starts the command with an input. Its environment has only env.
func start(t *testing.T, input string, env []string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(filepath.Join(built, "dispatch"), args...), t: t, ended: make(chan struct{})}
	p.Env = append([]string{"HOME=" + t.TempDir(), "GORACE=halt_on_error=1"}, env...)
	p.Stdin = strings.NewReader(input)
	p.Stdout, p.Stderr = lockedWriter{&p.mu, &p.out}, lockedWriter{&p.mu, &p.errs}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.Wait() // ProcessState has the exit status
		p.status = p.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // the process may have ended
		<-p.ended
		if t.Failed() {
			t.Logf("dispatch %q ended with %d\nstdout:\n%s\nstderr:\n%s", args, p.status, p.out.String(), p.errs.String())
		}
	})
	return p
}

type lockedWriter struct {
	mu *sync.Mutex
	to io.Writer
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(b)
}

func (p *process) stdout() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func (p *process) stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.errs.String()
}

// says waits until the command has printed a text.
func (p *process) says(text string) {
	p.t.Helper()
	until(p.t, fmt.Sprintf("the command to print %q", text), func() bool { return strings.Contains(p.stdout()+p.stderr(), text) })
}

// ends waits until the command ends, and checks its exit status.
func (p *process) ends(status int) *process {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatal("the command does not end")
	}
	if p.status != status {
		p.t.Errorf("dispatch %q ended with %d, want %d", p.Args[1:], p.status, status)
	}
	return p
}

// interrupt sends SIGINT to the command, as Ctrl-C does.
func (p *process) interrupt() {
	if err := p.Process.Signal(syscall.SIGINT); err != nil {
		p.t.Error(err)
	}
}

// run runs the command on a server until it ends, and checks the exit status.
func run(t *testing.T, status int, url string, args ...string) *process {
	t.Helper()
	return start(t, "", []string{"NATS_URL=" + url}, args...).ends(status)
}

// jsonLines reads output that has one JSON value on each line.
func jsonLines[T any](t *testing.T, out string) (all []T) {
	t.Helper()
	for line := range strings.Lines(out) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, v)
	}
	return all
}

type (
	request struct{ Pin string }
	reading struct{ Volts float64 }
)

var measure = dispatch.NewTopic[request, reading]("cell.measure", dispatch.WithTimeout(patience))

func connect(t *testing.T, url string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, natsdispatch.Robust)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// volts returns a producer that answers at once. The producer hangs answers only when its context ends.
func volts(v float64) dispatch.Producer[request, reading] {
	return func(context.Context, request) (reading, error) { return reading{v}, nil }
}

func hangs(ctx context.Context, _ request) (reading, error) {
	<-ctx.Done()
	return reading{}, context.Cause(ctx)
}

// cell starts a node with a producer for each site.
func cell(t *testing.T, nc *nats.Conn, name string, sites map[string]dispatch.Producer[request, reading], opts ...natsdispatch.ServeOption) *natsdispatch.Node {
	t.Helper()
	d := dispatch.New[request, reading](dispatch.WithLogger(slog.New(slog.DiscardHandler)))
	t.Cleanup(func() { d.Close() })
	for site, p := range sites {
		if _, err := d.AddProducer(measure, p, dispatch.WithName(site)); err != nil {
			t.Fatal(err)
		}
	}
	opts = append([]natsdispatch.ServeOption{natsdispatch.WithNode(name), natsdispatch.WithErrorHandler(func(err error) {
		if !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, dispatch.ErrDuplicate) { // some tests start twins
			t.Errorf("node %s: %v", name, err)
		}
	})}, opts...)
	n, err := natsdispatch.Serve(nc, d, measure, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

type sites = map[string]dispatch.Producer[request, reading]

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{nil, exitUsage, "usage: dispatch COMMAND"},
		{[]string{"help"}, exitComplete, "usage: dispatch COMMAND"},
		{[]string{"help", "ask"}, exitComplete, "usage: dispatch ask TOPIC [JSON] [FLAGS]"},
		{[]string{"--help", "nodes"}, exitComplete, "usage: dispatch nodes [TOPIC] [FLAGS]"},
		{[]string{"help", "--help"}, exitComplete, "usage: dispatch COMMAND"},
		{[]string{"help", "fly"}, exitUsage, `there is no command "fly"`},
		{[]string{"fly"}, exitUsage, `there is no command "fly"`},
		{[]string{"ask", "--help"}, exitComplete, "usage: dispatch ask TOPIC [JSON] [FLAGS]"},
		{[]string{"nodes", "-h"}, exitComplete, "NATS_CREDS"},
		{[]string{"ask"}, exitUsage, "the topic is missing"},
		{[]string{"ask", "a b"}, exitUsage, "a b"},
		{[]string{"ask", "cell.*"}, exitUsage, "cell.*"},
		{[]string{"ask", "t", "{", "--json"}, exitUsage, "the request is no JSON"},
		{[]string{"ask", "t", "1", "2"}, exitUsage, `"2" is too much`},
		{[]string{"ask", "t", "--timeout", "soon"}, exitUsage, "soon"},
		{[]string{"ask", "t", "--timeout", "5"}, exitUsage, `"5" for flag -timeout: a duration is a number with a unit`},
		{[]string{"ask", "t", "--timeout", "0s"}, exitUsage, "--timeout 0s is not positive"},
		{[]string{"ask", "t", "--discovery", "-1s"}, exitUsage, "--discovery -1s is not positive"},
		{[]string{"ask", "t", "--quorum", "-1"}, exitUsage, "--quorum -1 is negative"},
		{[]string{"ask", "t", "--colour"}, exitUsage, "-colour"},
		{[]string{"nodes", "a..b"}, exitUsage, "a..b"},
		{[]string{"nodes", "a.>.b"}, exitUsage, "a.>.b"},
		{[]string{"nodes", "a", "b"}, exitUsage, `"b" is too much`},
		{[]string{"nodes", "--prefix", strings.Repeat("x", 257)}, exitUsage, "--prefix"},
		{[]string{"nodes", "--space", strings.Repeat("x", 129)}, exitUsage, "--space"},
		{[]string{"ask", "t", "--prefix", strings.Repeat("x", 257)}, exitUsage, "--prefix"},
		{[]string{"nodes", strings.Repeat("x", 256)}, exitUsage, "is no topic"},
		{[]string{"listen", strings.Repeat("x", 5000)}, exitUsage, "is no topic"},
		{[]string{"conformance", strings.Repeat("x", 256)}, exitUsage, "is no topic"},
		{[]string{"nodes", "--wait", "0s"}, exitUsage, "--wait 0s is not positive"},
		{[]string{"listen"}, exitUsage, "one topic or pattern"},
		{[]string{"listen", "t", "--count", "-1"}, exitUsage, "--count -1 is negative"},
		{[]string{"conformance"}, exitUsage, "one topic is wanted"},
		{[]string{"conformance", "cell.*"}, exitUsage, "is no topic"},
		{[]string{"conformance", "t", "--slow", "{"}, exitUsage, "--slow is no JSON"},
		{[]string{"conformance", "t", "--quiet", "0s"}, exitUsage, "have to be positive"},
		{[]string{"nodes", "--context", "../x"}, exitUsage, "../x"},
		{[]string{"nodes", "--context", "missing"}, exitUsage, `there is no context "missing"`},
		{[]string{"nodes", "--tlscert", "x"}, exitUsage, "a certificate needs its key"},
		{[]string{"nodes", "-s", "nats://user:secret@127.0.0.1:1"}, exitUnavailable, "connect to nats://xxxxx@127.0.0.1:1"},
		{[]string{"nodes", "--nkey", "/does/not/exist"}, exitUnavailable, "nkey"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			t.Parallel()
			p := start(t, "", nil, c.args...).ends(c.status)
			if out := p.stdout() + p.stderr(); !strings.Contains(out, c.says) {
				t.Errorf("printed %q, want %q in it", out, c.says)
			}
			if c.status == exitComplete && p.stderr() != "" || c.status != exitComplete && p.stdout() != "" {
				t.Error("help goes to stdout, and complaints to stderr")
			}
		})
	}
}

func TestTimeoutFromTheEnvironment(t *testing.T) {
	p := start(t, "", []string{"NATS_TIMEOUT=soon"}, "ask", "t").ends(exitUsage)
	if !strings.Contains(p.stderr(), `NATS_TIMEOUT is "soon": a duration is a number with a unit`) {
		t.Errorf("said %q", p.stderr())
	}
}
