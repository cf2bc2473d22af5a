package natsdispatch

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// A message of a reply of version 2 has no headers, unless it is signed. It begins with a line, the head,
// with the name of the node, its boot id, and the number of the message:
//
//	v2 cell-7 1790000000000000 0000000000

// seqDigits is how many digits the number of a message has. It is fixed, so that setSeq can write the number
// after the rest of the message was written.
const seqDigits = 10

var headWord = []byte("v2 ")

// appendHead appends the head, with zeros as the number.
func appendHead(b []byte, node string, epoch int64) []byte {
	b = append(appendEscaped(append(b, headWord...), node), ' ')
	b = strconv.AppendInt(b, epoch, 10)
	return append(b, " 0000000000\n"...)
}

// setSeq writes the number of a message whose first head bytes are its head.
func setSeq(message []byte, head int, seq uint64) {
	for i := head - 2; i > head-2-seqDigits; i-- {
		message[i] = byte('0' + seq%10)
		seq /= 10
	}
}

// unnumbered is the word instead of the number in a message that is outside of the sequence.
const unnumbered = "-"

// errHead reports that a message does not begin with a head.
var errHead = errors.New("it begins with no head")

// cutHead reads the head of a message, and returns the frames after the head. If numbered is false, the
// message is outside of the sequence.
func cutHead(message []byte) (s sender, numbered bool, frames []byte, err error) {
	line, frames, found := bytes.Cut(message, []byte{'\n'})
	rest, ok := bytes.CutPrefix(line, headWord)
	if !found || !ok {
		return s, false, nil, errHead
	}
	node, rest, _ := bytes.Cut(rest, []byte{' '})
	epoch, seq, _ := bytes.Cut(rest, []byte{' '})
	if s.node, err = unescape(string(node)); err != nil || checkNodeName(s.node) != nil {
		return s, false, nil, fmt.Errorf("head %.60q: its node is no name", line)
	}
	if s.epoch, err = strconv.ParseInt(string(epoch), 10, 64); err != nil || s.epoch <= 0 {
		return s, false, nil, fmt.Errorf("head %.60q: its epoch is no positive number", line)
	}
	if string(seq) == unnumbered {
		return s, false, frames, nil
	}
	if s.seq, err = strconv.ParseUint(string(seq), 10, 64); err != nil {
		return s, false, nil, fmt.Errorf("head %.60q: %w", line, err)
	}
	return s, true, frames, nil
}
