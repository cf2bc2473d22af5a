package agent

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// install copies the agent and installs what it needs.
func install(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "agent")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.js*")
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no agent: %v", err)
	}
	for _, name := range append(files, ".npmrc") {
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	npm := exec.CommandContext(t.Context(), "npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}

// process is a running agent.
type process struct {
	*exec.Cmd
	t      *testing.T
	mu     sync.Mutex // guards said
	said   []string
	ended  chan struct{} // closed when it has ended
	failed error         // how it has ended, when it has
}

func startAgent(t *testing.T, dir, url string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command("node", "agent.js", url, "oven-2", "300"), t: t, ended: make(chan struct{})}
	p.Dir = dir
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stderr = p.Stdout // what goes wrong is said there
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
		_ = p.Process.Kill() // it may have ended
		<-p.ended
		if t.Failed() {
			t.Logf("the agent has said %q", p.said)
		}
	})
	return p
}

// says waits until the agent has said something.
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
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
