// SPDX-License-Identifier: Apache-2.0

package sctp

import (
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync"
)

// SCTPListener accepts associations at a port.
type SCTPListener struct {
	port  uint16
	raws  []*net.IPConn
	ready chan *SCTPConn
	ended chan struct{}
	once  sync.Once

	mu    sync.Mutex
	conns map[string]*SCTPConn // by peer and port
}

// ListenSCTP listens at an address.
func ListenSCTP(_ string, at *SCTPAddr) (*SCTPListener, error) {
	l := &SCTPListener{port: uint16(at.Port), ready: make(chan *SCTPConn, 64), ended: make(chan struct{}), conns: map[string]*SCTPConn{}}
	for _, family := range at.families() {
		raw, err := net.ListenIP(family, at.ip())
		if err != nil && strings.HasPrefix(family, "ip6") && at.ip() == nil {
			continue // A machine without IPv6.
		}
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l.raws = append(l.raws, raw)
	}
	for _, raw := range l.raws {
		go l.serve(raw)
	}
	return l, nil
}

func (l *SCTPListener) serve(raw *net.IPConn) {
	b := make([]byte, 65536)
	for {
		n, peer, err := raw.ReadFromIP(b)
		if err != nil {
			l.once.Do(func() { close(l.ended) })
			return
		}
		if p, err := decode(b[:n]); err == nil && p.to == l.port {
			l.handle(raw, peer, p)
		}
	}
}

// handle answers a packet. Nothing is kept of an INIT: the cookie has what is needed.
func (l *SCTPListener) handle(raw *net.IPConn, peer *net.IPAddr, p packet) {
	answer := &SCTPConn{local: l.port, remote: p.from, peer: peer, raw: raw, accepted: make(chan []byte, 16)}
	key := (&SCTPAddr{IPAddrs: []net.IPAddr{*peer}, Port: int(p.from)}).String()
	switch {
	case p.kind == chunkInit && len(p.value) >= 16:
		answer.tag = binary.BigEndian.Uint32(p.value)
		_ = answer.send(packet{kind: chunkInitAck, value: initiation(answer.tag, p.value[:4])}) // The client asks again.
	case p.kind == chunkCookieEcho && len(p.value) >= 4:
		answer.tag = binary.BigEndian.Uint32(p.value)
		_ = answer.send(packet{kind: chunkCookieAck}) // as above
		l.accept(key, answer)
	case p.kind == chunkData && len(p.value) >= 12:
		l.mu.Lock()
		defer l.mu.Unlock()
		if c := l.conns[key]; c != nil {
			select {
			case c.accepted <- append([]byte(nil), p.value[12:]...):
			default: // Nobody reads.
			}
		}
	case p.kind == chunkAbort:
		l.forget(key)
	}
}

// accept hands an association over, unless its cookie has come before.
func (l *SCTPListener) accept(key string, c *SCTPConn) {
	c.closed = func() { l.forget(key) }
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.conns[key]; old != nil && old.tag == c.tag {
		return
	}
	l.conns[key] = c
	select {
	case l.ready <- c:
	default: // Nobody accepts.
	}
}

func (l *SCTPListener) forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, key)
}

// AcceptSCTP waits for an association.
func (l *SCTPListener) AcceptSCTP() (*SCTPConn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

// Close ends the listener.
func (l *SCTPListener) Close() error {
	var errs []error
	for _, raw := range l.raws {
		errs = append(errs, raw.Close())
	}
	return errors.Join(errs...)
}
