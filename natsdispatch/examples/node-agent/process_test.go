package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"
)

// installed skips the test unless Node.js and the modules that make deps installs are there.
func installed(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("this machine lacks Node.js")
	}
	if _, err := os.Stat("node_modules"); errors.Is(err, fs.ErrNotExist) {
		t.Skip("this machine lacks the NATS client for Node.js")
	} else if err != nil {
		t.Fatal(err)
	}
}

// process is a running agent.
type process struct {
	*exec.Cmd
	t      *testing.T
	mu     sync.Mutex // guards said
	said   []string
	ended  chan struct{} // closed when the process has ended
	failed error         // the error of Wait; set before ended is closed
}

func startAgent(t *testing.T, url, version string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command("node", "agent.js", url, "oven-2", "300", version), t: t, ended: make(chan struct{})}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stderr = p.Stdout // the agent prints its errors there
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.mu.Lock()
			p.said = append(p.said, lines.Text())
			p.mu.Unlock()
		}
		p.failed = p.Wait()
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // the process may have ended
		<-p.ended
		if t.Failed() {
			t.Logf("the agent has said %q", p.said)
		}
	})
	return p
}

// says waits until the agent has printed a line.
func (p *process) says(line string) {
	p.t.Helper()
	until(p.t, fmt.Sprintf("the agent to say %q", line), func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.Contains(p.said, line)
	})
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
