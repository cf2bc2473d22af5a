// Command dispatch lists the nodes that serve the topics of package natsdispatch on a NATS server, asks
// them, listens to the results that they publish, and tests whether a node keeps the protocol. The command
// does not know the types of a topic: requests and results are JSON. README.md shows sessions.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// The exit statuses of the command. Those above 2 are from sysexits.h.
const (
	exitComplete    = 0
	exitPartial     = 1 // some members answered, or some checks failed
	exitNothing     = 2 // no member answered, or no node is there
	exitUsage       = 64
	exitUnavailable = 69 // there is no server, or the server refuses
	exitOutput      = 74 // the output cannot be written
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, width: 80}
	if info, err := os.Stdout.Stat(); err == nil {
		p.terminal = info.Mode()&os.ModeCharDevice != 0
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		p.width = n
	}
	status := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

// program has the streams and the environment of the process.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	terminal       bool // stdout is a terminal
	width          int  // of a line of output, in columns
}

// command is one of the commands of the program.
type command struct {
	name  string
	usage string // the arguments after the name, and a description
	run   func(p *program, ctx context.Context, args []string) (status int, err error)
}

func commands() []command {
	return []command{
		{"nodes", nodesUsage, (*program).nodes},
		{"ask", askUsage, (*program).ask},
		{"listen", listenUsage, (*program).listen},
		{"conformance", conformanceUsage, (*program).conformance},
	}
}

// errUsage is wrapped by errors in the arguments or the environment of the command.
var errUsage = errors.New("usage")

func misused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUsage, fmt.Sprintf(format, args...))
}

// output passes on what is written, until this fails once.
type output struct {
	to     io.Writer
	err    error
	failed func() // called when this fails
}

func (o *output) Write(b []byte) (n int, err error) {
	if o.err == nil {
		if n, o.err = o.to.Write(b); o.err != nil {
			o.failed()
		}
	}
	return n, o.err
}

// run runs the command that args name, and returns its exit status. If the output cannot be written, the command
// is interrupted.
func (p *program) run(ctx context.Context, args []string) int {
	ctx, interrupt := context.WithCancel(ctx)
	defer interrupt()
	out := &output{to: p.stdout, failed: interrupt}
	p.stdout = out
	status := p.command(ctx, args)
	if out.err != nil {
		fmt.Fprintf(p.stderr, "dispatch: write the output: %v\n", out.err)
		return exitOutput
	}
	return status
}

func (p *program) command(ctx context.Context, args []string) int {
	if len(args) == 0 {
		p.help(p.stderr)
		return exitUsage
	}
	if isHelp(args[0]) {
		if len(args) > 1 && !isHelp(args[1]) {
			return p.command(ctx, []string{args[1], "--help"})
		}
		p.help(p.stdout)
		return exitComplete
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		status, err := c.run(p, ctx, args[1:])
		switch {
		case errors.Is(err, flag.ErrHelp):
			fmt.Fprintf(p.stdout, "usage: dispatch %s %s%s", c.name, c.usage, connectionUsage)
			return exitComplete
		case errors.Is(err, errUsage):
			fmt.Fprintf(p.stderr, "dispatch %s: %v\nSee dispatch %s --help.\n", c.name, err, c.name)
			return exitUsage
		case err != nil:
			fmt.Fprintf(p.stderr, "dispatch %s: %v\n", c.name, err)
			return exitUnavailable
		}
		return status
	}
	fmt.Fprintf(p.stderr, "dispatch: there is no command %q\n", args[0])
	p.help(p.stderr)
	return exitUsage
}

func isHelp(arg string) bool {
	return arg == "help" || arg == "-h" || arg == "-help" || arg == "--help"
}

func (p *program) help(to io.Writer) {
	fmt.Fprint(to, `Dispatch shows and asks the nodes of dispatch topics on a NATS server.

usage: dispatch COMMAND [ARGUMENTS] [FLAGS]

  nodes        who is there, with members and requests in flight
  ask          sends a request, prints the results and who did not answer
  listen       prints the results that nodes publish
  conformance  tests whether a node keeps the wire protocol

dispatch COMMAND --help says more.
`)
}

// whileWanted returns what f returns, or the cause of the end of ctx if this comes first: f may wait for long, and
// the command is interrupted.
func whileWanted[T any](ctx context.Context, f func() (T, error)) (v T, err error) {
	done := make(chan struct{})
	var got T
	var failed error
	go func() {
		defer close(done)
		got, failed = f()
	}()
	select {
	case <-done:
		return got, failed
	case <-ctx.Done():
		return v, context.Cause(ctx)
	}
}

// flags returns an empty set of flags that prints nothing.
func (p *program) flags(name string) *flag.FlagSet {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	return set
}

// durationVar adds a flag like those of set.DurationVar. If its value is no duration, the error says what is one.
func durationVar(set *flag.FlagSet, to *time.Duration, name string, value time.Duration) {
	*to = value
	set.Func(name, "", func(text string) error {
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("a duration is a number with a unit, such as 300ms or 5s")
		}
		*to = d
		return nil
	})
}

// parse reads flags and other arguments in any order, and returns the other arguments. After -- all are
// other arguments.
func parse(set *flag.FlagSet, args []string) (others []string, err error) {
	for {
		if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
			return nil, err
		} else if err != nil {
			return nil, misused("%v", err)
		}
		rest := set.Args()
		if len(rest) == 0 {
			return others, nil
		}
		if flags := args[:len(args)-len(rest)]; len(flags) > 0 && flags[len(flags)-1] == "--" {
			return append(others, rest...), nil
		}
		others, args = append(others, rest[0]), rest[1:]
	}
}
