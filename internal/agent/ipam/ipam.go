// SPDX-License-Identifier: Apache-2.0

// Package ipam assigns pod addresses from the ranges of one node. It owns which
// address is in use by whom, in memory; what survives a restart is the endpoint
// records, from which the owner of a Pool claims the addresses again. It does no
// I/O.
package ipam

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
)

// ExhaustedError says that a range has no free address left.
type ExhaustedError struct {
	Prefix netip.Prefix
	Used   int
}

func (e *ExhaustedError) Error() string {
	return fmt.Sprintf("pod range %s is exhausted: all %d addresses are in use; delete pods of this node, or give the node "+
		"a larger range (kube-controller-manager --node-cidr-mask-size-ipv4/-ipv6) and lower the kubelet's maxPods", e.Prefix, e.Used)
}

// Pool assigns one address of each of a node's ranges to an owner. It is safe
// for concurrent use.
//
// Addresses are assigned in turn, so that one that was released is assigned
// again only when all others had theirs: peers and conntrack tables may still
// hold it. After a restart the turn goes on from a random address.
type Pool struct {
	mu     sync.Mutex
	ranges []*addressRange
	owners map[string][]netip.Addr
}

type addressRange struct {
	prefix netip.Prefix
	first  netip.Addr // the first assignable address
	last   netip.Addr // the last assignable one
	next   netip.Addr
	used   map[netip.Addr]string
}

// New makes a pool of the prefixes, at most one of each family. The network
// address, the first host address (the node's router address) and the IPv4
// broadcast address are never assigned.
func New(prefixes []netip.Prefix) (*Pool, error) {
	p := &Pool{owners: map[string][]netip.Addr{}}
	for i, prefix := range prefixes {
		prefix = prefix.Masked()
		if !prefix.IsValid() {
			return nil, fmt.Errorf("pod range %d is not a valid prefix", i)
		}
		hostBits := prefix.Addr().BitLen() - prefix.Bits()
		if hostBits < 2 {
			return nil, fmt.Errorf("pod range %s is too small: it has no address for a pod beside the router's; use /%d or larger",
				prefix, prefix.Addr().BitLen()-3)
		}
		r := &addressRange{
			prefix: prefix,
			first:  prefix.Addr().Next().Next(),
			last:   lastOf(prefix),
			used:   map[netip.Addr]string{},
		}
		if prefix.Addr().Is4() {
			r.last = r.last.Prev()
		}
		r.next = r.random()
		p.ranges = append(p.ranges, r)
	}
	return p, nil
}

// Allocate assigns one address of every range to owner, or none at all. It
// fails with ExhaustedError, and for an owner that has addresses already.
func (p *Pool) Allocate(owner string) ([]netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if have, ok := p.owners[owner]; ok {
		return nil, fmt.Errorf("%s has addresses already: %v", owner, have)
	}
	if len(p.ranges) == 0 {
		return nil, fmt.Errorf("no pod range is assigned to this node")
	}
	addrs := make([]netip.Addr, 0, len(p.ranges))
	for _, r := range p.ranges {
		a, ok := r.take(owner)
		if !ok {
			p.free(addrs)
			return nil, &ExhaustedError{Prefix: r.prefix, Used: len(r.used)}
		}
		addrs = append(addrs, a)
	}
	p.owners[owner] = addrs
	return slices.Clone(addrs), nil
}

// Claim notes addresses that owner has from before a restart. It fails, and
// notes none, when another owner has one of them; an address outside of every
// range (the node's range was changed) is noted for the owner alone.
func (p *Pool) Claim(owner string, addrs []netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range addrs {
		for _, r := range p.ranges {
			if by, taken := r.used[a]; taken && by != owner {
				return fmt.Errorf("address %s is in use by %s and cannot be claimed for %s", a, by, owner)
			}
		}
	}
	for _, a := range addrs {
		for _, r := range p.ranges {
			if r.prefix.Contains(a) {
				r.used[a] = owner
			}
		}
	}
	p.owners[owner] = slices.Clone(addrs)
	return nil
}

// Release frees the addresses of owner. An unknown owner is no error.
func (p *Pool) Release(owner string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free(p.owners[owner])
	delete(p.owners, owner)
}

// Usage says how many addresses of a range are in use, and how many it has.
type Usage struct {
	Prefix      netip.Prefix
	Used, Total float64
}

// Usage returns one entry a range, in the order of the prefixes given to New.
func (p *Pool) Usage() []Usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Usage, 0, len(p.ranges))
	for _, r := range p.ranges {
		out = append(out, Usage{Prefix: r.prefix, Used: float64(len(r.used)), Total: r.size()})
	}
	return out
}

func (p *Pool) free(addrs []netip.Addr) {
	for _, a := range addrs {
		for _, r := range p.ranges {
			delete(r.used, a)
		}
	}
}

// take assigns the next free address, in turn. The loop is bounded by the number
// of used addresses, not by the range: one of used+1 different ones is free.
func (r *addressRange) take(owner string) (netip.Addr, bool) {
	if float64(len(r.used)) >= r.size() {
		return netip.Addr{}, false
	}
	for range len(r.used) + 1 {
		a := r.next
		if r.next = a.Next(); a == r.last {
			r.next = r.first
		}
		if _, taken := r.used[a]; !taken {
			r.used[a] = owner
			return a, true
		}
	}
	return netip.Addr{}, false
}

// size is the number of assignable addresses; exact up to 2^53, which no node
// comes near.
func (r *addressRange) size() float64 {
	n := 1.0
	for range r.prefix.Addr().BitLen() - r.prefix.Bits() {
		n *= 2
	}
	if r.prefix.Addr().Is4() {
		return n - 3
	}
	return n - 2
}

// random returns an address among the first 2^16 assignable ones.
func (r *addressRange) random() netip.Addr {
	steps := rand.IntN(int(min(r.size(), 1<<16)))
	b := r.first.As16()
	for i := 15; i >= 0 && steps > 0; i-- {
		steps += int(b[i])
		b[i] = byte(steps)
		steps >>= 8
	}
	a := netip.AddrFrom16(b)
	if r.first.Is4() {
		a = a.Unmap()
	}
	return a
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
