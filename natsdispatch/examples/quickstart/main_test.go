package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// block returns the first code block in a language of the README.
func block(t *testing.T, language string) string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(readme), "```"+language+"\n")
	if !ok {
		t.Fatalf("README.md has no block of %s", language)
	}
	text, _, _ := strings.Cut(rest, "```\n")
	return text
}

// The README contains the code of this program unchanged.
func TestTheReadmeShowsTheProgram(t *testing.T) {
	program, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, want, _ := strings.Cut(string(program), "\npackage main\n")
	if diff := cmp.Diff("package main\n"+want, block(t, "go")); diff != "" {
		t.Errorf("README.md (-program +README):\n%s", diff)
	}
}

// command returns a program that a shell starts in the root of the repository. The program has its own
// process group.
func command(t *testing.T, line string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", "-c", "exec "+line)
	cmd.Dir = "../../.."
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func start(t *testing.T, line string) *exec.Cmd {
	t.Helper()
	cmd := command(t, line)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the program may have ended before
		_ = cmd.Wait()
	})
	return cmd
}

// The commands of the README print what the README shows.
func TestTheCommandsOfTheReadme(t *testing.T) {
	var commands []string
	for line := range strings.Lines(block(t, "sh")) {
		line, _, _ = strings.Cut(line, "#")
		commands = append(commands, strings.TrimSpace(line))
	}
	if len(commands) != 4 || !strings.HasPrefix(commands[0], "git clone ") {
		t.Fatalf("the commands are %q", commands)
	}
	// The test uses another port, because the default port may be in use.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	t.Setenv("NATS_URL", "nats://127.0.0.1:"+port)
	start(t, commands[1]+" -p "+port)
	nc, err := nats.Connect(os.Getenv("NATS_URL"), natsdispatch.Robust)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	left := make(chan struct{})
	remote, err := natsdispatch.Join(nc, dispatch.New[string, Reading](), measure, natsdispatch.WithLogger(slog.New(slog.DiscardHandler)), natsdispatch.OnNode(func(e natsdispatch.NodeEvent) {
		if e.Kind == natsdispatch.NodeLeft {
			close(left)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	cell := start(t, commands[2])
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // go run builds the program first
	defer cancel()
	if err := remote.Await(ctx, "cell-7"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	asker := command(t, commands[3])
	asker.Stdout = &out
	if err := asker.Run(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(spaced(block(t, "text")), spaced(out.String())); diff != "" {
		t.Errorf("output (-README +printed):\n%s", diff)
	}
	if err := syscall.Kill(-cell.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select { // the test ignores the exit status of go run, which reports an error after an interrupt
	case <-left:
	case <-ctx.Done():
		t.Error("the cell has said no bye")
	}
}

// spaced replaces durations, and shortens runs of blanks, whose number depends on the durations.
func spaced(out string) string {
	out = regexp.MustCompile(`\d[\d.]*(ms|µs|s)\b`).ReplaceAllString(out, "…")
	return strings.TrimSpace(regexp.MustCompile(` +`).ReplaceAllString(out, " "))
}
