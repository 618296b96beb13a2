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

// nets are the networks that a prefix is the range of, and those that it is an exception of.
type nets struct{ ranges, excepts []*set }

func (n *nets) empty() bool { return len(n.ranges)+len(n.excepts) == 0 }

// row is a prefix that has a class.
type row struct {
	peers []*set // peer sets that the address is in, sorted
	class *class // nil: class 0
	told  bool
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// touch returns the row of a prefix, which is made if there is none, and has it judged anew.
func (e *Engine) touch(p netip.Prefix) *row {
	r := e.rows[p]
	if r == nil {
		r = &row{}
		e.rows[p] = r
	}
	e.changes.rows[p] = true
	return r
}

// place gives the addresses of a set rows, as far as they have changed. A set that only
// rulesets name that no pod has any more stays as these have known it.
func (e *Engine) place(s *set) {
	switch {
	case s.active == 0:
		if s.peers != nil && !s.placed {
			s.peers.changed = map[netip.Addr]bool{} // all of it is placed, if ever
		}
	case s.peers == nil:
		if !s.placed {
			e.placeNetwork(s, true)
		}
		s.placed = true
	default:
		if !s.placed {
			for a := range s.peers.want {
				s.peers.changed[a] = true
			}
		}
		s.placed = true
		for a := range s.peers.changed {
			e.placePeer(s, a, s.peers.want[a] > 0)
		}
		s.peers.changed = map[netip.Addr]bool{}
	}
}

// displace takes the addresses of a set that nobody names out of rows.
func (e *Engine) displace(s *set) {
	if !s.placed {
		return
	}
	s.placed = false
	if s.peers == nil {
		e.placeNetwork(s, false)
		return
	}
	for _, from := range []map[netip.Addr]bool{s.peers.changed, keys(s.peers.want)} {
		for a := range from {
			e.placePeer(s, a, false)
		}
	}
	s.peers.changed = map[netip.Addr]bool{}
}

func keys(m map[netip.Addr]int) map[netip.Addr]bool {
	out := make(map[netip.Addr]bool, len(m))
	for a := range m {
		out[a] = true
	}
	return out
}

func (e *Engine) placePeer(s *set, a netip.Addr, in bool) {
	p := host(a)
	var has bool
	at := 0
	if r := e.rows[p]; r != nil {
		at, has = slices.BinarySearchFunc(r.peers, s, compareSets)
	}
	switch {
	case in && !has:
		r := e.touch(p)
		r.peers = slices.Insert(r.peers, at, s)
	case !in && has:
		r := e.touch(p)
		r.peers = slices.Delete(r.peers, at, at+1)
	}
}

// placeNetwork puts a network among those that rows are judged by, or takes it out.
func (e *Engine) placeNetwork(s *set, in bool) {
	change := func(p netip.Prefix, list func(*nets) *[]*set) {
		n := e.nets[p]
		if n == nil {
			n = &nets{}
			e.nets[p] = n
			e.lengths[family(p.Addr())][p.Bits()]++
		}
		if l := list(n); in {
			*l = append(*l, s)
		} else {
			*l = slices.DeleteFunc(*l, func(o *set) bool { return o == s })
		}
		if n.empty() {
			delete(e.nets, p)
			e.lengths[family(p.Addr())][p.Bits()]--
		}
		e.touch(p)
		e.changes.ranges[p] = true
	}
	change(s.network.cidr, func(n *nets) *[]*set { return &n.ranges })
	for _, x := range s.network.excepts {
		change(x, func(n *nets) *[]*set { return &n.excepts })
	}
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// around calls a function with each prefix of some lengths that a prefix is within.
func around(p netip.Prefix, lengths *[2][129]int, each func(netip.Prefix)) {
	list := &lengths[family(p.Addr())]
	for bits := 0; bits <= p.Bits(); bits++ {
		if list[bits] == 0 {
			continue
		}
		q, _ := p.Addr().Prefix(bits) // bits are of the address
		each(q)
	}
}

// membership are the sets that all addresses of a prefix are in, sorted. (A prefix is either
// within a network's range or exception, or no part of it that has no longer row is.)
func (e *Engine) membership(p netip.Prefix, peers []*set) []*set {
	var in, out []*set
	around(p, &e.lengths, func(q netip.Prefix) {
		if n := e.nets[q]; n != nil {
			in, out = append(in, n.ranges...), append(out, n.excepts...)
		}
	})
	if len(in) == 0 {
		return peers
	}
	all := slices.Clone(peers)
	for _, s := range in {
		if !slices.Contains(out, s) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, compareSets)
	return all
}

// touchRanges has the rows judged anew that are within a network that was put in or taken out.
func (e *Engine) touchRanges() {
	var lengths [2][129]int
	for p := range e.changes.ranges {
		lengths[family(p.Addr())][p.Bits()]++
	}
	for p := range e.rows {
		around(p, &lengths, func(q netip.Prefix) {
			if e.changes.ranges[q] {
				e.changes.rows[p] = true
			}
		})
	}
	clear(e.changes.ranges)
}
