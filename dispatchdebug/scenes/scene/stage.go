// Package scene has the situations that the live page must show at a glance. Each is a bus with
// producers, listeners and senders, in which one thing goes wrong.
package scene

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/dispatchdebug"
)

// A Scene is one situation.
type Scene struct {
	Name    string
	Shows   string // what goes wrong, in a sentence
	Culprit string // the name that the page must show in the first row of suspects; empty if there is none
	Page    string // the page's address from the question mark on, if it is not the overview
	bus     []dispatch.BusOption
	page    []dispatchdebug.Option
	play    func(*Stage)
}

// A Stage is a scene that is being played. Close ends it.
type Stage struct {
	Bus     *dispatch.Bus
	Handler *dispatchdebug.Handler

	ctx     context.Context
	cancel  context.CancelFunc
	release chan struct{} // closed when producers that hang may return
	senders sync.WaitGroup
}

// All returns the scenes.
func All() []Scene { return all() }

// ByName returns the scene of that name, if there is one.
func ByName(name string) (Scene, bool) {
	for _, s := range all() {
		if s.Name == name {
			return s, true
		}
	}
	return Scene{}, false
}

// Play begins a scene. It goes on until its stage is closed.
func (s Scene) Play() *Stage {
	st := &Stage{release: make(chan struct{})}
	st.ctx, st.cancel = context.WithCancel(context.Background())
	st.Bus = dispatch.NewBus(append([]dispatch.BusOption{dispatch.WithLogger(slog.New(slog.DiscardHandler))}, s.bus...)...)
	st.Handler = dispatchdebug.New(st.Bus, s.page...)
	s.play(st)
	return st
}

// Close lets all producers that hang return, and waits for the senders.
func (st *Stage) Close() {
	st.cancel()
	close(st.release)
	_ = st.Bus.Close() // returns nil
	st.Handler.Close()
	st.senders.Wait()
}

// Pin and Reading are the request and the result of the sites in the scenes.
type (
	Pin     struct{ Name string }
	Reading struct{ Volts float64 }
)

type site = dispatch.Producer[Pin, Reading]

func topicOf(name string) dispatch.Topic[Pin, Reading] { return dispatch.NewTopic[Pin, Reading](name) }

func (st *Stage) on() *dispatch.Dispatcher[Pin, Reading] { return dispatch.On[Pin, Reading](st.Bus) }

// must panics on an error of the scene itself.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (st *Stage) produce(topic, name string, s site, opts ...dispatch.ProducerOption) {
	must(st.on().AddProducer(topicOf(topic), s, append(opts, dispatch.WithName(name))...))
}

func (st *Stage) listen(topic, name string, f func(), opts ...dispatch.ListenerOption) {
	must(st.on().AddListener(topicOf(topic), func(context.Context, dispatch.Result[Pin, Reading]) { f() }, append(opts, dispatch.WithName(name))...))
}

// sleep waits, unless the scene ends first.
func (st *Stage) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-st.release:
	}
}

// takes returns a site that answers after d, or returns when its context ends.
func takes(d time.Duration) site {
	return func(ctx context.Context, _ Pin) (Reading, error) {
		select {
		case <-time.After(d):
			return Reading{3.3}, nil
		case <-ctx.Done():
			return Reading{}, context.Cause(ctx)
		}
	}
}

// fails returns a site that returns an error after d.
func fails(d time.Duration, text string) site {
	return func(ctx context.Context, p Pin) (Reading, error) {
		if _, err := takes(d)(ctx, p); err != nil {
			return Reading{}, err
		}
		return Reading{}, errors.New(text)
	}
}

// hangs does not look at its context, and returns when the scene ends.
func (st *Stage) hangs() site {
	return func(context.Context, Pin) (Reading, error) { <-st.release; return Reading{}, nil }
}

// asks returns a site that gathers the answers of another topic.
func (st *Stage) asks(topic string) site {
	return func(ctx context.Context, p Pin) (Reading, error) {
		_, err := st.on().Gather(ctx, topicOf(topic), p)
		return Reading{}, err
	}
}

// then returns a site that passes the first n requests to one site, and the others to another.
func then(n int, first, others site) site {
	var mu sync.Mutex
	return func(ctx context.Context, p Pin) (Reading, error) {
		mu.Lock()
		s := others
		if n > 0 {
			n, s = n-1, first
		}
		mu.Unlock()
		return s(ctx, p)
	}
}

// call sends a request and waits for the end of the call.
func (st *Stage) call(topic string, opts ...dispatch.CallOption) {
	c, err := st.on().Send(st.ctx, topicOf(topic), Pin{"vdd"}, opts...)
	if err == nil {
		<-c.Done()
	}
}

// keepSending starts this number of senders. Each sends requests until the scene ends, with a
// pause after the end of each call.
func (st *Stage) keepSending(senders int, pause time.Duration, topic string, opts ...dispatch.CallOption) {
	for range senders {
		st.senders.Go(func() {
			for st.ctx.Err() == nil {
				st.call(topic, opts...)
				st.sleep(pause)
			}
		})
	}
}
