package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// processes are the workers by their names.
type processes map[string]*process

// process is a running worker.
type process struct {
	*exec.Cmd
	input  io.Closer // the worker ends when it is closed
	killed bool
}

// startProcesses starts this program once more for each of the workers. It returns
// those that it has started also if there is an error.
func startProcesses(url string, names []string) (processes, error) {
	all := make(processes)
	self, err := os.Executable()
	if err != nil {
		return all, err
	}
	for _, name := range names {
		p := &process{Cmd: exec.Command(self, "worker", url, name)}
		p.Stderr = os.Stderr
		if p.input, err = p.StdinPipe(); err != nil {
			return all, err
		}
		if err := p.Start(); err != nil {
			return all, err
		}
		all[name] = p
	}
	return all, nil
}

// kill ends a worker with SIGKILL, of which it learns nothing. It may be called again.
func (all processes) kill(name string) error {
	p := all[name]
	if p.killed {
		return nil
	}
	p.killed = true
	return p.Process.Kill()
}

// stop ends the workers and waits for them. It returns how they have failed, unless
// they were killed.
func (all processes) stop() error {
	var errs []error
	for _, p := range all {
		errs = append(errs, p.input.Close())
	}
	for name, p := range all {
		if err := p.Wait(); err != nil && !p.killed {
			errs = append(errs, fmt.Errorf("worker %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
