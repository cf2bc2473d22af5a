package unwind_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/seed-bb4b4d74/dispatch/internal/unwind"
)

func TestValueTellsGoexitFromPanics(t *testing.T) {
	for _, rule := range []string{"panicnil=0", "panicnil=1"} {
		for name, tt := range map[string]struct {
			end  func()
			want any
		}{
			"Goexit":              {runtime.Goexit, nil},
			"panic":               {func() { panic("boom") }, "boom"},
			"panic(nil)":          {func() { panic(nil) }, new(runtime.PanicNilError)},
			"panic during Goexit": {func() { defer func() { panic("boom") }(); runtime.Goexit() }, "boom"},
		} {
			t.Run(rule+"/"+name, func(t *testing.T) {
				t.Setenv("GODEBUG", rule)
				got := make(chan any, 1)
				go func() {
					defer func() { got <- unwind.Value(recover()) }()
					tt.end()
				}()
				if value := <-got; fmt.Sprint(value) != fmt.Sprint(tt.want) {
					t.Errorf("the value is %v, want %v", value, tt.want)
				}
			})
		}
	}
}
