package dispatch

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/seed-bb4b4d74/dispatch/internal/registry"
	"github.com/seed-bb4b4d74/dispatch/internal/subject"
)

// A Topic is a name with a request type and a result type. It is usually a package-level
// variable, which packages can share without knowing each other. The declaration of a topic
// does not register it on a bus.
//
// The zero Topic has no name; methods refuse it with [ErrInvalidArgument]. A Topic is
// immutable: it may be copied and compared, and is safe for concurrent use.
type Topic[Req, Res any] struct {
	_    [0]*func(Req) Res // keeps topics of different types from being converted into each other
	spec *topicSpec
}

// topicSpec is what a topic is made of once its types are known.
type topicSpec struct {
	registry.Topic
	alone registry.Selection // of this topic and no other, shared by all its registrations
	self  [1]*registry.Topic // memory of alone
	own   *topicOptions      // nil for a topic without options
}

// topicOptions are the options of a topic.
type topicOptions struct {
	defaults []CallOption
	retain   int // results that are kept; 0: none
}

// options returns the options, for changes.
func (s *topicSpec) options() *topicOptions {
	if s.own == nil {
		s.own = new(topicOptions)
	}
	return s.own
}

// addDefault adds a default of the topic's calls, if its value is right.
func (s *topicSpec) addDefault(o CallOption) error {
	s.options().defaults = append(s.options().defaults, o)
	return o.applyCall(new(policy))
}

func (s *topicSpec) defaults() []CallOption {
	if s.own == nil {
		return nil
	}
	return s.own.defaults
}

// retains returns how many results are kept.
func (s *topicSpec) retains() int {
	if s.own == nil {
		return 0
	}
	return s.own.retain
}

func typesOf[Req, Res any]() registry.Types {
	return registry.Types{Req: reflect.TypeFor[Req](), Res: reflect.TypeFor[Res]()}
}

// NewTopic returns the topic with this name. A name has 1 to 255 bytes: tokens of A–Z a–z
// 0–9 _ - joined by dots. The options apply to every call that is made with this Topic
// value; options of the call override them.
//
// NewTopic panics if the name or an option is invalid, like [regexp.MustCompile]. For names
// that are known only at run time, use [ParseTopic].
func NewTopic[Req, Res any](name string, opts ...TopicOption) Topic[Req, Res] {
	return must(ParseTopic[Req, Res](name, opts...))
}

// ParseTopic is like [NewTopic], but returns an error instead of panicking. The error wraps
// [ErrInvalidTopic] or [ErrInvalidOption].
func ParseTopic[Req, Res any](name string, opts ...TopicOption) (Topic[Req, Res], error) {
	if err := subject.CheckName(name); err != nil {
		return Topic[Req, Res]{}, fmt.Errorf("%w: %w", ErrInvalidTopic, err)
	}
	spec := &topicSpec{Topic: registry.NewTopic(name, typesOf[Req, Res]())}
	spec.alone = registry.SelectAlone(&spec.Topic, &spec.self)
	if err := each("TopicOption", opts, func(o TopicOption) error { return o.applyTopic(spec) }); err != nil {
		return Topic[Req, Res]{}, fmt.Errorf("topic %q: %w", name, err)
	}
	return Topic[Req, Res]{spec: spec}, nil
}

// Name returns the topic's name, or the empty string for the zero Topic.
func (t Topic[Req, Res]) Name() string {
	if t.spec == nil {
		return ""
	}
	return t.spec.Name
}

// String returns the topic's name.
func (t Topic[Req, Res]) String() string { return t.Name() }

// Topics is a list of topics with the same types. It can be used as one [Selector].
type Topics[Req, Res any] []Topic[Req, Res]

// AnyOf returns the topics as a [Selector]. The compiler infers their types.
func AnyOf[Req, Res any](topics ...Topic[Req, Res]) Topics[Req, Res] { return topics }

// A Pattern selects all topics of its types whose names match, including topics that are
// first used after the registration. It ignores topics of other types.
//
// Methods refuse the zero Pattern with [ErrInvalidArgument]. A Pattern is immutable: it may
// be copied and compared, and is safe for concurrent use.
type Pattern[Req, Res any] struct {
	_       [0]*func(Req) Res
	pattern string
}

// NewPattern returns the pattern. It is written like a topic's name, but the token * stands
// for any single token, and a last token > stands for one or more tokens.
//
// NewPattern panics if the pattern is invalid. For patterns that are known only at run time,
// use [ParsePattern].
func NewPattern[Req, Res any](pattern string) Pattern[Req, Res] {
	return must(ParsePattern[Req, Res](pattern))
}

// ParsePattern is like [NewPattern], but returns an error that wraps [ErrInvalidTopic]
// instead of panicking.
func ParsePattern[Req, Res any](pattern string) (Pattern[Req, Res], error) {
	if err := subject.CheckPattern(pattern); err != nil {
		return Pattern[Req, Res]{}, fmt.Errorf("%w: pattern %w", ErrInvalidTopic, err)
	}
	return Pattern[Req, Res]{pattern: pattern}, nil
}

// String returns the pattern.
func (p Pattern[Req, Res]) String() string { return p.pattern }

// A Selector says on which topics a producer or listener is registered: one [Topic], several
// [Topics], or all topics that a [Pattern] matches.
type Selector[Req, Res any] interface {
	// The parameter is never used. It is there because a method that did not
	// mention the types would be satisfied by selectors of any types.
	selects(func(Req) Res) (*registry.Selection, error)
}

func (t Topic[Req, Res]) selects(func(Req) Res) (*registry.Selection, error) {
	if t.spec == nil {
		return nil, errors.New("zero Topic")
	}
	return &t.spec.alone, nil
}

func (ts Topics[Req, Res]) selects(func(Req) Res) (*registry.Selection, error) {
	if len(ts) == 0 {
		return nil, errors.New("no Topics")
	}
	topics := make([]*registry.Topic, len(ts))
	for i, t := range ts {
		if t.spec == nil {
			return nil, fmt.Errorf("zero Topic at index %d of Topics", i)
		}
		topics[i] = &t.spec.Topic
	}
	return registry.Select(topics...), nil
}

func (p Pattern[Req, Res]) selects(func(Req) Res) (*registry.Selection, error) {
	if p.pattern == "" {
		return nil, errors.New("zero Pattern")
	}
	return registry.SelectPattern(p.pattern, typesOf[Req, Res]()), nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
