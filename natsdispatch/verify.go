package natsdispatch

import (
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// A Sign returns the signature of a message. It is called concurrently.
type Sign func(message []byte) (signature []byte, err error)

// A Verify returns nil if the signature of the message is that of the node. The signature of a
// message that is not signed is empty. A Verify is called concurrently.
type Verify func(node string, message, signature []byte) error

// SignNKey signs with the key pair of the node. The pair must contain the seed.
func SignNKey(pair nkeys.KeyPair) Sign { return pair.Sign }

// VerifyNKey verifies the signatures of [SignNKey]. keyOf returns the public key of a node, and
// whether the key is known. keyOf is called concurrently.
func VerifyNKey(keyOf func(node string) (publicKey string, ok bool)) Verify {
	return func(node string, message, signature []byte) error {
		key, ok := keyOf(node)
		if !ok {
			return fmt.Errorf("%w: there is no key of %q", ErrUnverified, node)
		}
		pair, err := nkeys.FromPublicKey(key)
		if err != nil {
			return fmt.Errorf("%w: the key of %q: %w", ErrUnverified, node, err)
		}
		if err := pair.Verify(message, signature); err != nil {
			return fmt.Errorf("%w: %q: %w", ErrUnverified, node, err)
		}
		return nil
	}
}

// signed returns what the signature of a message covers, unless the message is of a reply of version 2.
func (s subjects) signed(call, node string, epoch int64, seq uint64, body []byte) []byte {
	b := make([]byte, 0, len(body)+len(call)+len(node)+96)
	b = append(b, "dispatch-v1 "...)
	b = append(append(b, s.String()...), '\n')
	b = append(append(b, call...), '\n')
	b = append(appendEscaped(b, node), '\n')
	b = append(strconv.AppendInt(b, epoch, 10), '\n')
	b = append(strconv.AppendUint(b, seq, 10), '\n')
	return append(b, body...)
}

// signedReply returns what the signature of a message of a reply of version 2 covers. The body contains the
// name and the boot id of the node, and the number of the message.
func (s subjects) signedReply(call string, body []byte) []byte {
	b := make([]byte, 0, len(body)+len(call)+64)
	b = append(b, "dispatch-v2 "...)
	b = append(append(b, s.String()...), '\n')
	b = append(append(b, call...), '\n')
	return append(b, body...)
}

// signedBy returns what the signature of a message of a reply covers, in either version.
func (s subjects) signedBy(call string, from sender, body []byte) []byte {
	if from.version == version2 {
		return s.signedReply(call, body)
	}
	return s.signed(call, from.node, from.epoch, from.seq, body)
}

// presenceCall returns what the signature of an announcement covers instead of the id of a call.
func presenceCall(topic string) string { return "presence." + topic }

func (n *Node) setSignature(h nats.Header, message []byte) (err error) {
	var signature []byte
	if unwound := apart(func() { signature, err = n.sign(message) }); unwound != nil {
		n.news.unwound("the func of WithSign", unwound)
		err = unwound
	}
	if err != nil {
		return fmt.Errorf("natsdispatch: sign: %w", err)
	}
	h[headerSignature] = []string{base64.RawURLEncoding.EncodeToString(signature)}
	return nil
}

func (r *Remote) verifySignature(h nats.Header, node string, message []byte) error {
	signature, err := base64.RawURLEncoding.DecodeString(h.Get(headerSignature))
	if err != nil {
		return fmt.Errorf("%w: %q: %w", ErrUnverified, node, err)
	}
	if unwound := apart(func() { err = r.verify(node, message, signature) }); unwound != nil {
		r.news.unwound("the func of WithVerify", unwound)
		err = unwound
	}
	return err
}
