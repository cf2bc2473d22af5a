package natsdispatch

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

type (
	hidden  struct{ volts float64 }
	leftOut struct {
		Volts float64 `json:"-"`
	}
	promoted    struct{ visible }
	visible     struct{ Volts float64 }
	embedsEmpty struct{ hidden }
	writesOwn   struct{ volts float64 }
	byPointer   struct{ volts float64 }
	chain       struct {
		Volts float64
		Next  *chain
	}
)

func (writesOwn) MarshalJSON() ([]byte, error)  { return []byte("1"), nil }
func (*byPointer) MarshalJSON() ([]byte, error) { return []byte("1"), nil }

// A type of which a codec would write nothing is refused, and no other.
func TestTypesThatACodecWouldEmpty(t *testing.T) {
	_ = []any{hidden{}.volts, embedsEmpty{}.hidden, writesOwn{}.volts, byPointer{}.volts} // codecs would lose these fields
	for what, c := range map[string]struct {
		err  error
		want string // in the text
	}{
		"string":                     {checkTypes[string, int]([]Codec{JSON{}}), ""},
		"empty struct":               {checkTypes[struct{}, []string]([]Codec{JSON{}, Gob{}}), ""},
		"exported":                   {checkTypes[visible, map[string]*visible]([]Codec{JSON{}, Gob{}}), ""},
		"promoted":                   {checkTypes[promoted, any]([]Codec{JSON{}}), ""},
		"recursive":                  {checkTypes[chain, chain]([]Codec{JSON{}}), ""},
		"writes itself":              {checkTypes[time.Time, writesOwn]([]Codec{JSON{}}), ""},
		"pointer that writes itself": {checkTypes[*byPointer, []byPointer]([]Codec{JSON{}}), ""},
		"codec of the user's":        {checkTypes[hidden, hidden]([]Codec{struct{ Codec }{JSON{}}}), ""},
		"hidden":                     {checkTypes[string, hidden]([]Codec{JSON{}}), "codec json would lose what is in natsdispatch.hidden"},
		"hidden, as gob":             {checkTypes[hidden, string]([]Codec{&Gob{}}), "codec gob would lose what is in natsdispatch.hidden"},
		"left out":                   {checkTypes[leftOut, string]([]Codec{JSON{}}), "natsdispatch.leftOut"},
		"embeds hidden":              {checkTypes[embedsEmpty, string]([]Codec{JSON{}}), "natsdispatch.embedsEmpty"},
		"elements":                   {checkTypes[string, map[string][]*hidden]([]Codec{JSON{}}), "map[string][]*natsdispatch.hidden"},
		"value of a pointer method":  {checkTypes[string, byPointer]([]Codec{JSON{}}), ""},
		"the same, as gob":           {checkTypes[string, byPointer]([]Codec{Gob{}}), "natsdispatch.byPointer"},
		"field":                      {checkTypes[string, struct{ Count atomic.Int64 }]([]Codec{JSON{}}), ".Count"},
	} {
		if c.want == "" && c.err != nil || c.want != "" && (!errors.Is(c.err, dispatch.ErrInvalidArgument) || !strings.Contains(c.err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", what, c.err, c.want)
		}
	}
	if codecs, err := codecsFor[string, leftOut](nil); err != nil || len(codecs) != 1 || codecs[0] != (Gob{}) {
		t.Errorf("for what JSON alone would empty: %v, %v", codecs, err)
	}
	if codecs, err := codecsFor[string, hidden](nil); err == nil || codecs != nil {
		t.Errorf("for what all would empty: %v, %v", codecs, err)
	}
	if _, err := codecsFor[string, leftOut]([]Codec{Gob{}, JSON{}}); err == nil {
		t.Error("a codec that was asked for and empties is taken")
	}
}

// An option keeps no slice of its caller, who may use it for something else.
func TestOptionsKeepNoSlices(t *testing.T) {
	codecs, nodes := []Codec{Gob{}, JSON{}}, []string{"b", "a"}
	serve, join := WithCodec(codecs...), WithNodes(nodes...)
	s, err := newServeConfig([]ServeOption{serve, WithNode("n")})
	if err != nil {
		t.Fatal(err)
	}
	j, err := newJoinConfig([]JoinOption{serve, join})
	if err != nil {
		t.Fatal(err)
	}
	clear(codecs)
	clear(nodes)
	if !slices.Equal(s.codecs, []Codec{Gob{}, JSON{}}) || !slices.Equal(j.codecs, s.codecs) || !slices.Equal(j.expected, []string{"a", "b"}) {
		t.Errorf("the options are %v, %v and %q", s.codecs, j.codecs, j.expected)
	}
}

// Without WithNode, two processes with equal host names and process ids, as in containers, have different names.
func TestNodesWithoutANameAreDistinct(t *testing.T) {
	one, err := newServeConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := newServeConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	process := fmt.Sprint("-", os.Getpid(), "-")
	if one.node == two.node || !strings.Contains(one.node, process) || checkNodeName(one.node) != nil {
		t.Errorf("the names are %q and %q", one.node, two.node)
	}
}
