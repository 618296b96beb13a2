// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"net"
	"net/netip"
	"testing"
)

// talker is node b, which watches node a, without the network: what arrives is given to it.
func talker(t *testing.T, key []byte) *members {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	m := &members{self: "b", port: Port, conn: conn, nonces: map[string][]uint64{}, askers: map[string]asker{}}
	m.set(map[string][]netip.Addr{"a": {}}, key)
	return m
}

func TestWhatCountsAsAnAnswer(t *testing.T) {
	self := netip.MustParseAddrPort("127.0.0.1:9")
	for _, c := range []struct {
		name  string
		reply func(nonce uint64) []byte
		want  bool
	}{
		{"to the last question", func(n uint64) []byte { return message{kind: here, nonce: n, from: "a", to: "b"}.encode(key1) }, true},
		{"a farewell", func(n uint64) []byte { return message{kind: leave, nonce: n, from: "a", to: "b"}.encode(key1) }, true},
		{"overheard before", func(n uint64) []byte { return message{kind: here, nonce: n + 1, from: "a", to: "b"}.encode(key1) }, false},
		{"a farewell without a question", func(uint64) []byte { return message{kind: leave, from: "a", to: "b"}.encode(key1) }, false},
		{"with another secret", func(n uint64) []byte { return message{kind: here, nonce: n, from: "a", to: "b"}.encode(key2) }, false},
		{"for another node", func(n uint64) []byte { return message{kind: here, nonce: n, from: "a", to: "c"}.encode(key1) }, false},
		{"of a node that is none", func(n uint64) []byte { return message{kind: here, nonce: n, from: "x", to: "b"}.encode(key1) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := talker(t, key1)
			m.ask("a")
			if _, ok := m.receive(c.reply(m.nonces["a"][0]), self); ok != c.want {
				t.Errorf("it counts: %v", ok)
			}
		})
	}
}

func TestALateAnswerCountsForATime(t *testing.T) {
	m := talker(t, key1)
	m.ask("a")
	late := message{kind: here, nonce: m.nonces["a"][0], from: "a", to: "b"}.encode(key1)
	for range remembered - 1 {
		m.ask("a")
	}
	if _, ok := m.receive(late, netip.AddrPort{}); !ok {
		t.Error("an answer that is late does not count")
	}
	m.ask("a")
	if _, ok := m.receive(late, netip.AddrPort{}); ok {
		t.Error("an answer counts for ever")
	}
}

// TestTheSecretChanges lets node a ask with the former secret after b has the new one.
func TestTheSecretChanges(t *testing.T) {
	m := talker(t, key1)
	m.set(m.peers, key2)
	asker, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer asker.Close()
	m.receive(message{kind: ask, nonce: 5, from: "a", to: "b"}.encode(key1), asker.LocalAddr().(*net.UDPAddr).AddrPort())
	buf := make([]byte, maxMessage)
	n, err := asker.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := decode(buf[:n], [][]byte{key1}); err != nil || got.kind != here || got.nonce != 5 {
		t.Errorf("who has the former secret is answered %+v, %v", got, err)
	}
}
