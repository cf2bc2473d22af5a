package natsdispatch

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
)

// A Codec writes requests and results as bytes and reads them. Its methods are
// called concurrently. A panic there counts as an error, and is logged. The value that Unmarshal stores in
// v must not share memory with data.
type Codec interface {
	// Name returns the name of the codec on the wire: 1 to 128 letters, digits, _ and -.
	Name() string
	Marshal(v any) ([]byte, error)
	// Unmarshal reads data into what v, a pointer, points to.
	Unmarshal(data []byte, v any) error
}

// JSON is the codec "json", of package encoding/json, and the default: a node in
// any language can use it. It also calls methods of the pointer to a value, such as MarshalJSON. It cannot
// write infinities and NaN: the member with such a result is Failed. A value in an interface arrives with
// another type; numbers arrive as float64. Fields that are not exported are lost. Serve and Join refuse a
// type of which JSON would write nothing.
type JSON struct{}

// Name returns "json".
func (JSON) Name() string { return "json" }

// Marshal is [json.Marshal].
func (JSON) Marshal(v any) ([]byte, error) { return json.Marshal(v) }

// Unmarshal is [json.Unmarshal].
func (JSON) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// Gob is the codec "gob", of package encoding/gob, for values that JSON cannot write. Each
// message contains the description of its type. Types of values in interfaces must be registered
// with [gob.Register] on both sides. Fields that are not exported are lost, as with JSON. Gob knows fields by their
// names in Go: if these differ between the two sides, values are lost although JSON tags, and so the
// [Fingerprint], are the same.
type Gob struct{}

// Name returns "gob".
func (Gob) Name() string { return "gob" }

// Marshal writes v with a new encoder.
func (Gob) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

// Unmarshal reads v with a new decoder.
func (Gob) Unmarshal(data []byte, v any) error {
	return gob.NewDecoder(bytes.NewReader(data)).Decode(v)
}
