package registry

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Types is the pair of types of a topic. It is comparable.
type Types struct{ Req, Res reflect.Type }

// String returns both types as [TypeName] writes them: two types of the same
// short name are the usual reason to ask.
func (t Types) String() string { return TypeName(t.Req) + " → " + TypeName(t.Res) }

// A Topic is a name together with its types. It is immutable and safe for
// concurrent use. Only [NewTopic] makes one.
type Topic struct {
	Name  string
	Types Types
	key   any // Name as an interface value, so that a lookup does not allocate
}

// NewTopic returns the topic of a valid name.
func NewTopic(name string, types Types) Topic {
	return Topic{Name: name, Types: types, key: name}
}

// A Selection says where a producer or listener is registered: on topics by
// name, or on all topics of its types that match a pattern. It is immutable.
// Only [Select], [SelectAlone] and [SelectPattern] make one.
type Selection struct {
	Types   *Types
	Topics  []*Topic // all of these types, each name once
	Pattern string   // empty if there are Topics
}

// Select returns the selection of one or more topics of the same types. Topics
// of the same name count once.
func Select(topics ...*Topic) *Selection {
	seen := make(map[string]bool, len(topics))
	topics = slices.DeleteFunc(slices.Clone(topics), func(t *Topic) bool {
		repeated := seen[t.Name]
		seen[t.Name] = true
		return repeated
	})
	return &Selection{Types: &topics[0].Types, Topics: topics}
}

// SelectAlone returns the selection of one topic, in whose memory self is.
func SelectAlone(t *Topic, self *[1]*Topic) Selection {
	self[0] = t
	return Selection{Types: &t.Types, Topics: self[:]}
}

// SelectPattern returns the selection of all topics of the types that match a
// valid pattern.
func SelectPattern(pattern string, types Types) *Selection {
	return &Selection{Types: &types, Pattern: pattern}
}

// subjects returns the names of the topics, or the pattern.
func (s *Selection) subjects() (all []string) {
	if s.Pattern != "" {
		return []string{s.Pattern}
	}
	for _, t := range s.Topics {
		all = append(all, t.Name)
	}
	return all
}

// String returns the pattern or the names of the topics, for people: of more than
// three topics it names three and counts the others, so that its length does not
// depend on their number. It is empty for nil, which selects nothing.
func (s *Selection) String() string {
	if s == nil {
		return ""
	}
	const shown = 3
	first := Selection{Topics: s.Topics[:min(shown, len(s.Topics))], Pattern: s.Pattern}
	text := strings.Join(first.subjects(), " ")
	if more := len(s.Topics) - shown; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
