// SPDX-License-Identifier: Apache-2.0

package sctp

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Types of chunks (RFC 9260, section 3.2).
const (
	chunkData       = 0
	chunkInit       = 1
	chunkInitAck    = 2
	chunkAbort      = 6
	chunkCookieEcho = 10
	chunkCookieAck  = 11
)

const (
	headerSize = 12 // ports, verification tag, checksum
	chunkSize  = 4  // type, flags, length
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// packet is a packet with one chunk, which is all that is ever sent here.
type packet struct {
	from, to uint16
	tag      uint32
	kind     byte
	value    []byte // of the chunk, without its head
}

var errNoPacket = errors.New("this is no SCTP packet with one chunk")

// encode makes the bytes that follow the IP header.
func (p packet) encode() []byte {
	length := chunkSize + len(p.value)
	b := make([]byte, headerSize+(length+3)/4*4)
	binary.BigEndian.PutUint16(b, p.from)
	binary.BigEndian.PutUint16(b[2:], p.to)
	binary.BigEndian.PutUint32(b[4:], p.tag)
	b[12], b[13] = p.kind, flags(p.kind)
	binary.BigEndian.PutUint16(b[14:], uint16(length))
	copy(b[16:], p.value)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, castagnoli))
	return b
}

// flags of DATA say that the chunk is a whole message.
func flags(kind byte) byte {
	if kind == chunkData {
		return 3
	}
	return 0
}

// decode reads the bytes that follow the IP header.
func decode(b []byte) (packet, error) {
	if len(b) < headerSize+chunkSize {
		return packet{}, errNoPacket
	}
	length := int(binary.BigEndian.Uint16(b[14:]))
	if length < chunkSize || headerSize+length > len(b) {
		return packet{}, errNoPacket
	}
	return packet{
		from: binary.BigEndian.Uint16(b), to: binary.BigEndian.Uint16(b[2:]), tag: binary.BigEndian.Uint32(b[4:]),
		kind: b[12], value: b[headerSize+chunkSize : headerSize+length],
	}, nil
}

// initiation is the value of INIT and INIT ACK: the tag that the other side has to use, and
// numbers of streams that are enough for anything.
func initiation(tag uint32, cookie []byte) []byte {
	v := make([]byte, 16)
	binary.BigEndian.PutUint32(v, tag)
	binary.BigEndian.PutUint32(v[4:], 1<<16) // window
	binary.BigEndian.PutUint16(v[8:], 1)     // streams out
	binary.BigEndian.PutUint16(v[10:], 1)    // and in
	binary.BigEndian.PutUint32(v[12:], 1)    // first sequence number
	if len(cookie) > 0 {
		v = binary.BigEndian.AppendUint16(v, 7) // parameter State Cookie
		v = binary.BigEndian.AppendUint16(v, uint16(4+len(cookie)))
		v = append(v, cookie...)
	}
	return v
}

// message is the value of DATA.
func message(text []byte) []byte {
	v := make([]byte, 12, 12+len(text))
	binary.BigEndian.PutUint32(v, 1)
	return append(v, text...)
}
