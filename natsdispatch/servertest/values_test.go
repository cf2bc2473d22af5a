package servertest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

func TestChunks(t *testing.T) {
	const payload = 16 << 10
	s := startServer(t, func(o *server.Options) { o.MaxPayload = payload })
	near, far := newBus(), newBus()
	long := strings.Repeat("0123456789", payload) // ten times the max_payload of the server
	produce(t, far, "long", func(context.Context, string) (string, error) { return long, nil })
	produce(t, far, "too long", func(context.Context, string) (string, error) { return long + long, nil })
	if _, err := far.AddStreamProducer(measure, func(context.Context, string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for i := range 5 {
				if !yield(fmt.Sprint(i)+long, nil) {
					return
				}
			}
		}
	}, dispatch.WithName("stream")); err != nil {
		t.Fatal(err)
	}
	serve(t, connect(t, s.ClientURL()), far, "far", natsdispatch.WithMaxResult(len(long)+100))
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	call := send(t, near, "x")
	report := ended(t, call)
	want(t, report, dispatch.ReasonAllEnded, "far/long ok", "far/stream ok", "far/too long failed")
	if err := outcome(t, report, "far/too long").Err; !errors.Is(err, natsdispatch.ErrTooLarge) || len(err.Error()) > 200 {
		t.Errorf("a result that is too large ends its member with %v", err)
	}
	streamed := 0
	for r := range call.Results() {
		switch r.From.Name {
		case "long":
			if r.Value != long {
				t.Errorf("the long value has arrived as another, of %d bytes", len(r.Value))
			}
		case "stream":
			if r.Value != fmt.Sprint(streamed)+long {
				t.Errorf("value %d of the stream has arrived as another, %.5q of %d bytes", streamed, r.Value, len(r.Value))
			}
			streamed++
		}
	}
	if streamed != 5 {
		t.Errorf("%d values of the stream, want 5", streamed)
	}
	noMisuse(t, near)
}

// unwritable is a result type that JSON cannot write.
type unwritable struct{ F func() }

func TestResultThatCannotBeWritten(t *testing.T) {
	s := startServer(t)
	topic := dispatch.NewTopic[string, unwritable]("cell.odd", dispatch.WithTimeout(patience))
	near, far := dispatch.New[string, unwritable](), dispatch.New[string, unwritable]()
	if _, err := far.AddProducer(topic, func(context.Context, string) (unwritable, error) { return unwritable{func() {}}, nil }, dispatch.WithName("odd")); err != nil {
		t.Fatal(err)
	}
	node, err := natsdispatch.Serve(connect(t, s.ClientURL()), far, topic, natsdispatch.WithNode("far"), loud(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	remote, err := natsdispatch.Join(connect(t, s.ClientURL()), near, topic, loud(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remote.Close() })
	await(t, remote, "far")
	call, err := near.Send(t.Context(), topic, "x")
	if err != nil {
		t.Fatal(err)
	}
	receive(t, "the end", call.Done())
	o := call.Report().Outcomes[0]
	if o.State != dispatch.StateFailed || !strings.Contains(o.Err.Error(), "write a result as json") {
		t.Errorf("the member ends %v with %v", o.State, o.Err)
	}
}
