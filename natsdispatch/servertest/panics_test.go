package servertest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/seed-bb4b4d74/dispatch"
)

// numbered is an error whose method panics if the pointer is nil.
type numbered struct{ code int }

func (e *numbered) Error() string { return fmt.Sprint("code ", e.code) }

// A producer that returns a nil pointer as its error fails alone, as it does on the asker's own bus.
func TestErrorThatIsANilPointer(t *testing.T) {
	s := startServer(t)
	far, near := newBus(), newBus()
	var none *numbered
	produce(t, far, "bad", func(context.Context, string) (string, error) { return "v", none })
	produce(t, far, "good", echo("good"))
	serve(t, connect(t, s.ClientURL()), far, "far")
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/bad failed", "far/good ok")
	want(t, ended(t, send(t, near, "x", dispatch.WithTargets("far/bad"))), dispatch.ReasonAllEnded, "far/bad failed")
}
