package natsdispatch

import (
	"encoding"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/seed-bb4b4d74/dispatch"
)

// checkTypes returns an error if one of the codecs would write nothing of a type: values of this type would
// arrive as the zero value, without any error.
func checkTypes[Req, Res any](codecs []Codec) error {
	for _, c := range codecs {
		for _, t := range []reflect.Type{reflect.TypeFor[Req](), reflect.TypeFor[Res]()} {
			w := writersOf(c)
			if w == nil {
				continue
			}
			if path, empty := w.empties(t, t.String(), nil); empty {
				return fmt.Errorf("%w: codec %s would lose what is in %s: nothing of it is exported, and it does not write itself", dispatch.ErrInvalidArgument, c.Name(), path)
			}
		}
	}
	return nil
}

// codecsFor returns the codecs of a node: the given codecs, or the codecs of this package that can write the
// types if given is nil.
func codecsFor[Req, Res any](given []Codec) (codecs []Codec, err error) {
	if given != nil {
		return given, checkTypes[Req, Res](given)
	}
	for _, c := range []Codec{JSON{}, Gob{}} {
		if failed := checkTypes[Req, Res]([]Codec{c}); failed == nil {
			codecs = append(codecs, c)
		} else if err == nil {
			err = failed
		}
	}
	if codecs != nil {
		err = nil
	}
	return codecs, err
}

// writers holds the interfaces of types that write themselves, and the struct tag of fields that a codec
// leaves out.
type writers struct {
	interfaces []reflect.Type
	tag        string
	pointers   bool // the codec is given pointers
}

// writersOf returns the writers of a codec of this package, and nil for any other codec.
func writersOf(c Codec) *writers {
	switch c.(type) {
	case JSON, *JSON:
		return &writers{[]reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()}, "json", true}
	case Gob, *Gob:
		return &writers{[]reflect.Type{reflect.TypeFor[gob.GobEncoder](), reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.TextMarshaler]()}, "", false}
	default:
		return nil
	}
}

// empties looks for a struct of which the codec would write nothing, and returns the path to the struct. If
// only the pointer to a type writes itself, a codec that is given values calls its methods only for a part of
// another value.
func (w *writers) empties(t reflect.Type, path string, above []reflect.Type) (string, bool) {
	for _, i := range w.interfaces {
		if t.Implements(i) || (w.pointers || above != nil) && reflect.PointerTo(t).Implements(i) {
			return "", false
		}
	}
	if slices.Contains(above, t) {
		return "", false
	}
	above = append(slices.Clip(above), t)
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return w.empties(t.Elem(), path, above)
	case reflect.Struct:
	default:
		return "", false
	}
	if t.NumField() > 0 && !w.writes(t) {
		return path, true
	}
	for f := range t.Fields() {
		if w.leavesOut(f) {
			continue
		}
		if inner, empty := w.empties(f.Type, path+"."+f.Name, above); empty {
			return inner, true
		}
	}
	return "", false
}

// writes reports whether something of a struct is written.
func (w *writers) writes(t reflect.Type) bool {
	for f := range t.Fields() {
		if !w.leavesOut(f) {
			return true
		}
	}
	return false
}

// leavesOut reports whether a field is not written. JSON writes the fields of an embedded
// struct as those of the outer one.
func (w *writers) leavesOut(f reflect.StructField) bool {
	if w.tag != "" && f.Tag.Get(w.tag) == "-" {
		return true
	}
	if f.Anonymous && w.tag != "" && f.Type.Kind() == reflect.Struct {
		return !f.IsExported() && !w.writes(f.Type)
	}
	return !f.IsExported()
}
