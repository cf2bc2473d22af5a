package natsdispatch

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/seed-bb4b4d74/dispatch"
)

// The code of the user may panic or call runtime.Goexit: codecs and the methods of values, the methods of
// errors, and the functions and loggers of options. The functions of this file call such code, so that it costs
// no more than what it was called for.

// unwound is the error of code of the user that has panicked. It does not wrap the value of the panic, because
// the methods of this value may panic, too.
type unwound struct {
	text  string // the value of the panic
	stack []byte
}

func (u *unwound) Error() string { return "panic: " + u.text }

// unwoundBy returns the error of code of the user that has not returned. recovered is what recover has
// returned: it is nil after runtime.Goexit.
func unwoundBy(recovered any) error {
	if recovered == nil {
		return dispatch.ErrGoexit
	}
	return &unwound{fmt.Sprint(recovered), debug.Stack()}
}

// guard calls f, and returns an error if f panics. If f calls runtime.Goexit, guard does not return.
func guard(f func() error) (err error) {
	returned := false
	defer func() {
		if !returned {
			err = unwoundBy(recover())
		}
	}()
	err = f()
	returned = true
	return err
}

// apart calls f on another goroutine and waits for it. It returns an error if f panics or calls runtime.Goexit.
func apart(f func()) (err error) {
	done := make(chan struct{})
	go func() {
		returned := false
		defer close(done)
		defer func() {
			if !returned {
				err = unwoundBy(recover())
			}
		}()
		f()
		returned = true
	}()
	<-done
	return err
}

// safe is a codec that code of this package may call: if the codec panics, this is an error.
type safe struct {
	Codec
	news *news // logs panics; nil: they are not logged
}

// named is a codec of the user's with the name that it had at first. Its Name may be called under a lock.
type named struct {
	Codec
	name string
}

func (n named) Name() string { return n.name }

// unmarshal reads data into what v points to.
func (c safe) unmarshal(data []byte, v any) error {
	return c.noted(guard(func() error { return c.Unmarshal(data, v) }))
}

// marshal writes a value. JSON is given a pointer, so that it calls the methods of the pointer, too, as it does
// for the elements of an array.
func marshal[T any](c safe, v T) (data []byte, err error) {
	var value any
	switch c.Codec.(type) {
	case JSON, *JSON:
		p := new(T)
		*p = v
		value = p
	default:
		value = v
	}
	err = guard(func() (err error) {
		data, err = c.Marshal(value)
		return err
	})
	return data, c.noted(err)
}

// noted returns err, and logs a panic.
func (c safe) noted(err error) error {
	if _, ok := err.(*unwound); ok && c.news != nil {
		c.news.unwound("codec "+c.Name(), err)
	}
	return err
}

// is is [errors.Is], and false if a method of err panics or calls runtime.Goexit.
func is(err, target error) (yes bool) {
	_ = apart(func() { yes = errors.Is(err, target) })
	return yes
}
