package dispatch

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/seed-bb4b4d74/dispatch/internal/subject"
)

// A Topic is a name together with the type of its requests and the type of its
// results. It is a handle, usually a package-level variable that packages share
// without knowing each other; declaring one registers nothing anywhere.
//
// The zero Topic names nothing and is refused with [ErrInvalidArgument]. A Topic
// is immutable: it may be copied, compared and used concurrently.
type Topic[Req, Res any] struct {
	_    [0]*func(Req) Res // keeps topics of different types from being converted into each other
	spec *topicSpec
}

// topicSpec is what a topic is made of once its types are known.
type topicSpec struct {
	name     string
	key      any // name once more, as the registry's key, so that looking it up allocates nothing
	types    types
	defaults []CallOption
}

// types is the pair of types of a topic.
type types struct{ req, res reflect.Type }

func typesOf[Req, Res any]() types {
	return types{reflect.TypeFor[Req](), reflect.TypeFor[Res]()}
}

// String gives both types with the full paths of their packages, for two types
// of the same short name are the usual reason to ask.
func (t types) String() string { return typeName(t.req) + " → " + typeName(t.res) }

func typeName(t reflect.Type) string {
	if t.Name() == "" || t.PkgPath() == "" {
		return t.String()
	}
	return t.PkgPath() + "." + t.Name()
}

// NewTopic returns the topic of this name: 1 to 255 bytes of tokens of
// A–Z a–z 0–9 _ - joined by dots. The defaults apply to every call of the topic
// made through this handle; the options of the call itself come before them.
//
// NewTopic panics if the name or an option is invalid, as [regexp.MustCompile]
// does. For names known only at run time there is [ParseTopic].
func NewTopic[Req, Res any](name string, defaults ...CallOption) Topic[Req, Res] {
	return must(ParseTopic[Req, Res](name, defaults...))
}

// ParseTopic is [NewTopic] with an error, which wraps [ErrInvalidTopic] or
// [ErrInvalidOption], in the place of a panic.
func ParseTopic[Req, Res any](name string, defaults ...CallOption) (Topic[Req, Res], error) {
	if err := subject.CheckName(name); err != nil {
		return Topic[Req, Res]{}, fmt.Errorf("%w: %w", ErrInvalidTopic, err)
	}
	if err := new(policy).apply(defaults); err != nil {
		return Topic[Req, Res]{}, fmt.Errorf("topic %q: %w", name, err)
	}
	return Topic[Req, Res]{spec: &topicSpec{
		name:     name,
		key:      name,
		types:    typesOf[Req, Res](),
		defaults: slices.Clone(defaults),
	}}, nil
}

// Name returns the topic's name, or the empty string for the zero Topic.
func (t Topic[Req, Res]) Name() string {
	if t.spec == nil {
		return ""
	}
	return t.spec.name
}

// String returns the topic's name.
func (t Topic[Req, Res]) String() string { return t.Name() }

// Topics is a list of topics of the same types, to register on as on one.
type Topics[Req, Res any] []Topic[Req, Res]

// AnyOf returns the topics as a [Selector], with their types inferred.
func AnyOf[Req, Res any](topics ...Topic[Req, Res]) Topics[Req, Res] { return topics }

// A Pattern selects all topics of its types whose names match it, also those
// that appear after it was registered. Topics of other types it passes over.
//
// The zero Pattern is refused with [ErrInvalidArgument]. A Pattern is immutable:
// it may be copied, compared and used concurrently.
type Pattern[Req, Res any] struct {
	_       [0]*func(Req) Res
	pattern string
}

// NewPattern returns the pattern, which is written as a topic's name is, except
// that the token * stands for any one token and a last token > for one or more.
//
// NewPattern panics if the pattern is invalid. For patterns known only at run
// time there is [ParsePattern].
func NewPattern[Req, Res any](pattern string) Pattern[Req, Res] {
	return must(ParsePattern[Req, Res](pattern))
}

// ParsePattern is [NewPattern] with an error, which wraps [ErrInvalidTopic], in
// the place of a panic.
func ParsePattern[Req, Res any](pattern string) (Pattern[Req, Res], error) {
	if err := subject.CheckPattern(pattern); err != nil {
		return Pattern[Req, Res]{}, fmt.Errorf("%w: pattern %w", ErrInvalidTopic, err)
	}
	return Pattern[Req, Res]{pattern: pattern}, nil
}

// String returns the pattern.
func (p Pattern[Req, Res]) String() string { return p.pattern }

// A Selector says on which topics a producer or listener is registered: a
// [Topic], several [Topics], or all that a [Pattern] matches.
type Selector[Req, Res any] interface {
	// The parameter is never used. It is there because a method that did not
	// mention the types would be satisfied by selectors of any types.
	selects(func(Req) Res) (selection, error)
}

// selection is a selector that carries its types as values: either topics or a
// pattern.
type selection struct {
	types   *types
	topics  []*topicSpec
	pattern string
}

// concerns reports whether the topic is selected.
func (s *selection) concerns(t *topicSpec) bool { return *s.types == t.types && s.matches(t.name) }

// matches reports whether the topic of this name is selected.
func (s *selection) matches(name string) bool {
	if s.pattern != "" {
		return subject.Match(s.pattern, name)
	}
	return slices.ContainsFunc(s.topics, func(t *topicSpec) bool { return t.name == name })
}

func (s *selection) String() string {
	if s.pattern != "" {
		return s.pattern
	}
	names := make([]string, len(s.topics))
	for i, t := range s.topics {
		names[i] = t.name
	}
	return strings.Join(names, " ")
}

func (t Topic[Req, Res]) selects(func(Req) Res) (selection, error) {
	if t.spec == nil {
		return selection{}, errors.New("zero Topic")
	}
	return selection{types: &t.spec.types, topics: []*topicSpec{t.spec}}, nil
}

func (ts Topics[Req, Res]) selects(func(Req) Res) (selection, error) {
	if len(ts) == 0 {
		return selection{}, errors.New("no Topics")
	}
	var s selection
	for i, t := range ts {
		if t.spec == nil {
			return selection{}, fmt.Errorf("zero Topic at index %d of Topics", i)
		}
		if s.types = &t.spec.types; !s.matches(t.spec.name) {
			s.topics = append(s.topics, t.spec)
		}
	}
	return s, nil
}

func (p Pattern[Req, Res]) selects(func(Req) Res) (selection, error) {
	if p.pattern == "" {
		return selection{}, errors.New("zero Pattern")
	}
	types := typesOf[Req, Res]()
	return selection{types: &types, pattern: p.pattern}, nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
