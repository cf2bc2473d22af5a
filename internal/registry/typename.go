package registry

import (
	"fmt"
	"reflect"
	"strings"
)

// TypeName returns the type as Go writes it, but with the full path of each
// package. Anonymous structs and interfaces keep the short names inside.
func TypeName(t reflect.Type) string {
	if t.PkgPath() != "" {
		return t.PkgPath() + "." + t.Name() // has full paths in type arguments
	}
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + TypeName(t.Elem())
	case reflect.Slice:
		return "[]" + TypeName(t.Elem())
	case reflect.Array:
		return fmt.Sprintf("[%d]%s", t.Len(), TypeName(t.Elem()))
	case reflect.Map:
		return fmt.Sprintf("map[%s]%s", TypeName(t.Key()), TypeName(t.Elem()))
	case reflect.Chan:
		elem := TypeName(t.Elem())
		if strings.HasPrefix(elem, "<-") {
			elem = "(" + elem + ")"
		}
		return t.ChanDir().String() + " " + elem
	case reflect.Func:
		in, out := typeNames(t.NumIn(), t.In), typeNames(t.NumOut(), t.Out)
		if last := len(in) - 1; t.IsVariadic() {
			in[last] = "..." + strings.TrimPrefix(in[last], "[]")
		}
		name := "func(" + strings.Join(in, ", ") + ")"
		if len(out) > 0 {
			name += " (" + strings.Join(out, ", ") + ")"
		}
		return name
	}
	return t.String()
}

// typeNames returns the names of n types, which at returns.
func typeNames(n int, at func(int) reflect.Type) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = TypeName(at(i))
	}
	return names
}
