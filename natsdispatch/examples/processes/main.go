// The processes program asks workers that are separate processes, kills one of them while it works, and
// prints the report that names the killed worker:
//
//	go run .
//
// It starts a NATS server in its own process, and three workers. Each worker is another process of this
// program.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// Request is what the workers are asked, and Reading is what they answer.
type (
	Request struct{ Pin string }
	Reading struct {
		Value float64
		Unit  string
	}
)

// measure is the topic that all workers serve.
var measure = dispatch.NewTopic[Request, Reading]("cell.measure", dispatch.WithTimeout(30*time.Second))

// workers are the names of the nodes. The oven of the worker doomed never becomes warm, so that this worker
// is at work when it is killed.
var workers = []string{"cell-1", "cell-2", "cell-3"}

const doomed = "cell-2"

func main() {
	if err := start(os.Args); err != nil {
		log.Fatal(err)
	}
}

// start runs a worker if the arguments are those of a worker, and otherwise the asker.
func start(args []string) error {
	if isWorker(args) {
		signal.Ignore(os.Interrupt) // Ctrl-C interrupts all processes of the terminal; a worker ends when its input is closed
		return work(args[2], args[3], os.Stdin)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return run(ctx, os.Stdout)
}

// run starts the server and the workers, makes two calls, and ends the workers.
func run(ctx context.Context, out io.Writer) (err error) {
	s, err := startServer()
	if err != nil {
		return err
	}
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	nc, err := nats.Connect(s.ClientURL(), natsdispatch.Robust)
	if err != nil {
		return err
	}
	defer nc.Close()

	floor := dispatch.New[Request, Reading]()
	defer floor.Close()
	remote, err := natsdispatch.Join(nc, floor, measure)
	if err != nil {
		return err
	}
	defer remote.Close()

	processes, err := startProcesses(s.ClientURL(), workers)
	defer func() { err = errors.Join(err, processes.stop()) }()
	if err != nil {
		return err
	}
	if err := remote.Await(ctx, workers...); err != nil {
		return err
	}

	fmt.Fprintf(out, "Three workers are asked. %s is killed as soon as its meter has answered.\n", doomed)
	if err := ask(ctx, out, floor, func(o dispatch.Outcome) error {
		if o.Member.Node == doomed && o.State == dispatch.StateOK {
			return processes.kill(doomed)
		}
		return nil
	}); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThe next call names it as well: it has not said bye.\n")
	return ask(ctx, out, floor, func(dispatch.Outcome) error { return nil })
}

// ask sends a request. It prints each member as the member ends, and then how all members ended. It calls
// seen with each outcome.
func ask(ctx context.Context, out io.Writer, floor *dispatch.Dispatcher[Request, Reading], seen func(dispatch.Outcome) error) error {
	call, err := floor.Send(ctx, measure, Request{Pin: "vdd"})
	if err != nil {
		return err
	}
	defer call.Cancel(nil)
	for o := range call.Outcomes() { // in the order in which members end
		fmt.Fprintf(out, "  %v has ended\n", o.Member)
		if err := seen(o); err != nil {
			return err
		}
	}
	readings := make(map[dispatch.Member]Reading)
	for r := range call.Results() {
		readings[r.From] = r.Value
	}
	report := call.Report()
	fmt.Fprintf(out, "The call ends (%v) after %v:\n", report.Reason, report.Elapsed.Round(10*time.Millisecond))
	slices.SortFunc(report.Outcomes, func(a, b dispatch.Outcome) int {
		return cmp.Compare(a.Member.String(), b.Member.String())
	})
	for _, o := range report.Outcomes {
		fmt.Fprintf(out, "  %-14v %v: ", o.Member, o.State)
		if r := readings[o.Member]; o.Err == nil {
			fmt.Fprintln(out, r.Value, r.Unit)
		} else {
			fmt.Fprintln(out, o.Err)
		}
	}
	return ctx.Err()
}

// startServer starts a NATS server on a free port of the loopback interface.
func startServer() (*server.Server, error) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, errors.New("the NATS server does not start")
	}
	return s, nil
}
