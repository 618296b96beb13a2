// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"errors"
	"math/bits"
	"slices"
)

// ErrFull is the error of a book that has no number, or no range, left.
var ErrFull = errors.New("full")

// Numbers gives away numbers below a bound, each to one owner at a time, those that came
// back longest ago first.
type Numbers struct {
	first, next, max uint32
	back             []uint32 // came back, oldest first
	used             int
}

// NewNumbers returns the numbers from first to max-1, but for those that are taken already.
func NewNumbers(first, max uint32, taken map[uint32]bool) *Numbers {
	n := &Numbers{first: first, next: first, max: max, used: len(taken)}
	for t := range taken {
		n.next = min(max, max32(n.next, t+1))
	}
	for i := first; i < n.next; i++ {
		if !taken[i] {
			n.back = append(n.back, i)
		}
	}
	return n
}

func max32(a, b uint32) uint32 {
	if a > b {
		return a
	}
	return b
}

// Take gives a number away, or returns ErrFull.
func (n *Numbers) Take() (uint32, error) {
	switch {
	case n.next < n.max: // the rest first: numbers return as late as possible
		n.next++
		n.used++
		return n.next - 1, nil
	case len(n.back) > 0:
		one := n.back[0]
		n.back = n.back[1:]
		n.used++
		return one, nil
	}
	return 0, ErrFull
}

// Return takes a number back.
func (n *Numbers) Return(one uint32) {
	n.back = append(n.back, one)
	n.used--
}

// Used is how many are given away, Max how many there are.
func (n *Numbers) Used() int { return n.used }

// Max is how many numbers there are.
func (n *Numbers) Max() int { return int(n.max - n.first) }

// Range is a run of slots: a power of two, at a multiple of its size.
type Range struct{ Base, Size uint32 }

// Ranges gives away ranges of slots (a buddy system: Knuth, The Art of Computer
// Programming, section 2.5), those that came back longest ago first.
type Ranges struct {
	max  uint32
	used uint32
	free [33][]uint32 // by the logarithm of the size; bases, oldest first
}

// NewRanges returns the ranges of max slots, a power of two, but for those that are taken
// already; one that overlaps another or is no range of a buddy system is not taken.
func NewRanges(max uint32, taken []Range) *Ranges {
	r := &Ranges{max: max}
	slices.SortFunc(taken, func(a, b Range) int { return int(int64(a.Base) - int64(b.Base)) })
	at := uint32(0)
	for _, t := range taken {
		if t.Size == 0 || t.Size&(t.Size-1) != 0 || t.Base%t.Size != 0 || t.Base < at || t.Base+t.Size > max {
			continue
		}
		r.fill(at, t.Base)
		at = t.Base + t.Size
		r.used += t.Size
	}
	r.fill(at, max)
	return r
}

// fill makes the slots from a to b free, in the largest ranges that there are.
func (r *Ranges) fill(a, b uint32) {
	for a < b {
		size := uint32(1) << min(bits.TrailingZeros32(a), 31)
		for size > b-a {
			size /= 2
		}
		order := bits.TrailingZeros32(size)
		r.free[order] = append(r.free[order], a)
		a += size
	}
}

// Take gives a range of a size away, a power of two, or returns ErrFull.
func (r *Ranges) Take(size uint32) (Range, error) {
	if got, ok := r.take(size); ok {
		return got, nil
	}
	r.merge()
	if got, ok := r.take(size); ok {
		return got, nil
	}
	return Range{}, ErrFull
}

func (r *Ranges) take(size uint32) (Range, bool) {
	want := bits.TrailingZeros32(size)
	order := want
	for order < len(r.free) && len(r.free[order]) == 0 {
		order++
	}
	if order == len(r.free) {
		return Range{}, false
	}
	base := r.free[order][0]
	r.free[order] = r.free[order][1:]
	for ; order > want; order-- {
		half := uint32(1) << (order - 1)
		r.free[order-1] = append(r.free[order-1], base+half)
	}
	r.used += size
	return Range{base, size}, true
}

// merge joins free neighbours.
func (r *Ranges) merge() {
	for order := 0; order < len(r.free)-1; order++ {
		size := uint32(1) << order
		slices.Sort(r.free[order])
		var keep []uint32
		for i := 0; i < len(r.free[order]); i++ {
			base := r.free[order][i]
			if base%(2*size) == 0 && i+1 < len(r.free[order]) && r.free[order][i+1] == base+size {
				r.free[order+1] = append(r.free[order+1], base)
				i++
				continue
			}
			keep = append(keep, base)
		}
		r.free[order] = keep
	}
}

// Return takes a range back.
func (r *Ranges) Return(one Range) {
	order := bits.TrailingZeros32(one.Size)
	r.free[order] = append(r.free[order], one.Base)
	r.used -= one.Size
}

// Used is how many slots are given away.
func (r *Ranges) Used() int { return int(r.used) }

// Max is how many slots there are.
func (r *Ranges) Max() int { return int(r.max) }
