// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func backends(n int) []netip.AddrPort {
	out := make([]netip.AddrPort, n)
	for i := range out {
		out[i] = netip.MustParseAddrPort(fmt.Sprintf("10.244.%d.%d:8080", i/250, i%250+1))
	}
	return out
}

func TestSlots(t *testing.T) {
	for n, want := range map[int]int{0: 0, 1: 1, 2: 32, 10: 128, 12: 128, 13: 256, 6553: 65536, 6554: 65536, 100000: 65536} {
		if got := Slots(n); got != want {
			t.Errorf("%d backends have %d slots, want %d", n, got, want)
		}
	}
}

// TestShares: no backend has much more than its share, and none has nothing.
func TestShares(t *testing.T) {
	for _, n := range []int{2, 3, 10, 100, 1000} {
		counts := make([]int, n)
		table := Table(backends(n))
		for _, i := range table {
			counts[i]++
		}
		fair := float64(len(table)) / float64(n)
		if most, least := float64(slices.Max(counts)), float64(slices.Min(counts)); most > fair+1 || least < fair-1 {
			t.Errorf("%d backends: between %.0f and %.0f of %d slots, want %.1f each", n, least, most, len(table), fair)
		}
	}
}

// TestFewSlotsMove: when one of many backends goes, few slots of the others move.
func TestFewSlotsMove(t *testing.T) {
	for _, n := range []int{5, 20, 100, 1000} {
		all := backends(n)
		gone := n / 2
		rest := slices.Delete(slices.Clone(all), gone, gone+1)
		before, after := Table(all), Table(rest)
		if len(before) != len(after) {
			t.Fatalf("%d backends: the table's size changes: choose another number", n)
		}
		moved := 0
		for i := range before {
			if before[i] != gone && all[before[i]] != rest[after[i]] {
				moved++
			}
		}
		share := float64(moved) / float64(len(before))
		t.Logf("%d backends: %.1f %% of the slots moved beside those of the one that went", n, 100*share)
		if share > 0.25 {
			t.Errorf("%d backends: %.1f %% of the slots moved needlessly, at most 25 %% are wanted", n, 100*share)
		}
	}
}

// TestNodesAgree: the order in which a node came to know backends does not matter.
func TestNodesAgree(t *testing.T) {
	all := backends(50)
	other := slices.Clone(all)
	slices.Reverse(other)
	before, after := Table(all), Table(other)
	differ := 0
	for i := range before {
		if all[before[i]] != other[after[i]] {
			differ++
		}
	}
	if differ > 0 {
		t.Errorf("%d of %d slots differ between nodes that heard of backends in another order", differ, len(before))
	}
}
