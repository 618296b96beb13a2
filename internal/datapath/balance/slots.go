// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

const (
	// slotsPerBackend is how many slots a backend has at least, unless it is the only
	// one: with ten the busiest backend has about a fifth more than its share.
	slotsPerBackend = 10
	// MaxSlots bounds the slots of a pool; with more backends than it has slots, some get no client.
	MaxSlots = 1 << 16
)

// Slots is how many slots a pool of n backends has: a power of two, 0 for none.
func Slots(n int) int {
	if n <= 1 {
		return n
	}
	return min(1<<bits.Len(uint(slotsPerBackend*n-1)), MaxSlots)
}

// Table returns for each slot the index of its backend. It depends on the backends alone,
// not on their order, so that nodes agree, and most slots keep their backend when others
// come or go (Maglev, Eisenbud et al., NSDI 2016, section 3.4; the number of slots is a power
// of two here and the steps are odd, so that each backend's sequence visits every slot).
func Table(backends []netip.AddrPort) []int {
	size := Slots(len(backends))
	table := make([]int, size)
	if size <= 1 {
		return table
	}
	order := make([]int, len(backends)) // in which they take their turns
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return backends[i].Compare(backends[j]) })
	mask := uint64(size - 1)
	next, step := make([]uint64, len(backends)), make([]uint64, len(backends))
	for i, b := range backends {
		h := hash(b)
		next[i], step[i] = h&mask, (h>>32)|1
	}
	for i := range table {
		table[i] = -1
	}
	for filled := range size {
		i := order[filled%len(order)]
		for table[next[i]&mask] >= 0 {
			next[i] += step[i]
		}
		table[next[i]&mask] = i
	}
	return table
}

// hash mixes an address and port (SplitMix64 over its words).
func hash(b netip.AddrPort) uint64 {
	a := b.Addr().As16()
	h := mix(binary.BigEndian.Uint64(a[:8]))
	h = mix(h ^ binary.BigEndian.Uint64(a[8:]))
	return mix(h ^ uint64(b.Port()))
}

func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
