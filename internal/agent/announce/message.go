// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
)

// kind is what a message says.
type kind byte

const (
	ask   kind = 1 // are you there?
	here  kind = 2 // yes, with the question's nonce
	leave kind = 3 // no longer, with the nonce of the receiver's last question
)

// message goes from one agent to another in a UDP datagram: magic, kind, nonce, both names
// with their lengths, the number of refused addresses and those in 16 bytes each, and the
// HMAC-SHA256 (RFC 2104) of all of it.
type message struct {
	kind  kind
	nonce uint64
	from  string
	to    string
	// refuses are addresses that the sender cannot announce although it may; at most
	// maxRefused.
	refuses []netip.Addr
}

const (
	magic      = "FLA1"
	macSize    = sha256.Size
	maxName    = 253 // of a Kubernetes Node
	maxRefused = 32
	maxMessage = len(magic) + 1 + 8 + 2*(1+maxName) + 1 + 16*maxRefused + macSize
)

var (
	errMalformed = errors.New("the message is malformed")
	errForged    = errors.New("the message is not authentic")
)

func (m message) encode(key []byte) []byte {
	b := append(make([]byte, 0, maxMessage), magic...)
	b = append(b, byte(m.kind))
	b = binary.BigEndian.AppendUint64(b, m.nonce)
	for _, name := range []string{m.from, m.to} {
		b = append(append(b, byte(len(name))), name...)
	}
	b = append(b, byte(len(m.refuses)))
	for _, a := range m.refuses {
		raw := a.As16()
		b = append(b, raw[:]...)
	}
	return append(b, sign(b, key)...)
}

func sign(b, key []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(b)
	return h.Sum(nil)
}

// decode reads a message that was made with one of the keys, and returns which.
func decode(b []byte, keys [][]byte) (message, []byte, error) {
	if len(b) < len(magic)+macSize || len(b) > maxMessage || string(b[:len(magic)]) != magic {
		return message{}, nil, errMalformed
	}
	body, mac := b[:len(b)-macSize], b[len(b)-macSize:]
	for _, key := range keys {
		if hmac.Equal(sign(body, key), mac) {
			m, err := decodeBody(body[len(magic):])
			return m, key, err
		}
	}
	return message{}, nil, errForged
}

func decodeBody(b []byte) (m message, err error) {
	if len(b) < 1+8 {
		return m, errMalformed
	}
	m.kind, m.nonce, b = kind(b[0]), binary.BigEndian.Uint64(b[1:9]), b[9:]
	for _, name := range []*string{&m.from, &m.to} {
		if len(b) == 0 || len(b)-1 < int(b[0]) {
			return m, errMalformed
		}
		n := int(b[0])
		*name, b = string(b[1:1+n]), b[1+n:]
	}
	if len(b) == 0 || int(b[0]) > maxRefused || len(b)-1 != 16*int(b[0]) {
		return m, errMalformed
	}
	for b = b[1:]; len(b) > 0; b = b[16:] {
		m.refuses = append(m.refuses, netip.AddrFrom16([16]byte(b[:16])).Unmap())
	}
	return m, nil
}
