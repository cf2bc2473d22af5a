// The modules program tests modules one after the other. It prints what go test
// prints, but each package as it ends, and it does not stop at a module that fails.
// In the root of the module:
//
//	go run ./test/modules [-no-skips] DIRECTORY…
//
// It installs nothing. What a machine may lack is the race detector, which needs a C
// compiler, and what tests say when they skip themselves: a test whose reason begins
// with "this machine lacks" is skipped loudly, and again at the end. With -no-skips
// that is a failure. The exit status is the worst of all modules.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	noSkips := flag.Bool("no-skips", false, "fail if anything is skipped because the machine lacks something")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Stdout, flag.Args(), *noSkips))
}

// run tests the modules in the directories and returns the exit status.
func run(ctx context.Context, w io.Writer, directories []string, noSkips bool) int {
	p := newPrinter(w)
	if len(directories) == 0 {
		fmt.Fprintln(w, "no module to test")
		return 2
	}
	// A busy machine with two processors may need more than the ten minutes that go test allows.
	flags := []string{"-shuffle=on", "-timeout=30m"}
	if missing := lacksRace(ctx); missing != "" {
		p.lack("the race detector", missing)
	} else {
		flags = append(flags, "-race")
	}
	var failed []string
	worst := 0
	for _, directory := range directories {
		if ctx.Err() != nil {
			fmt.Fprintln(w, "interrupted")
			return max(worst, 1)
		}
		fmt.Fprintf(w, "== %s: go test %s ./...\n", directory, strings.Join(flags, " "))
		if status := test(ctx, p, directory, flags); status != 0 {
			failed = append(failed, directory)
			worst = max(worst, status)
		}
	}
	p.summary()
	if len(failed) > 0 {
		fmt.Fprintln(w, "failed:", strings.Join(failed, " "))
	}
	if noSkips && len(p.lacks) > 0 {
		fmt.Fprintln(w, "failed: nothing may be skipped here")
		worst = max(worst, 1)
	}
	return worst
}

// test tests one module and returns the exit status of go test.
func test(ctx context.Context, p *printer, directory string, flags []string) int {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, append(flags, "./...")...)...)
	cmd.Dir = directory
	cmd.Stderr = p.w
	// The go command ends its children when it is interrupted, not when it is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(p.w, err)
		return 1
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		p.line(line)
		if err != nil {
			break
		}
	}
	p.rest()
	err = cmd.Wait()
	if exit, ok := err.(*exec.ExitError); ok {
		return max(exit.ExitCode(), 1)
	}
	if err != nil {
		fmt.Fprintln(p.w, err)
		return 1
	}
	return 0
}

// lacksRace returns why no program can be built with the race detector here, or "".
// It builds a program that is known to compile: this one.
func lacksRace(ctx context.Context) string {
	scratch, err := os.MkdirTemp("", "modules-")
	if err != nil {
		return err.Error()
	}
	defer os.RemoveAll(scratch)
	cmd := exec.CommandContext(ctx, "go", "build", "-race", "-o", filepath.Join(scratch, "modules"), "github.com/seed-bb4b4d74/dispatch/test/modules")
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return strings.Join(strings.Fields(string(out)), " ")
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
