package servertest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

const (
	// If the environment variable askerURL is set, this program is an asker at the server with that URL.
	// askerRequest is the environment variable with its request.
	askerURL     = "NATSDISPATCH_TEST_ASKER"
	askerRequest = "NATSDISPATCH_TEST_REQUEST"
)

// beAsker asks the node far once, and prints how the members of the call ended. An interrupt ends the call.
func beAsker(url string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	nc, err := nats.Connect(url, natsdispatch.Robust)
	if err != nil {
		return err
	}
	defer nc.Close()
	near := dispatch.New[string, string]()
	remote, err := natsdispatch.Join(nc, near, measure, unlogged)
	if err != nil {
		return err
	}
	if err := remote.Await(ctx, "far"); err != nil {
		return err
	}
	call, err := near.Send(ctx, measure, os.Getenv(askerRequest), dispatch.WithTimeout(4*time.Second))
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !slices.ContainsFunc(call.Report().Outcomes, func(o dispatch.Outcome) bool { return o.Started }) {
		<-tick.C
	}
	fmt.Println("accepted")
	for o := range call.Outcomes() {
		fmt.Println(o.Member, o.State)
	}
	return remote.Close()
}

// askerRow is a row of the table of askers in docs/faults.md.
type askerRow struct{ fault, when, work, report string }

func askerTable(t *testing.T) (rows []askerRow) {
	t.Helper()
	for _, cells := range tableRows(t, 4) {
		rows = append(rows, askerRow{cells[0], cells[1], cells[2], cells[3]})
	}
	return rows
}

// A node stops the work of an asker that has ended only if the asker cancels the call. Otherwise it works
// at most until the deadline of the call.
func TestFaultsOfAskers(t *testing.T) {
	rows := askerTable(t)
	if len(rows) < 5 {
		t.Errorf("the table has %d rows", len(rows))
	}
	for _, r := range rows {
		t.Run(r.fault+" "+r.when, func(t *testing.T) { r.test(t) })
	}
}

func (r askerRow) test(t *testing.T) {
	s := startServer(t)
	far := newBus()
	began, done, release := make(chan struct{}), make(chan error, 1), make(chan struct{})
	if _, err := far.AddStreamProducer(measure, func(ctx context.Context, req string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			defer func() { done <- context.Cause(ctx) }()
			close(began)
			for range 500 { // with 64 KiB each, four times the window
				if req != "flood" || !yield(strings.Repeat("x", 1<<16), nil) {
					break
				}
			}
			select {
			case <-release:
				yield("answer", nil)
			case <-ctx.Done():
			}
		}
	}, dispatch.WithName("m")); err != nil {
		t.Fatal(err)
	}
	node := serve(t, connect(t, s.ClientURL()), far, "far", quiet)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	request := "hang"
	if strings.Contains(r.when, "sends results") {
		request = "flood"
	}
	asker := startProcess(t, func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), askerURL+"="+s.ClientURL(), askerRequest+"="+request)
		cmd.Stdout, cmd.Stderr = write, os.Stderr
		return cmd
	})
	write.Close()
	said := bufio.NewScanner(read)
	if !said.Scan() || said.Text() != "accepted" {
		t.Fatalf("the asker says %q", said.Text())
	}
	receive(t, "the node to be at work", began)
	first, then, _ := strings.Cut(r.fault, ", ")
	switch first {
	case "killed":
		asker.kill()
	case "interrupted":
		asker.signal(syscall.SIGINT)
	case "stopped":
		asker.signal(syscall.SIGSTOP)
	default:
		t.Fatalf("unknown fault %q", r.fault)
	}
	if strings.Contains(r.when, "answers meanwhile") {
		close(release)
	}
	cause := receive(t, "the end of the work", done)
	until(t, "the node to have nothing in hand", func() bool { return node.Stats().InHand == 0 })
	switch r.work {
	case "at the deadline":
		if !errors.Is(cause, context.DeadlineExceeded) {
			t.Errorf("the work has ended with %v", cause)
		}
	case "at once":
		if !errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
			t.Errorf("the work has ended with %v", cause)
		}
	case "by itself":
		if cause != nil {
			t.Errorf("the work has ended with %v", cause)
		}
	default:
		t.Fatalf("unknown end %q", r.work)
	}
	if then == "continued" {
		asker.signal(syscall.SIGCONT)
	}
	if r.report == "none" {
		return
	}
	if !said.Scan() || said.Text() != r.report {
		t.Errorf("the asker reports %q, want %q", said.Text(), r.report)
	}
	if err := asker.cmd.Wait(); err != nil {
		t.Errorf("the asker: %v", err)
	}
}
