package natsdispatch

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
)

// A Codec writes requests and results as bytes and reads them. Its methods are
// called concurrently. What Unmarshal reads into v must not share memory with data.
type Codec interface {
	// Name is what the codec is called on the wire: letters, digits, _ and -.
	Name() string
	Marshal(v any) ([]byte, error)
	// Unmarshal reads data into what v, a pointer, points to.
	Unmarshal(data []byte, v any) error
}

// JSON is the codec "json", of package encoding/json, and the default: a node in
// any language can answer it. It has no infinities and no NaN: a result with one of these is
// Failed. What is in an interface arrives as another type, numbers as float64. Fields that
// are not exported are lost, and Serve and Join refuse a type of which nothing would be left.
type JSON struct{}

// Name returns "json".
func (JSON) Name() string { return "json" }

// Marshal is [json.Marshal].
func (JSON) Marshal(v any) ([]byte, error) { return json.Marshal(v) }

// Unmarshal is [json.Unmarshal].
func (JSON) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// Gob is the codec "gob", of package encoding/gob, for what JSON cannot write. Each
// message carries the description of its type. What is in an interface has to be registered
// with [gob.Register] on both sides. Fields that are not exported are lost, as with JSON.
type Gob struct{}

// Name returns "gob".
func (Gob) Name() string { return "gob" }

// Marshal writes v with an encoder of its own.
func (Gob) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

// Unmarshal reads v with a decoder of its own.
func (Gob) Unmarshal(data []byte, v any) error {
	return gob.NewDecoder(bytes.NewReader(data)).Decode(v)
}
