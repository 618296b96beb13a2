// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-io/fairlead/internal/state"
)

// set is a peer set or a network.
type set struct {
	id      uint64
	key     string
	peers   *peers // nil: it is a network
	network network

	rulesets map[*ruleset]bool // that name it, with those that no pod has any more
	active   int               // how many of them some pod has
	classes  map[*class]bool   // that have it
	placed   bool              // its addresses have rows
}

// peers are the addresses of a peer set.
type peers struct {
	blocks map[uint32][]netip.Addr
	// want counts the blocks that have an address: while a set is split anew it may be in two.
	want map[netip.Addr]int
	// changed are addresses that may be in want and have no row, or the other way round.
	changed map[netip.Addr]bool
}

func compareSets(a, b *set) int { return cmp.Compare(a.id, b.id) }

// set returns the set of a key, which is made if there is none.
func (e *Engine) set(key string, n network) *set {
	if s := e.sets[key]; s != nil {
		return s
	}
	h := newHash(e.seed, 's')
	h.text(key)
	s := &set{id: h.sum(), key: strings.Clone(key), network: n, rulesets: map[*ruleset]bool{}, classes: map[*class]bool{}}
	if n.key == "" {
		s.peers = &peers{blocks: map[uint32][]netip.Addr{}, want: map[netip.Addr]int{}, changed: map[netip.Addr]bool{}}
	}
	e.sets[s.key] = s
	return s
}

// forget drops a set that nobody names, that no class has, and that has no addresses.
func (e *Engine) forget(s *set) {
	if len(s.rulesets)+len(s.classes) == 0 && !s.placed && (s.peers == nil || len(s.peers.blocks) == 0) {
		delete(e.sets, s.key)
	}
}

func (e *Engine) setBlock(m *state.PeerSet) error {
	list, err := blockAddresses(m)
	if err != nil {
		return fmt.Errorf("peer set %s, block %d: %w", m.GetSet(), m.GetBlock(), err)
	}
	s := e.set(peerKey(m.GetSet()), network{})
	e.replaceBlock(s, m.GetBlock(), list)
	return nil
}

func (e *Engine) removeBlock(name, block string) {
	n, err := strconv.ParseUint(block, 10, 32)
	s := e.sets[peerKey(name)]
	if err != nil || s == nil {
		return
	}
	e.replaceBlock(s, uint32(n), nil)
	e.forget(s)
}

// blockAddresses reads a block, and copies what it reads.
func blockAddresses(m *state.PeerSet) ([]netip.Addr, error) {
	if n := len(m.GetIpv4()); n%4 != 0 {
		return nil, fmt.Errorf("ipv4 has %d bytes, want a multiple of 4", n)
	}
	if n := len(m.GetIpv6()); n%16 != 0 {
		return nil, fmt.Errorf("ipv6 has %d bytes, want a multiple of 16", n)
	}
	out := make([]netip.Addr, 0, len(m.GetIpv4())/4+len(m.GetIpv6())/16)
	for b := m.GetIpv4(); len(b) > 0; b = b[4:] {
		out = append(out, netip.AddrFrom4([4]byte(b)))
	}
	for b := m.GetIpv6(); len(b) > 0; b = b[16:] {
		a := netip.AddrFrom16([16]byte(b))
		if a.Is4In6() {
			return nil, fmt.Errorf("ipv6 has %s, want an IPv4 address in ipv4", a)
		}
		out = append(out, a)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out), nil
}

// replaceBlock takes a block's addresses over; nil: there is no such block any more.
func (e *Engine) replaceBlock(s *set, block uint32, list []netip.Addr) {
	count := func(a netip.Addr, by int) {
		if s.peers.want[a] += by; s.peers.want[a] == 0 {
			delete(s.peers.want, a)
		}
		s.peers.changed[a] = true
	}
	old := s.peers.blocks[block]
	for i, j := 0, 0; i < len(old) || j < len(list); {
		switch c := compareNext(old[i:], list[j:]); {
		case c < 0:
			count(old[i], -1)
			i++
		case c > 0:
			count(list[j], 1)
			j++
		default:
			i, j = i+1, j+1
		}
	}
	if list == nil {
		delete(s.peers.blocks, block)
	} else {
		s.peers.blocks[block] = list
	}
	e.changes.sets[s] = true
}

// compareNext says which of two sorted lists has the lower address next.
func compareNext(a, b []netip.Addr) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return a[0].Compare(b[0])
}
