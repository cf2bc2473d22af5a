// The testcell program simulates a test cell for semiconductors. A handler brings wafers.
// At each touchdown of the probe card, each of five sites tests a die. The sites share
// instruments. One site is slow, one site is flaky, and one site sometimes hangs; the other
// sites are not affected.
//
//	go run ./examples/testcell
//	go run ./examples/testcell -for 10s
//
// The program prints a line for each touchdown, and the address of a live page. Open the
// page in a browser. At the end the program prints the number of dies in each bin.
//
// The parts of the cell know only the topics, not each other:
//
//   - vocabulary.go: the topics with their requests and results
//   - handler.go: asks the sites, touchdown by touchdown
//   - sites.go: the sites, which answer and ask the instruments
//   - instruments.go: a serial instrument, three replicas, and an instrument with a stream of results
//   - binning.go and logbook.go: listeners
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("testcell", flag.ContinueOnError)
	flags.SetOutput(errs)
	addr := flags.String("addr", "127.0.0.1:0", "`address` of the live page; port 0 selects a free port")
	length := flags.Duration("for", 0, "stop after this `duration`; with 0 the program runs until it is interrupted")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(errs, "testcell: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	if *length > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, *length)
		defer stop()
	}

	bus := dispatch.NewBus(dispatch.WithLogger(slog.New(withoutStacks(errs))))
	page, err := openPage(bus, *addr)
	if err != nil {
		fmt.Fprintln(errs, "testcell:", err)
		return 1
	}
	defer page.close()
	fmt.Fprintf(out, "live page: %s\n\n", page.url)
	if err := simulate(ctx, bus, out); err != nil {
		fmt.Fprintln(errs, "testcell:", err)
		return 1
	}
	return 0
}

// withoutStacks is the logger of the bus. It leaves out the stacks of panics, because
// stacks do not fit into a terminal; the page shows them.
func withoutStacks(errs io.Writer) slog.Handler {
	return slog.NewTextHandler(errs, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "stack" || a.Key == "added_at" {
			return slog.Attr{}
		}
		return a
	}})
}

// simulate sets up the cell on a bus, tests wafers until ctx ends, and shuts the cell down.
func simulate(ctx context.Context, bus *dispatch.Bus, out io.Writer) error {
	defer bus.Close()
	if err := errors.Join(addInstruments(bus), addHandler(bus)); err != nil {
		return err
	}
	sites, err := addSites(bus)
	if err != nil {
		return err
	}
	binning, err := addBinning(bus)
	if err != nil {
		return err
	}
	if err := addLogbook(bus, out, sites); err != nil {
		return err
	}
	if err := produce(ctx, bus); err != nil {
		return err
	}

	// produce has returned, so the cell sends no more requests. Shutdown waits at most this
	// long for a site that hangs.
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
	defer cancel()
	var running *dispatch.ShutdownError
	if err := bus.Shutdown(patience); errors.As(err, &running) {
		fmt.Fprintf(out, "\nstill running: %v\n", running.Producers)
	} else if err != nil {
		return err
	}
	binning.summarize(out)
	return nil
}
