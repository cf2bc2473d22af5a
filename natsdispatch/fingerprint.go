package natsdispatch

import (
	"crypto/sha256"
	"encoding"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// Fingerprint returns the identity of a pair of types on the wire, unless [WithTypes] sets another one: 16
// hexadecimal digits. Types of the same structure have the same fingerprint, regardless of their names
// and packages, on every platform. The structure is that of package encoding/json:
// the names under which fields are written, in their order, and the types of the fields. For a
// type that writes itself, only its name and package count.
func Fingerprint[Req, Res any]() string {
	var d description
	d.add(reflect.TypeFor[Req]())
	d.WriteString("->")
	d.add(reflect.TypeFor[Res]())
	sum := sha256.Sum256([]byte(d.String()))
	return hex.EncodeToString(sum[:8])
}

// description writes the structure of types.
type description struct {
	strings.Builder
	inside []reflect.Type // the types that contain the current one, to find types that contain themselves
}

var selfWriters = [...]reflect.Type{
	reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler](),
	reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[gob.GobEncoder](),
}

func (d *description) add(t reflect.Type) {
	for _, w := range selfWriters {
		if t.Kind() == reflect.Pointer {
			break // the text of a pointer has only a part of the package: see what it points to
		}
		if t.Implements(w) || t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(w) {
			fmt.Fprintf(d, "%s.%s", t.PkgPath(), t)
			return
		}
	}
	if t.Name() != "" && t.Kind() == reflect.Struct || t.Kind() == reflect.Slice || t.Kind() == reflect.Map || t.Kind() == reflect.Pointer {
		for i, outer := range d.inside {
			if outer == t {
				fmt.Fprintf(d, "^%d", len(d.inside)-i)
				return
			}
		}
		d.inside = append(d.inside, t)
		defer func() { d.inside = d.inside[:len(d.inside)-1] }()
	}
	switch t.Kind() {
	case reflect.Pointer:
		d.WriteByte('*')
		d.add(t.Elem())
	case reflect.Slice:
		d.WriteString("[]")
		d.add(t.Elem())
	case reflect.Array:
		fmt.Fprintf(d, "[%d]", t.Len())
		d.add(t.Elem())
	case reflect.Map:
		d.WriteString("map[")
		d.add(t.Key())
		d.WriteByte(']')
		d.add(t.Elem())
	case reflect.Struct:
		d.WriteByte('{')
		for f := range t.Fields() {
			d.addField(f)
		}
		d.WriteByte('}')
	default:
		d.WriteString(t.Kind().String())
	}
}

func (d *description) addField(f reflect.StructField) {
	tag := f.Tag.Get("json")
	embeds := f.Anonymous && isStruct(f.Type)
	if tag == "-" || !f.IsExported() && !embeds {
		return
	}
	name, rest, _ := strings.Cut(tag, ",")
	switch {
	case name != "":
	case embeds:
		name = "+" // the fields of an embedded struct are written as fields of the outer struct
	default:
		name = f.Name
	}
	d.WriteString(name)
	if strings.Contains(","+rest+",", ",string,") {
		d.WriteString(",string")
	}
	d.WriteByte(' ')
	d.add(f.Type)
	d.WriteByte(';')
}

// isStruct reports whether t is a struct or points to one.
func isStruct(t reflect.Type) bool {
	return t.Kind() == reflect.Struct || t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct
}
