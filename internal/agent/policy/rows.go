// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"slices"
)

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
