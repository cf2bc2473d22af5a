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

// checkTypes reports that one of the codecs would write a type as if it were empty: what
// was sent would arrive as the zero value, without any error.
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

// codecsFor returns the codecs of a node: those that it was given, or else those of ours that
// can write the types.
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

// writers are the interfaces of types that write themselves, and the tag by which
// a codec knows fields that it leaves out.
type writers struct {
	interfaces []reflect.Type
	tag        string
}

// writersOf returns the writers of a codec of this package, and nil for any other codec.
func writersOf(c Codec) *writers {
	switch c.(type) {
	case JSON, *JSON:
		return &writers{[]reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()}, "json"}
	case Gob, *Gob:
		return &writers{[]reflect.Type{reflect.TypeFor[gob.GobEncoder](), reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.TextMarshaler]()}, ""}
	default:
		return nil
	}
}

// empties looks for a struct of which nothing would be written, and returns where it is.
// A method of its pointer writes it only where it is a part of something else.
func (w *writers) empties(t reflect.Type, path string, above []reflect.Type) (string, bool) {
	for _, i := range w.interfaces {
		if t.Implements(i) || above != nil && reflect.PointerTo(t).Implements(i) {
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
