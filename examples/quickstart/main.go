// The quickstart program sends requests on three topics to two producers, while two listeners
// get the results. It prints each event with its time, and takes three seconds:
//
//	go run ./examples/quickstart
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A producer gets a Request and returns a Reply. The compiler checks that all code of a topic
// uses these types.
type (
	Request struct{ Numbers []int }
	Reply   struct{ Sum int }
)

var (
	topic1  = dispatch.NewTopic[Request, Reply]("topic1")
	topic2  = dispatch.NewTopic[Request, Reply]("topic2")
	myTopic = dispatch.NewTopic[Request, Reply]("my_topic")
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run plays the whole scenario and writes its timeline to out.
func run(ctx context.Context, out io.Writer) error {
	// The bus would log that P1 outlives a call, but the timeline shows this already.
	d := dispatch.New[Request, Reply](dispatch.WithLogger(slog.New(slog.DiscardHandler)))
	defer d.Close()
	s := &scenario{dispatcher: d, timeline: &timeline{out: out}}

	fmt.Fprintln(out, "Two producers answer requests on three topics, and two listeners get the results:")
	fmt.Fprintln(out)
	p0, err := s.addProducer("P0", 200*time.Millisecond, topic1, myTopic)
	if err != nil {
		return err
	}
	p1, err := s.addProducer("P1", 500*time.Millisecond, topic1, topic2, myTopic)
	if err != nil {
		return err
	}
	if _, err := s.addListener("L1", topic1, topic2, myTopic); err != nil {
		return err
	}
	l2, err := s.addListener("L2", topic1, myTopic)
	if err != nil {
		return err
	}
	late := make(chan struct{}, 1)
	d.OnLate(func(r dispatch.Result[Request, Reply], by time.Duration) {
		s.timeline.add(lateResult, r.Call.Topic(), "%v answers %v after the end: only OnLate receives the result", r.From, millis(by))
		late <- struct{}{}
	})

	s.timeline.section("Both producers have enough time. The call ends with the last answer, not after 4 s.")
	if err := s.ask(ctx, topic1, 4*time.Second); err != nil {
		return err
	}

	s.timeline.section("P1 is too slow this time. The call ends without it, and its report names P1.")
	if err := s.ask(ctx, myTopic, 300*time.Millisecond); err != nil {
		return err
	}
	select {
	case <-late:
	case <-ctx.Done():
		return ctx.Err()
	}

	s.timeline.section("On this topic there are only P1 and L1.")
	if err := s.ask(ctx, topic2, time.Second); err != nil {
		return err
	}

	s.timeline.section("P0 and L2 are removed while P0 runs. P0 may finish; L2 gets no more results.")
	time.AfterFunc(100*time.Millisecond, func() {
		p0.Remove()
		l2.Remove()
		s.timeline.add(removal, topic1, "P0 and L2 are removed")
	})
	if err := s.ask(ctx, topic1, 4*time.Second); err != nil {
		return err
	}

	s.timeline.section("From now on, calls do not ask P0.")
	if err := s.ask(ctx, topic1, 4*time.Second); err != nil {
		return err
	}

	p1.Remove()
	s.timeline.section("P1 is removed as well. A call without producers ends at once.")
	if err := s.ask(ctx, topic1, 4*time.Second); err != nil {
		return err
	}
	err = d.Shutdown(ctx) // when it returns, the listeners have got all results
	s.timeline.flush()
	return err
}

// scenario is the dispatcher together with the timeline of what it does.
type scenario struct {
	dispatcher *dispatch.Dispatcher[Request, Reply]
	timeline   *timeline
}

// addProducer registers a slow producer. It ignores its context, like an instrument that has
// to finish each measurement.
func (s *scenario) addProducer(name string, takes time.Duration, topics ...dispatch.Topic[Request, Reply]) (*dispatch.Registration, error) {
	fmt.Fprintf(s.timeline.out, "  %s takes %v    %s\n", name, millis(takes), names(topics))
	return s.dispatcher.AddProducer(dispatch.AnyOf(topics...), func(_ context.Context, req Request) (Reply, error) {
		time.Sleep(takes)
		var reply Reply
		for _, n := range req.Numbers {
			reply.Sum += n
		}
		return reply, nil
	}, dispatch.WithName(name))
}

// addListener registers a listener that puts each result on the timeline.
func (s *scenario) addListener(name string, topics ...dispatch.Topic[Request, Reply]) (*dispatch.Registration, error) {
	fmt.Fprintf(s.timeline.out, "  %s listens to      %s\n", name, names(topics))
	return s.dispatcher.AddListener(dispatch.AnyOf(topics...), func(_ context.Context, r dispatch.Result[Request, Reply]) {
		s.timeline.add(result, r.Call.Topic(), "  %v → %s: the sum is %d", r.From, name, r.Value.Sum)
	}, dispatch.WithName(name))
}

// ask sends a request and waits for the end of the call.
func (s *scenario) ask(ctx context.Context, t dispatch.Topic[Request, Reply], timeout time.Duration) error {
	call, err := s.dispatcher.Send(ctx, t, Request{Numbers: []int{3, 4, 5}}, dispatch.WithTimeout(timeout))
	if err != nil {
		return err
	}
	asked := []string{"no producer"}
	for i, o := range call.Report().Outcomes { // the members are known from the start
		asked = append(asked[:i], o.Member.String())
	}
	s.timeline.add(request, t, "the call asks %s: 3 + 4 + 5 = ?; timeout %v", strings.Join(asked, " and "), millis(timeout))

	if err := call.Wait(ctx); err != nil {
		return err
	}
	report := call.Report()
	var outcomes strings.Builder
	for i, o := range report.Outcomes {
		fmt.Fprintf(&outcomes, "%s%v %v after %v", []string{": ", ", "}[min(i, 1)], o.Member, o.State, millis(o.Elapsed))
	}
	s.timeline.add(end, t, "the call ends (%v)%s", report.Reason, &outcomes)
	return nil
}

// names lists the topics' names.
func names(topics []dispatch.Topic[Request, Reply]) string {
	list := make([]string, len(topics))
	for i, t := range topics {
		list[i] = t.Name()
	}
	return strings.Join(list, ", ")
}

// millis is a duration as the timeline shows it.
func millis(d time.Duration) string {
	return fmt.Sprintf("%d ms", d.Round(10*time.Millisecond).Milliseconds())
}
