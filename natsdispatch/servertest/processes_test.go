package servertest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"os/exec"
	"os/signal"
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

// If the environment variable nodeURL is set, this program is a node on the server with that URL.
const nodeURL = "NATSDISPATCH_TEST_NODE"

// nodeBeat is the environment variable with the beat of that node, as a duration.
const nodeBeat = "NATSDISPATCH_TEST_BEAT"

// build builds the server once, when a test first needs it, and returns the path of the program.
var build = sync.OnceValues(func() (path string, err error) {
	dir, err := os.MkdirTemp("", "nats-server")
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "nats-server")
	out, err := exec.Command("go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build a server: %w: %s", err, out)
	}
	return path, err
})

func TestMain(m *testing.M) {
	for key, be := range map[string]func(url string) error{nodeURL: beNode, askerURL: beAsker} {
		if url := os.Getenv(key); url != "" {
			if err := be(url); err != nil {
				fmt.Fprintln(os.Stderr, key, err)
				os.Exit(1)
			}
			return
		}
	}
	code := m.Run()
	if path, err := build(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// beNode serves the node far until an interrupt. Its member m answers "quick" at once. To "result" it gives
// one result, and then waits. It answers "later" after five seconds, and all other requests only after an
// hour.
func beNode(url string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	nc, err := nats.Connect(url, natsdispatch.Robust, nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0), nats.DontRandomize())
	if err != nil {
		return err
	}
	defer nc.Close()
	far := dispatch.New[string, string]()
	if _, err := far.AddStreamProducer(measure, func(ctx context.Context, req string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			wait := time.Hour
			switch req {
			case "quick":
				yield("answer", nil)
				return
			case "result":
				if !yield("first", nil) {
					return
				}
			case "later":
				wait = 5 * time.Second
			}
			select {
			case <-time.After(wait):
				yield("answer", nil)
			case <-ctx.Done():
				yield("", ctx.Err())
			}
		}
	}, dispatch.WithName("m")); err != nil {
		return err
	}
	beat, err := time.ParseDuration(os.Getenv(nodeBeat))
	if err != nil {
		return err
	}
	node, err := natsdispatch.Serve(nc, far, measure, natsdispatch.WithNode("far"), natsdispatch.WithBeat(beat),
		natsdispatch.WithErrorHandler(func(error) {}), unlogged)
	if err != nil {
		return err
	}
	<-ctx.Done()
	return node.Close()
}

// process is a program that runs as a separate process.
type process struct {
	t     testing.TB
	start func() *exec.Cmd
	cmd   *exec.Cmd
}

func startProcess(t testing.TB, start func() *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, start: start}
	p.run()
	t.Cleanup(p.kill)
	return p
}

func (p *process) run() {
	p.t.Helper()
	p.cmd = p.start()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// signal sends a signal. After SIGSTOP, it returns when the process has stopped.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Errorf("%v: %v", s, err)
		return
	}
	if s == syscall.SIGSTOP {
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
			p.t.Errorf("%v: status %v, %v", s, status, err)
		}
	}
}

// kill kills the process and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // the process may have ended before
	_ = p.cmd.Wait()
}

// plant is a server and a node, which are processes, and an asker in the process of the test.
type plant struct {
	server *process // the only server, or in a cluster the server that the fault of the row concerns
	node   *process
	twin   func()
	proxy  *proxy // of the connection that the fault of the row concerns; nil: there is none
	nc     *nats.Conn
	near   *dispatcher
	remote *natsdispatch.Remote
}

// startPlant starts the processes that the tests of a row need.
func startPlant(t *testing.T, who string, beat time.Duration) *plant {
	t.Helper()
	p := &plant{near: newBus()}
	var asker, far string // the URLs of their servers
	if strings.HasSuffix(who, " in a cluster") {
		c := startCluster(t)
		for _, url := range c.urls { // otherwise the asker would connect to the first server that is up
			until(t, "a server", func() bool {
				conn, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
				if err == nil {
					conn.Close()
				}
				return err == nil
			})
		}
		p.server = c.servers[0]
		if strings.HasPrefix(who, "server of the node") {
			p.server = c.servers[1]
		}
		asker, far = strings.Join(c.urls[:], ","), strings.Join([]string{c.urls[1], c.urls[2], c.urls[0]}, ",")
	} else {
		asker = p.startServer(t)
		far = asker
	}
	switch who {
	case "connection of the asker":
		p.proxy = startProxy(t, strings.TrimPrefix(asker, "nats://"))
		asker = p.proxy.url()
	case "connection of the node":
		p.proxy = startProxy(t, strings.TrimPrefix(far, "nats://"))
		far = p.proxy.url()
	}
	p.nc = connect(t, asker, nats.DontRandomize()) // connects again until the server is up
	until(t, "the server", p.nc.IsConnected)
	node := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), nodeURL+"="+far, nodeBeat+"="+beat.String())
		cmd.Stderr = os.Stderr
		return cmd
	}
	p.node = startProcess(t, node)
	p.twin = func() { startProcess(t, node) }
	p.remote = join(t, p.nc, p.near, []string{"far"}, quiet)
	return p
}

// startServer starts a server and returns its URL.
func (p *plant) startServer(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	port := freePorts(t, 1)[0]
	p.server = startProcess(t, func() *exec.Cmd {
		return exec.Command(path, "-a", "127.0.0.1", "-p", port)
	})
	return "nats://127.0.0.1:" + port
}

func (p *plant) nodes() int { return len(p.remote.Nodes()) }

// row is a row of the table of processes in docs/faults.md.
type row struct{ who, fault, when, reason, members string }

func faultTable(t *testing.T) (rows []row) {
	t.Helper()
	for _, cells := range tableRows(t, 5) {
		rows = append(rows, row{cells[0], cells[1], cells[2], cells[3], cells[4]})
	}
	return rows
}

// tableRows returns the rows, without the head, of the table in docs/faults.md that has this number of
// columns.
func tableRows(t *testing.T, columns int) (rows [][]string) {
	t.Helper()
	document, err := os.ReadFile("../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(document)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != columns+2 {
			continue
		}
		cells = cells[1 : columns+1]
		for i := range cells {
			cells[i] = strings.Trim(cells[i], " `")
		}
		rows = append(rows, cells)
	}
	return rows[2:]
}

// Each row of the table of processes in docs/faults.md is true.
func TestFaultsOfProcesses(t *testing.T) {
	rows := faultTable(t)
	if len(rows) < 33 {
		t.Errorf("the table has %d rows", len(rows))
	}
	for _, r := range rows {
		t.Run(r.who+" "+r.fault+" "+r.when, func(t *testing.T) { r.test(t) })
	}
}

// beat returns the beat of the node. The beat is long if the node is to answer after a reconnect, so that
// the node does not count as silent before that.
func (r row) beat() time.Duration {
	if strings.Contains(r.when, "answers later") && strings.HasSuffix(r.members, "far/m ok") {
		return natsdispatch.DefaultBeat
	}
	return 200 * time.Millisecond
}

func (r row) test(t *testing.T) {
	p := startPlant(t, r.who, r.beat())
	timeout, request := 20*time.Second, "hang"
	fault, short := strings.CutSuffix(r.fault, ", short")
	if short {
		timeout = time.Second
	}
	before := strings.Contains(r.when, "before the call")
	switch {
	case strings.Contains(r.when, "answers later"):
		request = "later"
	case strings.Contains(r.when, "after a result"):
		request = "result"
	case before:
		request = "quick"
	}
	var call *dispatch.Call[string, string]
	if !before {
		call = send(t, p.near, request, dispatch.WithTimeout(timeout))
		named(t, call, 1)
	}
	if request == "result" {
		for range call.Results() {
			break
		}
	}
	r.happen(t, p, fault)
	if before {
		call = send(t, p.near, request, dispatch.WithTimeout(timeout))
	}
	report := ended(t, call)
	if got := report.Reason.String(); got != r.reason {
		t.Errorf("the call ended as %s, want %s; %v", got, r.reason, report.Err())
	}
	want(t, report, report.Reason, strings.Split(r.members, ", ")...)
	for _, o := range report.Outcomes {
		if o.State == dispatch.StateFailed && !errors.Is(o.Err, dispatch.ErrUnreachable) && !errors.Is(o.Err, dispatch.ErrDuplicate) {
			t.Errorf("%v has failed with %v", o.Member, o.Err)
		}
		if (o.State == dispatch.StateGone) != errors.Is(o.Err, dispatch.ErrGone) {
			t.Errorf("%v is %v with %v", o.Member, o.State, o.Err)
		}
		if request == "result" && o.Results != 1 {
			t.Errorf("%v has %d results, want the one that came", o.Member, o.Results)
		}
	}
	noMisuse(t, p.near)
}

// faults returns, by the names in the table, functions that cause or end a fault.
func (r row) faults(p *plant) map[string]func() {
	victim := p.server
	if r.who == "node" {
		victim = p.node
	}
	faults := map[string]func(){
		"killed":              victim.kill,
		"stopped":             func() { victim.signal(syscall.SIGSTOP) },
		"continued":           func() { victim.signal(syscall.SIGCONT) },
		"started again":       victim.run,
		"a twin starts":       p.twin,
		"goes on":             func() {},
		"broken":              func() { p.proxy.set(true) },
		"broken for a moment": func() { p.proxy.set(true); p.proxy.set(false) },
		"made again":          func() { p.proxy.set(false) },
		"half open":           func() { p.proxy.die() },
		"forwards again":      func() { p.proxy.revive() },
	}
	return faults
}

// happen causes the fault of the row, and ends it if the row says so.
func (r row) happen(t *testing.T, p *plant, fault string) {
	t.Helper()
	faults := r.faults(p)
	first, then, follows := strings.Cut(fault, ", ")
	if faults[first] == nil || follows && faults[then] == nil {
		t.Fatalf("unknown fault %q", fault)
	}
	long := strings.HasPrefix(r.when, "long before")
	faults[first]()
	switch {
	case r.when == "just before the call":
		return
	case first == "a twin starts":
		if long {
			until(t, "the twin to be heard", func() bool { return errors.Is(p.remote.Err(), dispatch.ErrDuplicate) })
		}
		return
	case !follows && !long:
		return
	case then != "goes on": // in a cluster, the asker and the node need not notice the fault
		until(t, "the fault to be noticed", func() bool { return p.nodes() == 0 || !p.nc.IsConnected() })
	}
	if !follows {
		return
	}
	faults[then]()
	until(t, "all to be well again", func() bool { return p.nc.IsConnected() && p.nodes() == 1 })
	if long { // the asker may be connected before the node is
		until(t, "the node to answer", func() bool {
			return ended(t, send(t, p.near, "quick", dispatch.WithTimeout(time.Second))).Complete()
		})
	}
}
