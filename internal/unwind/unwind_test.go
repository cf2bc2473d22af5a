package unwind_test

import (
	"runtime"
	"testing"

	"github.com/seed-bb4b4d74/dispatch/internal/unwind"
)

func TestGoexitIsToldFromAPanicWithNil(t *testing.T) {
	t.Setenv("GODEBUG", "panicnil=1")
	for name, tt := range map[string]struct {
		end  func()
		want bool
	}{
		"Goexit":     {runtime.Goexit, true},
		"panic(nil)": {func() { panic(nil) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, done := make(chan bool, 1), make(chan struct{})
			go func() {
				defer close(done)
				defer func() {
					if value := recover(); value != nil {
						t.Errorf("recovered %v", value)
					}
					got <- unwind.Goexit()
				}()
				tt.end()
			}()
			<-done
			if is := <-got; is != tt.want {
				t.Errorf("Goexit: %v, want %v", is, tt.want)
			}
		})
	}
}
