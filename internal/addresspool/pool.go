// SPDX-License-Identifier: Apache-2.0

package addresspool

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// pool is a Pool while addresses are given away.
type pool struct {
	Pool
	ranges []Range
	// holes are parts of the ranges that are the cluster's own.
	holes []Range
	// frozen pools give nothing new; what they gave stays.
	frozen  bool
	problem *Problem
	waiting []string
	// next is where the search for a free address of a family goes on. Addresses are only
	// taken while a decision is made, so that nothing before it has become free.
	next map[bool]cursor
	used map[bool]int64 // by Is4
}

type cursor struct {
	place int
	addr  netip.Addr
}

// preparePools reads the pools and finds those that cannot be used as they are. Of two
// that overlap, the older one has the addresses (of equals, the first by name).
func preparePools(in []Pool, taken []Taken) []*pool {
	in = slices.Clone(in)
	slices.SortFunc(in, func(a, b Pool) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.Name, b.Name))
	})
	var out []*pool
	for _, p := range in {
		n := &pool{Pool: p, next: map[bool]cursor{}, used: map[bool]int64{}}
		n.parse()
		n.compare(out)
		n.exclude(taken)
		out = append(out, n)
	}
	return out
}

func (p *pool) parse() {
	for i, s := range p.Ranges {
		r, err := ParseRange(s)
		switch {
		case err != nil:
			p.freeze(v1alpha1.ReasonPoolInvalid, fmt.Sprintf("AddressPool %s: spec.addresses[%d]: %v", p.Name, i, err))
			continue
		case !r.usable():
			p.freeze(v1alpha1.ReasonPoolInvalid, fmt.Sprintf("AddressPool %s: spec.addresses[%d] %s has loopback, link-local or multicast "+
				"addresses: take addresses of the nodes' network", p.Name, i, r))
		}
		for _, o := range p.ranges {
			if r.overlaps(o) {
				p.freeze(v1alpha1.ReasonPoolInvalid, fmt.Sprintf("AddressPool %s: spec.addresses has %s twice, in %s and %s: remove one",
					p.Name, overlap(r, o), o, r))
			}
		}
		p.ranges = append(p.ranges, r)
	}
}

func (p *pool) compare(older []*pool) {
	for _, o := range older {
		for _, r := range p.ranges {
			for _, s := range o.ranges {
				if r.overlaps(s) {
					p.freeze(v1alpha1.ReasonPoolOverlaps, fmt.Sprintf("AddressPool %s: spec.addresses %s overlaps %s of the older AddressPool %s "+
						"in %s: change one of them", p.Name, r, s, o.Name, overlap(r, s)))
				}
			}
		}
	}
}

// exclude leaves out what the cluster uses itself; the rest of the pool is of use.
func (p *pool) exclude(taken []Taken) {
	for _, t := range taken {
		hole := prefixRange(t.Prefix)
		for _, r := range p.ranges {
			if !r.overlaps(hole) {
				continue
			}
			part := overlap(r, hole)
			p.holes = append(p.holes, part)
			if p.problem == nil {
				p.problem = &Problem{v1alpha1.ReasonPoolCollides, fmt.Sprintf("AddressPool %s: spec.addresses %s contains %s, %s, which is left "+
					"out: take it out of the pool", p.Name, r, part, t.Owner)}
			}
		}
	}
	slices.SortFunc(p.holes, func(a, b Range) int { return a.First.Compare(b.First) })
	p.holes = merge(p.holes)
}

func (p *pool) freeze(reason, message string) {
	p.frozen = true
	if p.problem == nil {
		p.problem = &Problem{reason, message}
	}
}

func overlap(a, b Range) Range {
	if a.First.Less(b.First) {
		a.First = b.First
	}
	if b.Last.Less(a.Last) {
		a.Last = b.Last
	}
	return a
}

// merge joins sorted ranges that overlap, so that each address is counted once.
func merge(in []Range) []Range {
	var out []Range
	for _, r := range in {
		if n := len(out); n > 0 && out[n-1].overlaps(r) {
			if out[n-1].Last.Less(r.Last) {
				out[n-1].Last = r.Last
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// has says whether an address is one that the pool may give.
func (p *pool) has(a netip.Addr) bool {
	return slices.ContainsFunc(p.ranges, func(r Range) bool { return r.Contains(a) }) && p.hole(a) == nil
}

// hole returns the part of the pool around an address that the cluster uses itself.
func (p *pool) hole(a netip.Addr) *Range {
	i, _ := slices.BinarySearchFunc(p.holes, a, func(r Range, a netip.Addr) int {
		switch {
		case r.Contains(a):
			return 0
		case r.Last.Less(a):
			return -1
		}
		return 1
	})
	if i < len(p.holes) && p.holes[i].Contains(a) {
		return &p.holes[i]
	}
	return nil
}

// selects says whether the pool serves a Service.
func (p *pool) selects(s *Service) bool {
	return (s.Pool == "" || s.Pool == p.Name) && (p.Selector == nil || p.Selector.Matches(s.Labels)) &&
		(len(p.Namespaces) == 0 || slices.Contains(p.Namespaces, s.Namespace))
}

// free returns the first address of a family that nobody holds.
func (p *pool) free(is4 bool, held map[netip.Addr]*holders) (netip.Addr, bool) {
	c := p.next[is4]
	for ; c.place < len(p.ranges); c = (cursor{place: c.place + 1}) {
		r := p.ranges[c.place]
		if r.First.Is4() != is4 {
			continue
		}
		if !c.addr.IsValid() {
			c.addr = r.First
		}
		for r.Contains(c.addr) {
			if h := p.hole(c.addr); h != nil {
				c.addr = h.Last.Next()
				continue
			}
			if held[c.addr] == nil {
				p.next[is4] = c
				return c.addr, true
			}
			c.addr = c.addr.Next()
		}
	}
	p.next[is4] = c
	return netip.Addr{}, false
}

// wait notes a Service that the pool had no address for.
func (p *pool) wait(s *Service) {
	if len(p.waiting) < 10 && !slices.Contains(p.waiting, s.Key()) {
		p.waiting = append(p.waiting, s.Key())
	}
}

func (p *pool) counts(is4 bool) Counts {
	total := new(big.Int)
	sum := func(ranges []Range, sign int64) {
		for _, r := range ranges {
			if r.First.Is4() == is4 {
				total.Add(total, new(big.Int).Mul(r.size(), big.NewInt(sign)))
			}
		}
	}
	sorted := slices.Clone(p.ranges)
	slices.SortFunc(sorted, func(a, b Range) int { return a.First.Compare(b.First) })
	sum(merge(sorted), 1)
	sum(p.holes, -1)
	free := new(big.Int).Sub(total, big.NewInt(p.used[is4]))
	if p.frozen {
		free.SetInt64(0)
	}
	return Counts{Total: fit(total), Assigned: p.used[is4], Free: fit(free)}
}

func fit(n *big.Int) int64 {
	if n.IsInt64() {
		return n.Int64()
	}
	return math.MaxInt64
}
