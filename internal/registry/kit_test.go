package registry_test

import (
	"reflect"
	"testing"

	"github.com/seed-bb4b4d74/dispatch/internal/registry"
)

// A producer is as large as a producer of the bus.
type producer struct {
	registry.Entry
	_ [144]byte
}

type listener struct {
	registry.Entry
	_ [144]byte
}

type (
	bus   = registry.Registry[*producer, *listener]
	route = registry.Route[*producer, *listener]
)

func newBus() *bus { return registry.New[*producer, *listener]() }

var (
	ints  = registry.Types{Req: reflect.TypeFor[int](), Res: reflect.TypeFor[int]()}
	texts = registry.Types{Req: reflect.TypeFor[string](), Res: reflect.TypeFor[string]()}
)

func topic(name string, types ...registry.Types) *registry.Topic {
	t := registry.NewTopic(name, append(types, ints)[0])
	return &t
}

func on(topics ...*registry.Topic) *registry.Selection { return registry.Select(topics...) }

func newProducer(name string, s *registry.Selection) *producer {
	return &producer{Entry: registry.Entry{Name: name, Kind: registry.KindProducer, Selection: s}}
}

func newListener(s *registry.Selection) *listener {
	return &listener{Entry: registry.Entry{Kind: registry.KindListener, Selection: s}}
}

// must fails the test if there is an error.
func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
