package registry_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"testing"

	"github.com/seed-bb4b4d74/dispatch/internal/registry"
)

func TestSelectKeepsOneTopicOfEachName(t *testing.T) {
	for _, n := range []int{1, 3, 100} {
		var topics []*registry.Topic
		for i := range 3 * n {
			topics = append(topics, topic(fmt.Sprint("t.", i%n)))
		}
		s := registry.Select(topics...)
		if len(s.Topics) != n || *s.Types != ints {
			t.Errorf("%d topics of types %v, want %d", len(s.Topics), s.Types, n)
		}
		for i, got := range s.Topics {
			if got != topics[i] {
				t.Errorf("topic %d is %s", i, got.Name)
			}
		}
		if topics[3*n-1] == nil {
			t.Error("Select has changed its argument")
		}
	}
}

func TestSelectionString(t *testing.T) {
	var topics []*registry.Topic
	for i := range 100 {
		topics = append(topics, topic(fmt.Sprint("t.", i)))
	}
	tests := []struct {
		selection *registry.Selection
		want      string
	}{
		{on(topics[:1]...), "t.0"},
		{on(topics[:3]...), "t.0 t.1 t.2"},
		{on(topics[:4]...), "t.0 t.1 t.2 and 1 more"},
		{on(topics...), "t.0 t.1 t.2 and 97 more"},
		{registry.SelectPattern("t.>", ints), "t.>"},
	}
	for _, tt := range tests {
		if got := tt.selection.String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	type reading struct{}
	tests := []struct {
		err  error
		want string
	}{
		{
			&registry.TypeError{Topic: "a", Have: ints, Want: registry.Types{Req: ints.Req, Res: reflect.TypeFor[*reading]()}},
			`"a" is int → int on this bus, not int → *github.com/seed-bb4b4d74/dispatch/internal/registry_test.reading`,
		},
		{&registry.DuplicateError{Name: "p", Where: "a.*"}, `"p" on a.*`},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
		if errors.Unwrap(tt.err) != nil {
			t.Errorf("%v wraps something", tt.err)
		}
	}
}

type pair[K, V any] struct {
	_ K
	_ V
}

func TestTypeName(t *testing.T) {
	const reg = "github.com/seed-bb4b4d74/dispatch/internal/registry."
	tests := []struct {
		of   reflect.Type
		want string
	}{
		{reflect.TypeFor[int](), "int"},
		{reflect.TypeFor[error](), "error"},
		{reflect.TypeFor[any](), "interface {}"},
		{reflect.TypeFor[struct{}](), "struct {}"},
		{reflect.TypeFor[registry.Topic](), reg + "Topic"},
		{reflect.TypeFor[*registry.Topic](), "*" + reg + "Topic"},
		{reflect.TypeFor[**[]registry.Topic](), "**[]" + reg + "Topic"},
		{reflect.TypeFor[[2]*registry.Topic](), "[2]*" + reg + "Topic"},
		{reflect.TypeFor[map[registry.Types][]registry.Topic](), "map[" + reg + "Types][]" + reg + "Topic"},
		{reflect.TypeFor[chan registry.Topic](), "chan " + reg + "Topic"},
		{reflect.TypeFor[<-chan registry.Topic](), "<-chan " + reg + "Topic"},
		{reflect.TypeFor[chan<- registry.Topic](), "chan<- " + reg + "Topic"},
		{reflect.TypeFor[chan (<-chan int)](), "chan (<-chan int)"},
		{reflect.TypeFor[func()](), "func()"},
		{reflect.TypeFor[func(context.Context, ...*registry.Topic) error](), "func(context.Context, ...*" + reg + "Topic) (error)"},
		{reflect.TypeFor[func() (registry.Topic, error)](), "func() (" + reg + "Topic, error)"},
		{
			reflect.TypeFor[*pair[string, registry.Topic]](),
			"*github.com/seed-bb4b4d74/dispatch/internal/registry_test.pair[string," + reg + "Topic]",
		},
		{reflect.TypeFor[iter.Seq[*registry.Topic]](), "iter.Seq[*" + reg + "Topic]"},
	}
	for _, tt := range tests {
		if got := registry.TypeName(tt.of); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}
