package natsdispatch

import (
	"bytes"
	"fmt"
	"strconv"
)

// An asker of version 2 tells a node what it has had of a reply, in lines:
//
//	ack <call> <next> <bytes>
//	resume <call> <next> <bytes>
//	done <call>
//
// Of ack and resume next is the number of the message that has to come next, and bytes is what
// may be sent in all. A resume asks for all messages from there on once more.
const (
	kindAck    = "ack"
	kindResume = "resume"
	kindDone   = "done"
)

// ack is one of these lines.
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

// parseAck reads a line. It returns no kind for one that it does not know.
func parseAck(line []byte) (a ack, err error) {
	words := bytes.Split(line, []byte{' '})
	switch kind := string(words[0]); {
	case kind == kindDone && len(words) == 2:
	case (kind == kindAck || kind == kindResume) && len(words) == 4:
		if a.next, err = strconv.ParseUint(string(words[2]), 10, 64); err == nil {
			a.granted, err = strconv.ParseInt(string(words[3]), 10, 64)
		}
	case kind == kindDone || kind == kindAck || kind == kindResume:
		err = fmt.Errorf("it has %d words", len(words))
	default:
		return ack{}, nil
	}
	if err != nil {
		return ack{}, fmt.Errorf("line %.60q: %w", line, err)
	}
	a.kind, a.call = string(words[0]), string(words[1])
	return a, nil
}
