// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestWhatCannotBeHeldIsNotClaimed has a node whose kernel has no IPv6.
func TestWhatCannotBeHeldIsNotClaimed(t *testing.T) {
	p := newPlace(Config{Log: slog.New(slog.DiscardHandler)}, make(chan struct{}, 1))
	p.segments["eth0"] = &segment{groups: -1, held: map[netip.Addr]bool{}}
	p.where[vip6] = []string{"eth0"}
	own, failed := p.hold([]Item{{Address: vip6}}, time.Now())
	if len(own) != 0 || !slices.Equal(failed, []netip.Addr{vip6}) {
		t.Errorf("announced %v, cannot announce %v", own, failed)
	}
}
