package natsdispatch

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/seed-bb4b4d74/dispatch"
)

// rude is an error whose methods do not return.
type rude struct{ leave func() }

func (e *rude) Error() string        { e.leave(); return "" }
func (e *rude) Is(target error) bool { e.leave(); return false }

// What is sent for an error does not depend on methods that return.
func TestErrorsWhoseMethodsDoNotReturn(t *testing.T) {
	var none *rude
	for what, err := range map[string]error{
		"a nil pointer": none,
		"a panic":       &rude{func() { panic("rude") }},
		"Goexit":        &rude{runtime.Goexit},
		"a joined one":  errors.Join(errors.New("first"), &rude{runtime.Goexit}),
	} {
		if f := failed(dispatch.StateFailed, err); f.state != dispatch.StateFailed || f.code != noCode {
			t.Errorf("%s is sent as %+v, want it failed and without a code", what, f)
		}
		if f := failureOf(dispatch.Outcome{State: dispatch.StateCanceled, Err: err}); f.state != dispatch.StateCanceled {
			t.Errorf("%s is sent as %+v, want it canceled", what, f)
		}
	}
	if f := failed(dispatch.StateFailed, none); f.text != "<nil>" {
		t.Errorf("the text of a nil pointer is %q, want <nil>", f.text)
	}
}

// spy is a codec that keeps what it is given.
type spy struct {
	Codec
	got *any
}

func (s spy) Marshal(v any) ([]byte, error) { *s.got = v; return nil, nil }

// JSON is given pointers, as it is for elements of an array, and a codec of the user is given values.
func TestCodecsAreGivenValues(t *testing.T) {
	var got any
	if _, err := marshal(safe{Codec: spy{JSON{}, &got}}, byPointer{1}); err != nil || got != (byPointer{1}) {
		t.Errorf("a codec of the user is given %v, %v; want the value", got, err)
	}
	for _, c := range []Codec{JSON{}, &JSON{}} {
		if data, err := marshal(safe{Codec: c}, byPointer{}); err != nil || string(data) != "1" {
			t.Errorf("%T writes %s, %v; want 1, by the method of the pointer", c, data, err)
		}
	}
}

// countsNames is a codec that counts how often it is asked for its name.
type countsNames struct {
	Codec
	times *int
}

func (a countsNames) Name() string { *a.times++; return "own" }

// The name of a codec is the user's code, and used where a lock is held. So it is asked for once.
func TestACodecIsAskedForItsNameOnce(t *testing.T) {
	times := 0
	c, err := newServeConfig([]ServeOption{WithCodec(JSON{}, countsNames{Gob{}, &times})})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if name := c.codecs[1].Name(); name != "own" || times != 1 {
			t.Errorf("the name is %q after %d questions, want own after one", name, times)
		}
	}
	if _, ok := c.codecs[0].(JSON); !ok {
		t.Errorf("JSON is a %T, which has no array of results", c.codecs[0])
	}
}

func TestCodeThatDoesNotReturnHasAnError(t *testing.T) {
	if err := apart(func() {}); err != nil {
		t.Errorf("code that returns: %v, want no error", err)
	}
	if err := apart(runtime.Goexit); !errors.Is(err, dispatch.ErrGoexit) {
		t.Errorf("after Goexit: %v, want %v", err, dispatch.ErrGoexit)
	}
	bad := errors.New("bad")
	for what, err := range map[string]error{
		"apart": apart(func() { panic(bad) }), "guard": guard(func() error { panic(bad) }),
	} {
		u, ok := errors.AsType[*unwound](err)
		if !ok || u.Error() != "panic: bad" || errors.Is(err, bad) || !strings.Contains(string(u.stack), "guard_test.go") {
			t.Errorf("%s: the error of a panic is %v, want one with its value and its stack", what, err)
		}
	}
	if err := guard(func() error { return bad }); err != bad {
		t.Errorf("guard returns %v, want %v", err, bad)
	}
}
