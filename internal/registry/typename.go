package registry

import (
	"fmt"
	"iter"
	"reflect"
	"strings"
)

// TypeName returns the type as Go writes it, but with the full path of each
// package. Anonymous structs and interfaces keep the short names inside.
func TypeName(t reflect.Type) string {
	if t.PkgPath() != "" {
		return t.PkgPath() + "." + t.Name() // has full paths in type arguments
	}
	if t.Name() != "" {
		return t.Name()
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
		in, out := typeNames(t.Ins()), typeNames(t.Outs())
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

func typeNames(types iter.Seq[reflect.Type]) (names []string) {
	for t := range types {
		names = append(names, TypeName(t))
	}
	return names
}
