package dispatchtest

import (
	"reflect"

	"github.com/google/go-cmp/cmp"
)

// unexported makes go-cmp compare unexported fields of all types, also of types that the test
// does not declare. Without it, go-cmp panics.
var unexported = cmp.Exporter(func(reflect.Type) bool { return true })

func equal[T any](want, got T) bool { return cmp.Equal(want, got, unexported) }

func diff[T any](want, got T) string { return cmp.Diff(want, got, unexported) }

// diffSlices is diff without a difference between no slice and an empty one.
func diffSlices[T any](want, got []T) string {
	if len(want) == 0 && len(got) == 0 {
		return ""
	}
	return diff(want, got)
}
