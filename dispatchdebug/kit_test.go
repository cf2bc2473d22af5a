package dispatchdebug

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A site answers a string with a string.
type site = dispatch.Producer[string, string]

var measure = dispatch.NewTopic[string, string]("cell.measure", dispatch.WithTimeout(time.Second))

func after(d time.Duration, answer string, err error) site {
	return func(ctx context.Context, _ string) (string, error) {
		select {
		case <-time.After(d):
			return answer, err
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// deaf ignores its context.
func deaf(d time.Duration) site {
	return func(context.Context, string) (string, error) {
		<-time.After(d)
		return "", nil
	}
}

// A bench is a bus with a handler, in a bubble.
type bench struct {
	t *testing.T
	h *Handler
	d *dispatch.Dispatcher[string, string]
}

// inBubble runs a test in virtual time.
func inBubble(t *testing.T, test func(*bench), opts ...Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		bus := dispatch.NewBus(dispatch.WithLogger(slog.New(slog.DiscardHandler)))
		b := &bench{t, New(bus, opts...), dispatch.On[string, string](bus)}
		test(b)
		b.h.Close()
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour) // late runs return in this time
	})
}

func (b *bench) add(name string, s site, opts ...dispatch.ProducerOption) {
	b.t.Helper()
	if _, err := b.d.AddProducer(measure, s, append(opts, dispatch.WithName(name))...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) send(opts ...dispatch.CallOption) *dispatch.Call[string, string] {
	b.t.Helper()
	c, err := b.d.Send(b.t.Context(), measure, "vdd", opts...)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// call sends a request, and waits until the observer has got all events.
func (b *bench) call(opts ...dispatch.CallOption) dispatch.CallID {
	b.t.Helper()
	c := b.send(opts...)
	<-c.Done()
	synctest.Wait()
	return c.ID()
}

// data returns data.json as a script would read it, after the recorder has got all events.
func (b *bench) data(parameters string) (doc document) {
	b.t.Helper()
	synctest.Wait()
	w := ask(b.h, "/data.json?"+parameters)
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		b.t.Fatalf("%v in %s", err, w.Body)
	}
	return doc
}

func (b *bench) waterfall(id dispatch.CallID) *callPart {
	b.t.Helper()
	doc := b.data("call=" + id.String())
	if doc.Call == nil || !doc.Call.Known {
		b.t.Fatalf("call %v is not known", id)
	}
	return doc.Call
}

func (c *callPart) row(t *testing.T, name string) rowPart {
	t.Helper()
	for _, r := range c.Rows {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no row for %s in %+v", name, c.Rows)
	return rowPart{}
}

// bars returns the bars of a row as text.
func (r rowPart) bars() string {
	var list []string
	for _, b := range r.Bars {
		text := fmt.Sprintf("%s %v+%v", b.Kind, b.Start, b.Length)
		if b.Open {
			text += "…"
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func (c *callPart) culprits() string {
	var list []string
	for _, w := range c.Culprits {
		list = append(list, w.Name+" ("+w.Text+")")
	}
	return strings.Join(list, ", ")
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}
