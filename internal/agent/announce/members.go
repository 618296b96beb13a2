// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// remembered is how many questions to a peer may still be answered.
const remembered = deadAfter

// asker is a node that asked this one lately, and is told when it leaves.
type asker struct {
	at    netip.AddrPort
	nonce uint64
	key   []byte
	last  time.Time
}

// members speaks with the agents of other nodes.
type members struct {
	self string
	port uint16
	conn *net.UDPConn
	// heard gets what is authentic and in time: answers, farewells, and the first question of
	// a node that was silent.
	heard chan<- message

	mu      sync.Mutex
	keys    [][]byte // the one in use, then the one before it
	peers   map[string][]netip.Addr
	refuses []netip.Addr
	mute    bool
	nonces  map[string][]uint64 // of the last questions, the oldest first
	askers  map[string]asker
}

func listenMembers(ctx context.Context, self string, port uint16, heard chan<- message) (*members, error) {
	l, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, fmt.Errorf("agents cannot hear one another on UDP port %d of node %s (who else listens there?): %w", port, self, err)
	}
	return &members{
		self: self, port: port, conn: l.(*net.UDPConn), heard: heard,
		nonces: map[string][]uint64{}, askers: map[string]asker{},
	}, nil
}

// set says which nodes there are, what this one refuses, and the secret.
func (m *members) set(peers map[string][]netip.Addr, key []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.peers = peers
	if len(key) > 0 && (len(m.keys) == 0 || !bytes.Equal(m.keys[0], key)) {
		// Others may not have the new one yet, or still ask with the one before.
		m.keys = append([][]byte{bytes.Clone(key)}, m.keys...)
		m.keys = m.keys[:min(len(m.keys), 2)]
	}
	for name := range m.askers {
		if _, ok := peers[name]; !ok {
			delete(m.askers, name)
		}
	}
}

// setRefused says what this node cannot announce. With more than fits into a message it
// does not answer at all: others take all of its addresses.
func (m *members) setRefused(refuses []netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuses, m.mute = refuses, len(refuses) > maxRefused
}

// ask asks a peer whether it is there.
func (m *members) ask(name string) {
	var raw [8]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return
	}
	nonce := binary.BigEndian.Uint64(raw[:])
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.keys) == 0 {
		return
	}
	last := append(m.nonces[name], nonce)
	m.nonces[name] = last[max(0, len(last)-remembered):]
	out := message{kind: ask, nonce: nonce, from: m.self, to: name}.encode(m.keys[0])
	for _, a := range m.peers[name] {
		m.send(out, netip.AddrPortFrom(a, m.port))
	}
}

// forget drops what belongs to peers that are not watched any more.
func (m *members) forget(watch []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.nonces {
		if !slices.Contains(watch, name) {
			delete(m.nonces, name)
		}
	}
}

// send ignores errors: a message that is lost is as good as one that was not sent.
func (m *members) send(b []byte, to netip.AddrPort) {
	_, _ = m.conn.WriteToUDPAddrPort(b, to)
}

// leave tells those that asked lately that this node stops.
func (m *members) leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mute = true
	for name, a := range m.askers {
		if time.Since(a.last) < 10*interval {
			m.send(message{kind: leave, nonce: a.nonce, from: m.self, to: name}.encode(a.key), a.at)
		}
	}
}

// serve answers until the socket is closed.
func (m *members) serve() error {
	buf := make([]byte, maxMessage+1)
	for {
		n, from, err := m.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if isClosed(err) {
				return nil
			}
			return fmt.Errorf("agents cannot hear one another on UDP port %d of node %s: %w", m.port, m.self, err)
		}
		if in, ok := m.receive(buf[:n], from); ok {
			m.heard <- in
		}
	}
}

// receive answers a question, and returns what there is to note.
func (m *members) receive(b []byte, from netip.AddrPort) (message, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	in, key, err := decode(b, m.keys)
	if err != nil || in.to != m.self || m.peers[in.from] == nil {
		return message{}, false
	}
	switch in.kind {
	case ask:
		silent := time.Since(m.askers[in.from].last) > deadAfter*interval
		m.askers[in.from] = asker{at: from, nonce: in.nonce, key: key, last: time.Now()}
		if !m.mute {
			m.send(message{kind: here, nonce: in.nonce, from: m.self, to: in.from, refuses: m.refuses}.encode(key), from)
		}
		return in, silent && !m.mute
	case here, leave:
		// Only the answer to a question of ours counts: what was overheard before is
		// worth nothing.
		return in, slices.Contains(m.nonces[in.from], in.nonce)
	}
	return message{}, false
}
