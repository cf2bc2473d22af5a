package registry

import (
	"errors"
	"fmt"
)

// Kind is the kind of a registrant.
type Kind uint8

// The kinds of registrants.
const (
	KindProducer Kind = iota
	KindRelay
	KindListener
)

// String returns the word for the kind.
func (k Kind) String() string { return [...]string{"producer", "relay", "listener"}[k] }

// A Registrant is a producer or listener: a pointer to a struct that embeds an
// [Entry].
type Registrant interface{ Registered() *Entry }

// An Entry is the part of a producer or listener that the registry knows. Its
// fields are set before it is added, and do not change after that. An Entry is
// added to at most one registry, once.
type Entry struct {
	ID        uint64     // unique in the registry and in the order of registration; set by Add
	Name      string     // if empty, Add sets it to Kind-N
	Group     string     // replicas of the same group share a seat; "" for none
	Selection *Selection // registrations may share it
	Kind      Kind

	// The registry's mu guards the fields below.
	registered bool
	automatic  bool // the name is in the list of automatic names
}

// Registered returns the entry.
func (e *Entry) Registered() *Entry { return e }

// ErrClosed is returned by Add after Close.
var ErrClosed = errors.New("registry closed")

// A TypeError reports that the name of a topic is in use with other types.
type TypeError struct {
	Topic      string
	Have, Want Types
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("%q is %v on this bus, not %v", e.Topic, e.Have, e.Want)
}

// A DuplicateError reports that a producer of the same name shares a topic with
// the one that was to be added.
type DuplicateError struct {
	Name  string
	Where string // a topic or pattern on which the other producer is registered
}

func (e *DuplicateError) Error() string { return fmt.Sprintf("%q on %s", e.Name, e.Where) }
