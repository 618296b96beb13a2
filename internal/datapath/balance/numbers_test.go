// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// TestNumbersReturnLate: one that came back is given away after all others.
func TestNumbersReturnLate(t *testing.T) {
	n := NewNumbers(1, 5, map[uint32]bool{2: true})
	for _, want := range []uint32{3, 4, 1} {
		if want == 1 {
			n.Return(2)
		}
		if got, err := n.Take(); err != nil || got != want {
			t.Fatalf("took %d (%v), want %d", got, err, want)
		}
	}
	if got, _ := n.Take(); got != 2 {
		t.Fatalf("took %d, want 2, which came back last", got)
	}
	if _, err := n.Take(); !errors.Is(err, ErrFull) || n.Used() != 4 || n.Max() != 4 {
		t.Errorf("with %d of %d used: %v", n.Used(), n.Max(), err)
	}
}

// TestRangesDoNotOverlap takes and returns ranges at random, starts again from what is taken
// now and then, and ends with all slots in one range.
func TestRangesDoNotOverlap(t *testing.T) {
	const slots = 1 << 12
	random := rand.New(rand.NewPCG(1, 2))
	r := NewRanges(slots, nil)
	owner := make([]int, slots)
	taken := map[int]Range{}
	for i := 1; i <= 20000; i++ {
		if got, err := r.Take(1 << random.IntN(8)); err == nil {
			taken[i] = got
			for s := got.Base; s < got.Base+got.Size; s++ {
				if owner[s] != 0 {
					t.Fatalf("slot %d of %+v is of %+v already", s, got, taken[owner[s]])
				}
				owner[s] = i
			}
		}
		for id, one := range taken {
			if random.IntN(3) > 0 {
				break
			}
			for s := one.Base; s < one.Base+one.Size; s++ {
				owner[s] = 0
			}
			delete(taken, id)
			r.Return(one)
		}
		if i%1000 == 0 {
			var all []Range
			for _, one := range taken {
				all = append(all, one)
			}
			used := r.Used()
			if r = NewRanges(slots, all); r.Used() != used {
				t.Fatalf("%d slots are used after a restart, %d were before", r.Used(), used)
			}
		}
	}
	for _, one := range taken {
		r.Return(one)
	}
	if got, err := r.Take(slots); err != nil {
		t.Errorf("all slots are free, but %v (%+v)", err, got)
	}
}
