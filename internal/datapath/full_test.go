// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/datapath/load"
)

// mapPin is where a map of the node's is pinned.
func (n *node) mapPin(name string) string {
	return filepath.Join(load.PinsBelow(n.bpffs, bpf.LayoutVersion).Of(name), name)
}

// fill puts rows of nobody into a pinned map until the kernel takes no more.
func (n *node) fill(t *testing.T, name string, row func(i int) (key, value any)) {
	t.Helper()
	m, err := ebpf.LoadPinnedMap(n.mapPin(name), nil)
	must(t, err)
	defer m.Close()
	for i := range m.MaxEntries() + 1 {
		k, v := row(int(i))
		err := m.Put(k, v)
		if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) {
			return
		}
		must(t, err)
	}
	t.Fatalf("map %s is not full", name)
}

// nobody returns an address outside all ranges.
func nobody(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
}

func wantWords(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("got error %v, want one with %q", err, w)
		}
	}
}

// TestNoRoomForEndpoints: the pod that does not fit is refused whole; the others go on.
func TestNoRoomForEndpoints(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	a, b := n.addPod(), n.addPod()
	n.fill(t, "fl_endpoints", func(i int) (any, any) { return bpf.AddressOf(nobody(i)), bpf.Endpoint{} })
	s := newSpace(t)
	_, err := n.dp.AddEndpoint(context.Background(), n.podSpec(s, 9))
	wantWords(t, err, "node-1-container-9", "map fl_endpoints is full", "4096", "remove pods")
	if _, err := s.nl.LinkByName("eth0"); err == nil {
		t.Error("the refused pod has an interface")
	}
	for _, f := range families {
		must(t, ping(a.space, b.ip(f)))
	}
	must(t, n.dp.RemoveEndpoint(context.Background(), b.ep))
	must(t, ping(n.addPod().space, a.ip("IPv4"))) // into the room that b left
}

// TestNoRoomForPeers: the peers that do not fit are named; the others go on.
func TestNoRoomForPeers(t *testing.T) {
	w := newWorld(t, 3, false)
	one, two, three := w.nodes[0], w.nodes[1], w.nodes[2]
	a, c := one.addPod(), two.addPod()
	must(t, one.dp.SyncPeers(context.Background(), []datapath.Peer{two.asPeer()}))
	one.fill(t, "fl_ranges", func(i int) (any, any) {
		return bpf.RangeKeyOf(netip.PrefixFrom(nobody(i), 32)), bpf.Range{}
	})
	err := one.dp.SyncPeers(context.Background(), []datapath.Peer{two.asPeer(), three.asPeer()})
	wantWords(t, err, "map fl_ranges is full", "32768", "remove nodes", "peer node-3")
	if err != nil && strings.Contains(err.Error(), "peer node-2") {
		t.Errorf("got error %v, want none about node-2", err)
	}
	for _, f := range families {
		must(t, ping(a.space, c.ip(f)))
	}
}

// TestManyHalfOpenConnections: a pod that opens connections that nobody answers takes no
// row of an established one, and new ones work while the table is full.
func TestManyHalfOpenConnections(t *testing.T) {
	w := newWorld(t, 2, false)
	one, two := w.nodes[0], w.nodes[1]
	small := one.opts
	small.FlowEntries = datapath.MinFlowEntries
	one.restart(t, small, nil)
	a, attacker, far := one.addPod(), one.addPod(), two.addPod()
	victim := newEcho(t, a, far, "IPv4")
	// The first question left before the next hop was known, and has noted no way.
	victim.await(t)
	if victim.row(t, one) == 0 {
		t.Fatal("the victim's connection has no row")
	}
	// No two share a port pair; nobody listens, and the pod that they go to says nothing.
	silent := inbox(t, far.space, netip.AddrPortFrom(far.ip("IPv4"), 9999))
	for port := range uint16(8 * datapath.MinFlowEntries) {
		from := netip.AddrPortFrom(attacker.ip("IPv4"), 10000+port)
		sendRaw(t, attacker.space, far.ip("IPv4"), udpPacket(t, from, netip.MustParseAddrPort(silent.LocalAddr().String()), nil))
	}
	if got := flowEvent(t, one, "evicted_unanswered"); got < 7*datapath.MinFlowEntries/2 {
		t.Errorf("%d unanswered connections lost their rows, want thousands", got)
	}
	if victim.row(t, one) == 0 {
		t.Error("the victim's connection has lost its row")
	}
	victim.await(t)
	checkPath(t, a.space, far.space, far.ip("IPv4"), a.ip("IPv4"))
}

// TestTableFullOfEstablishedConnections: they keep their rows; who comes later goes without.
func TestTableFullOfEstablishedConnections(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	small := n.opts
	small.FlowEntries = datapath.MinFlowEntries
	n.restart(t, small, nil)
	a, b := n.addPod(), n.addPod()
	first := newEcho(t, a, b, "IPv4")
	for range 2 * datapath.MinFlowEntries {
		c, err := udpDial(a.space, netip.AddrPortFrom(b.ip("IPv4"), 7300), false)
		must(t, err)
		defer c.Close()
		echo{c}.await(t)
	}
	if got := flowEvent(t, n, "table_full"); got == 0 {
		t.Error("no connection found the table full")
	}
	if got := flowEvent(t, n, "evicted_unanswered") + flowEvent(t, n, "evicted_closed"); got > 0 {
		t.Errorf("%d connections lost their rows", got)
	}
	if first.row(t, n) == 0 {
		t.Error("the first connection has lost its row")
	}
	checkPath(t, a.space, b.space, b.ip("IPv4"), a.ip("IPv4"))
}

func flowEvent(t *testing.T, n *node, name string) uint64 {
	t.Helper()
	events, err := n.dp.FlowEvents()
	must(t, err)
	for _, e := range events {
		if e.Event == name {
			return e.Count
		}
	}
	t.Fatalf("no event %s", name)
	return 0
}

// row counts the rows of a node that the conversation has.
func (e echo) row(t *testing.T, n *node) (rows int) {
	t.Helper()
	m, err := ebpf.LoadPinnedMap(n.mapPin("fl_connections"), nil)
	must(t, err)
	defer m.Close()
	port := uint16(e.LocalAddr().(*net.UDPAddr).Port)
	wire := port<<8 | port>>8
	var k uint32
	var c bpf.Connection
	all := m.Iterate()
	for all.Next(&k, &c) {
		if c.Flow.Protocol == unix.IPPROTO_UDP && (c.Flow.A_port == wire || c.Flow.B_port == wire) {
			rows++
		}
	}
	must(t, all.Err())
	return rows
}
