// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

// limit is how long an address may be without a node after its own has died.
const limit = 3 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(memberEnv) != "" {
		os.Exit(runMember())
	}
	os.Exit(m.Run())
}

func families(t *testing.T, test func(t *testing.T, w *world, vip netip.Addr)) {
	for name, vip := range map[string]netip.Addr{"IPv4": vip4, "IPv6": vip6} {
		t.Run(name, func(t *testing.T) { test(t, newWorld(t, 3), vip) })
	}
}

// TestTheAddressMovesWhenItsNodeDies is what all of this is for: the node's process is
// killed, and nobody says so to anybody.
func TestTheAddressMovesWhenItsNodeDies(t *testing.T) {
	families(t, func(t *testing.T, w *world, vip netip.Addr) {
		w.startAll(vip)
		w.until(10*time.Second, "the first candidate answers", func() bool { return w.reach(vip) == "n0" })
		w.members[0].kill(syscall.SIGKILL)
		took := w.until(limit, "the next candidate answers", func() bool { return w.reach(vip) == "n1" })
		t.Logf("%s: after kill -9 the next node answered in %s", vip, took.Round(time.Millisecond))

		w.start(0, vip)
		w.until(limit, "the first candidate answers again", func() bool { return w.reach(vip) == "n0" })
		w.until(limit, "nobody else announces", func() bool { return w.announcing() == "n0" })

		w.members[0].kill(syscall.SIGKILL)
		w.members[1].kill(syscall.SIGKILL)
		took = w.until(limit, "the last candidate answers", func() bool { return w.reach(vip) == "n2" })
		t.Logf("%s: after two were killed at once the third answered in %s", vip, took.Round(time.Millisecond))
	})
}

// TestANodeThatStopsHandsOver needs no time to be taken for dead.
func TestANodeThatStopsHandsOver(t *testing.T) {
	families(t, func(t *testing.T, w *world, vip netip.Addr) {
		w.startAll(vip)
		w.until(10*time.Second, "the first candidate answers", func() bool { return w.reach(vip) == "n0" })
		w.members[0].kill(syscall.SIGKILL) // by the time that is noticed, all have asked one another
		w.until(limit, "the next candidate answers", func() bool { return w.reach(vip) == "n1" })
		w.members[1].kill(syscall.SIGTERM)
		took := w.until(time.Second, "the last candidate answers", func() bool { return w.reach(vip) == "n2" })
		t.Logf("%s: handed over in %s", vip, took.Round(time.Millisecond))
	})
}

// TestAfterAPartition lets the first candidate be cut off, alive, and come back: as long as
// the network is in pieces there is one in each, afterwards one.
func TestAfterAPartition(t *testing.T) {
	families(t, func(t *testing.T, w *world, vip netip.Addr) {
		w.startAll(vip)
		w.until(10*time.Second, "the first candidate announces", func() bool { return w.reach(vip) == "n0" && w.announcing() == "n0" })
		w.cut(0)
		w.until(limit, "one announces on each side", func() bool { return w.reach(vip) == "n1" && w.announcing() == "n0 n1" })
		w.heal(0)
		took := w.until(limit, "only the first announces", func() bool { return w.announcing() == "n0" })
		t.Logf("%s: one announcer %s after the network was whole", vip, took.Round(time.Millisecond))
		w.until(limit, "it is reached", func() bool { return w.reach(vip) == "n0" })
	})
}

// TestANodeThatCannotLeavesItToOthers has candidates without the device that the pool names.
func TestANodeThatCannotLeavesItToOthers(t *testing.T) {
	families(t, func(t *testing.T, w *world, vip netip.Addr) {
		w.rename(1, "lan")
		w.interfaces = []string{"lan"}
		w.startAll(vip)
		w.until(10*time.Second, "the one with the device answers", func() bool { return w.reach(vip) == "n1" && w.announcing() == "n1" })
	})
}
