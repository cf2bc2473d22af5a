package natsdispatch

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// An asker of version 2 sends these lines to a node:
//
//	ack <call> <next> <bytes>
//	resume <call> <next> <bytes>
//	names <call> <next> <bytes>
//	done <call>
//	tell
//
// next is the number of the first message that the asker has not taken, and bytes is how many bytes the
// node may send, counted from the beginning of the reply. A resume asks the node to send all messages
// from next on again. A names asks for the same, and first for the names of the list of members. A done
// says that the node need not keep the reply. A tell asks the node to announce itself to the reply subject.
const (
	kindAck    = "ack"
	kindResume = "resume"
	kindDone   = "done"
	kindTell   = "tell"
)

// ack is one of these lines; granted is its number of bytes.
type ack struct {
	kind    string
	call    string
	next    uint64
	granted int64
}

func (a ack) append(b []byte) []byte {
	b = append(append(append(b, a.kind...), ' '), a.call...)
	if a.kind != kindDone {
		b = strconv.AppendUint(append(b, ' '), a.next, 10)
		b = strconv.AppendInt(append(b, ' '), a.granted, 10)
	}
	return append(b, '\n')
}

// parseAck reads a line. If the kind of the line is not known, parseAck returns the zero ack.
func parseAck(line string) (a ack, err error) {
	var rest string
	a.kind, rest, _ = strings.Cut(line, " ")
	switch a.kind {
	case kindTell:
		return a, nil
	case kindDone:
		a.call = rest
	case kindAck, kindResume, kindNames:
		var next, granted string
		a.call, rest, _ = strings.Cut(rest, " ")
		next, granted, _ = strings.Cut(rest, " ")
		if a.next, err = strconv.ParseUint(next, 10, 64); err == nil {
			a.granted, err = strconv.ParseInt(granted, 10, 64)
		}
	default:
		return ack{}, nil
	}
	if err == nil && (a.call == "" || strings.Contains(a.call, " ")) {
		err = errors.New("it names no call")
	}
	if err != nil {
		return ack{}, fmt.Errorf("line %.60q: %w", line, err)
	}
	return a, nil
}
