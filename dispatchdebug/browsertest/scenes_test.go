package browsertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/dispatchdebug"
)

// A scene is a bus in some state, and its page on a server of its own.
type scene struct {
	t       *testing.T
	bus     *dispatch.Bus
	handler *dispatchdebug.Handler
	server  *httptest.Server
	address string // of the page
	release chan struct{}
	once    sync.Once
}

func newScene(t *testing.T, opts ...dispatchdebug.Option) *scene {
	t.Helper()
	s := &scene{t: t, release: make(chan struct{})}
	s.bus = dispatch.NewBus(dispatch.WithLogger(slog.New(slog.DiscardHandler)))
	s.handler = dispatchdebug.New(s.bus, opts...)
	mux := http.NewServeMux()
	mux.Handle("/debug/dispatch/", s.handler)
	s.server = httptest.NewUnstartedServer(mux)
	s.server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		// A small buffer is soon full if a client does not read.
		if err := c.(*net.TCPConn).SetWriteBuffer(16 << 10); err != nil {
			t.Error(err)
		}
		return ctx
	}
	s.server.Start()
	s.address = s.server.URL + "/debug/dispatch/"
	t.Cleanup(func() {
		s.letGo()
		s.handler.Close()
		s.server.CloseClientConnections()
		s.server.Close()
		if err := s.bus.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// letGo lets all producers and listeners that hang return.
func (s *scene) letGo() { s.once.Do(func() { close(s.release) }) }

// Pin and Reading are the request and the result of the sites in the scenes.
type (
	Pin     struct{ Name string }
	Reading struct{ Volts float64 }
)

type producer = dispatch.Producer[Pin, Reading]

// takes returns a producer that answers after d.
func takes(d time.Duration) producer {
	return func(ctx context.Context, _ Pin) (Reading, error) {
		select {
		case <-time.After(d):
			return Reading{3.3}, nil
		case <-ctx.Done():
			return Reading{}, context.Cause(ctx)
		}
	}
}

func fails(d time.Duration, text string) producer {
	return func(ctx context.Context, p Pin) (Reading, error) {
		if _, err := takes(d)(ctx, p); err != nil {
			return Reading{}, err
		}
		return Reading{}, errors.New(text)
	}
}

func panics(d time.Duration) producer {
	return func(ctx context.Context, p Pin) (Reading, error) {
		if _, err := takes(d)(ctx, p); err != nil {
			return Reading{}, err
		}
		var calibration []float64
		return Reading{calibration[len(p.Name)]}, nil
	}
}

// hangs ignores its context until the scene is over.
func (s *scene) hangs() producer {
	return func(context.Context, Pin) (Reading, error) { <-s.release; return Reading{}, nil }
}

func (s *scene) produce(topic string, p producer, opts ...dispatch.ProducerOption) *dispatch.Registration {
	s.t.Helper()
	r, err := dispatch.On[Pin, Reading](s.bus).AddProducer(dispatch.NewTopic[Pin, Reading](topic), p, opts...)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *scene) listen(topic string, f func(), opts ...dispatch.ListenerOption) {
	s.t.Helper()
	_, err := dispatch.On[Pin, Reading](s.bus).AddListener(dispatch.NewTopic[Pin, Reading](topic),
		func(context.Context, dispatch.Result[Pin, Reading]) { f() }, opts...)
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) send(topic string, opts ...dispatch.CallOption) *dispatch.Call[Pin, Reading] {
	s.t.Helper()
	c, err := dispatch.On[Pin, Reading](s.bus).Send(context.Background(), dispatch.NewTopic[Pin, Reading](topic), Pin{"vdd"}, opts...)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// call sends a request and waits for the end of the call.
func (s *scene) call(topic string, opts ...dispatch.CallOption) dispatch.CallID {
	s.t.Helper()
	c := s.send(topic, opts...)
	if err := c.Wait(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return c.ID()
}

// cell is a scene of a test cell: most members and listeners work, some do not.
func cell(t *testing.T, opts ...dispatchdebug.Option) *scene {
	s := newScene(t, append(opts, dispatchdebug.WithListenerTimes())...)
	const measure = "cell.measure"
	nested := func(ctx context.Context, p Pin) (Reading, error) {
		if _, err := dispatch.On[Pin, Reading](s.bus).Gather(ctx, dispatch.NewTopic[Pin, Reading]("instrument.smu.read"), p); err != nil {
			return Reading{}, err
		}
		return takes(30*time.Millisecond)(ctx, p)
	}
	s.produce("instrument.smu.read", takes(90*time.Millisecond), dispatch.WithName("smu-a"), dispatch.WithGroup("smu"), dispatch.WithConcurrency(1))
	s.produce("instrument.smu.read", takes(70*time.Millisecond), dispatch.WithName("smu-b"), dispatch.WithGroup("smu"), dispatch.WithConcurrency(1))
	s.produce("instrument.smu.read", takes(25*time.Millisecond), dispatch.WithName("thermometer"))
	s.produce(measure, nested, dispatch.WithName("site-1"))
	for i, d := range []int{62, 118, 75, 96} {
		s.produce(measure, takes(time.Duration(d)*time.Millisecond), dispatch.WithName(fmt.Sprint("site-", i+2)))
	}
	flaky := 0
	s.produce(measure, func(ctx context.Context, p Pin) (Reading, error) {
		if flaky++; flaky%3 == 0 {
			return fails(140*time.Millisecond, "probe card: contact 17 is open (12.4 MΩ)")(ctx, p)
		}
		return takes(88*time.Millisecond)(ctx, p)
	}, dispatch.WithName("site-6"), dispatch.WithConcurrency(1))
	s.produce(measure, func(ctx context.Context, p Pin) (Reading, error) {
		if p.Name == "panic" {
			return panics(40*time.Millisecond)(ctx, p)
		}
		return takes(104*time.Millisecond)(ctx, p)
	}, dispatch.WithName("site-7"))
	s.produce("cell.handler.index", takes(12*time.Millisecond), dispatch.WithName("handler"))
	s.produce("cell.bin", takes(400*time.Microsecond), dispatch.WithName("binner"))
	s.produce("prober.temperature", takes(3*time.Millisecond), dispatch.WithName("chuck"))
	s.listen(measure, func() { <-time.After(9 * time.Millisecond) }, dispatch.WithName("binning"))
	s.listen(measure, func() {}, dispatch.WithName("datalog"))
	for range 7 {
		s.call("cell.handler.index")
		s.call(measure, dispatch.WithTimeout(400*time.Millisecond))
		s.call("cell.bin")
		s.call("prober.temperature")
	}
	return s
}

// thousand is a bus with a thousand topics, some of which are in use.
func thousand(t *testing.T) *scene {
	s := newScene(t)
	for i := range 1000 {
		topic := fmt.Sprintf("line-%02d.station-%02d.measure", i/50, i%50)
		s.produce(topic, takes(0), dispatch.WithName("meter"))
		if i%20 == 0 {
			s.call(topic)
		}
	}
	return s
}

// inFlight is the cell while a call waits for two of its members.
func inFlight(t *testing.T) (*scene, dispatch.CallID) {
	s := cell(t)
	s.produce("cell.measure", s.hangs(), dispatch.WithName("site-8"))
	s.produce("cell.measure", takes(time.Minute), dispatch.WithName("site-9"))
	c := s.send("cell.measure", dispatch.WithTimeout(20*time.Second))
	s.send("cell.measure", dispatch.WithTimeout(40*time.Second))
	s.suspected("waiting", 2)
	return s, c.ID()
}

// late is the cell after a call that ended at its deadline, since one member watched
// its context and gave up, one came late, and one hangs.
func late(t *testing.T) (*scene, dispatch.CallID) {
	s := cell(t)
	s.produce("cell.measure", takes(time.Minute), dispatch.WithName("site-8"))
	s.produce("cell.measure", s.hangs(), dispatch.WithName("site-9"))
	returned := make(chan struct{})
	s.produce("cell.measure", func(context.Context, Pin) (Reading, error) {
		defer close(returned)
		<-time.After(430 * time.Millisecond)
		return Reading{}, nil
	}, dispatch.WithName("site-10"))
	id := s.call("cell.measure", dispatch.WithTimeout(300*time.Millisecond))
	<-returned
	s.suspected("stuck", 1)
	return s, id
}

// panicked is the cell after a call in which a member has panicked.
func panicked(t *testing.T) (*scene, dispatch.CallID) {
	s := cell(t)
	s.produce("cell.measure", panics(40*time.Millisecond), dispatch.WithName("site-8"))
	return s, s.call("cell.measure")
}

// stalled is the cell with a listener that does not return.
func stalled(t *testing.T) *scene {
	s := cell(t)
	s.listen("cell.measure", func() { <-s.release }, dispatch.WithName("yield-report"))
	s.listen("cell.measure", func() { <-s.release }, dispatch.WithName("trend"), dispatch.WithMailbox(4, dispatch.DropOldest))
	for range 3 {
		s.call("cell.measure")
	}
	s.suspected("behind", 2)
	return s
}

// remote is a relay to members on another node, with these names.
func remote(names []string) dispatch.Relay[Pin, Reading] {
	return func(_ context.Context, _ Pin, to *dispatch.Roster[Reading]) error {
		for _, name := range names {
			m := dispatch.Member{Node: name, Group: name, Name: name}
			to.Name(m)
			to.End(m, errors.New(name))
		}
		return nil
	}
}

func quick(context.Context, Pin) (Reading, error) { return Reading{}, nil }

// newBare is a bus without a page.
func newBare(t *testing.T, producers int, each producer) *scene {
	t.Helper()
	s := &scene{t: t, bus: dispatch.NewBus(dispatch.WithLogger(slog.New(slog.DiscardHandler)))}
	t.Cleanup(func() {
		if err := s.bus.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range producers {
		s.produce("work", each, dispatch.WithName(fmt.Sprint("p", i)))
	}
	return s
}

// streams counts the goroutines that serve streams.
func streams() int {
	buffer := make([]byte, 4<<20)
	return strings.Count(string(buffer[:runtime.Stack(buffer, true)]), "dispatchdebug.(*stream).run(")
}

// shown is the scene of the picture in the README: a call that ended at its deadline.
func shown(t *testing.T) (*scene, dispatch.CallID) {
	s := newScene(t, dispatchdebug.WithListenerTimes())
	const topic = "cell.measure"
	read := dispatch.NewTopic[Pin, Reading]("instrument.smu.read")
	nested := func(ctx context.Context, p Pin) (Reading, error) {
		if _, err := dispatch.On[Pin, Reading](s.bus).Gather(ctx, read, p); err != nil {
			return Reading{}, err
		}
		return takes(40*time.Millisecond)(ctx, p)
	}
	s.produce(read.Name(), fails(45*time.Millisecond, "smu-a: overload"), dispatch.WithName("smu-a"), dispatch.WithGroup("smu"))
	s.produce(read.Name(), takes(85*time.Millisecond), dispatch.WithName("smu-b"), dispatch.WithGroup("smu"))
	s.produce(read.Name(), takes(60*time.Millisecond), dispatch.WithName("thermometer"))
	s.produce(topic, nested, dispatch.WithName("site-1"))
	s.produce(topic, takes(162*time.Millisecond), dispatch.WithName("site-2"))
	s.produce(topic, s.hangs(), dispatch.WithName("site-3"))
	s.produce(topic, takes(216*time.Millisecond), dispatch.WithName("site-4"))
	s.produce(topic, takes(118*time.Millisecond), dispatch.WithName("site-5"), dispatch.WithConcurrency(1))
	s.produce(topic, fails(133*time.Millisecond, "probe card: contact 17 is open (12.4 MΩ)"), dispatch.WithName("site-6"))
	s.produce(topic, takes(187*time.Millisecond), dispatch.WithName("site-7"))
	returned := make(chan struct{})
	s.produce(topic, func(context.Context, Pin) (Reading, error) {
		defer close(returned)
		<-time.After(470 * time.Millisecond)
		return Reading{}, nil
	}, dispatch.WithName("site-8"))
	s.listen(topic, func() { <-time.After(22 * time.Millisecond) }, dispatch.WithName("binning"))
	s.listen(topic, func() { <-time.After(3 * time.Millisecond) }, dispatch.WithName("datalog"))
	c := s.send(topic, dispatch.WithTimeout(350*time.Millisecond), dispatch.WithTargets("site-5"))
	id := s.call(topic, dispatch.WithTimeout(350*time.Millisecond))
	if err := c.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-returned
	s.suspected("stuck", 1)
	return s, id
}
