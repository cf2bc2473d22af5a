package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// processes has the workers by name.
type processes map[string]*process

// process is a running worker.
type process struct {
	*exec.Cmd
	input  io.Closer // the standard input of the worker; the worker ends when it is closed
	killed bool
}

// startProcesses starts this program as a worker for each name. If there is an error, it also returns the
// workers that it has started.
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

// kill ends a worker with SIGKILL, so that the worker cannot say bye. Further calls do nothing.
func (all processes) kill(name string) error {
	p := all[name]
	if p.killed {
		return nil
	}
	p.killed = true
	return p.Process.Kill()
}

// stop ends the workers and waits for them. It returns the errors of the workers that were not killed.
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
