// SPDX-License-Identifier: Apache-2.0

package sctp

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

// again is how long an answer is waited for before something is sent again.
const again = 300 * time.Millisecond

// SCTPConn is one end of an association.
type SCTPConn struct {
	local, remote uint16 // ports
	peer          *net.IPAddr
	tag           uint32 // that the other side expects
	mine          uint32 // that this one does
	raw           *net.IPConn
	accepted      chan []byte // messages, of an accepted one; nil of a dialled one
	deadline      time.Time
	closed        func()
}

// DialSCTP makes an association. It goes on until it is answered or refused: its caller bounds it.
func DialSCTP(_ string, _, to *SCTPAddr) (*SCTPConn, error) {
	if to.ip() == nil {
		return nil, errors.New("sctp: an address to dial is missing")
	}
	raw, err := net.DialIP(to.families()[0], nil, to.ip())
	if err != nil {
		return nil, err
	}
	c := &SCTPConn{
		local: uint16(32768 + rand.IntN(28000)), remote: uint16(to.Port), peer: to.ip(),
		mine: rand.Uint32() | 1, raw: raw,
	}
	ack, err := c.ask(packet{kind: chunkInit, value: initiation(c.mine, nil)}, chunkInitAck)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	if len(ack.value) < 20 {
		return nil, errors.Join(errNoPacket, raw.Close())
	}
	c.tag = binary.BigEndian.Uint32(ack.value)
	if _, err := c.ask(packet{kind: chunkCookieEcho, value: ack.value[20:]}, chunkCookieAck); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return c, nil
}

// ask sends something until it is answered.
func (c *SCTPConn) ask(p packet, want byte) (packet, error) {
	for {
		if err := c.send(p); err != nil {
			return packet{}, err
		}
		answer, err := c.await(want, time.Now().Add(again))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return answer, err
		}
	}
}

func (c *SCTPConn) send(p packet) error {
	p.from, p.to, p.tag = c.local, c.remote, c.tag
	b := p.encode()
	var err error
	if c.accepted != nil {
		_, err = c.raw.WriteTo(b, c.peer)
	} else {
		_, err = c.raw.Write(b)
	}
	return err
}

// await reads until a packet of a kind comes for this association, which must be a dialled one.
func (c *SCTPConn) await(kind byte, until time.Time) (packet, error) {
	if err := c.raw.SetReadDeadline(until); err != nil {
		return packet{}, err
	}
	b := make([]byte, 65536)
	for {
		n, _, err := c.raw.ReadFrom(b) // Unlike Read, it leaves out the IP header.
		if err != nil {
			return packet{}, err
		}
		p, err := decode(b[:n])
		if err != nil || p.to != c.local || p.from != c.remote || p.tag != c.mine {
			continue
		}
		switch p.kind {
		case kind:
			return p, nil
		case chunkAbort:
			return packet{}, errors.New("sctp: the association was refused")
		}
	}
}

// Write sends a message.
func (c *SCTPConn) Write(b []byte) (int, error) {
	return len(b), c.send(packet{kind: chunkData, value: message(b)})
}

// Read waits for a message.
func (c *SCTPConn) Read(b []byte) (int, error) {
	if c.accepted == nil {
		p, err := c.await(chunkData, c.deadline)
		if err != nil || len(p.value) < 12 {
			return 0, errors.Join(err, short(p))
		}
		return copy(b, p.value[12:]), nil
	}
	var timeout <-chan time.Time
	if !c.deadline.IsZero() {
		timeout = time.After(time.Until(c.deadline))
	}
	select {
	case text := <-c.accepted:
		return copy(b, text), nil
	case <-timeout:
		return 0, os.ErrDeadlineExceeded
	}
}

func short(p packet) error {
	if len(p.value) < 12 {
		return errNoPacket
	}
	return nil
}

// SetReadDeadline bounds Read.
func (c *SCTPConn) SetReadDeadline(t time.Time) error {
	c.deadline = t
	return nil
}

// SCTPRemoteAddr is the other end.
func (c *SCTPConn) SCTPRemoteAddr(int) (*SCTPAddr, error) {
	return &SCTPAddr{IPAddrs: []net.IPAddr{*c.peer}, Port: int(c.remote)}, nil
}

// Close ends the association on both sides.
func (c *SCTPConn) Close() error {
	if c.accepted != nil {
		c.closed()
		return nil // The client, which has its answer, ends it.
	}
	return errors.Join(c.send(packet{kind: chunkAbort}), c.raw.Close())
}
