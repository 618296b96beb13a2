// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

const bulk = 4 << 20 // bytes of a TCP transfer: many segments, so that offloads are in use

// TestPaths sends every kind of traffic over every kind of path.
func TestPaths(t *testing.T) {
	for _, c := range []struct {
		name string
		shape
		mtu int
	}{
		{"tunnel over IPv4", shape{}, uplinkMTU - 50},
		{"tunnel over IPv6", shape{over6: true}, uplinkMTU - 70},
		{"native", shape{routing: datapath.RoutingNative}, uplinkMTU},
		{"IPv4 only", shape{families: []string{"IPv4"}}, uplinkMTU - 50},
		{"IPv6 only", shape{over6: true, families: []string{"IPv6"}}, uplinkMTU - 70},
		{"IPv6 only, native", shape{over6: true, families: []string{"IPv6"}, routing: datapath.RoutingNative}, uplinkMTU},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newShapedWorld(t, 2, c.shape)
			one, two := w.nodes[0], w.nodes[1]
			a, b, far := one.addPod(), one.addPod(), two.addPod()
			for _, f := range families {
				if !c.has(f) {
					continue
				}
				for _, path := range []struct {
					name     string
					from, to space
					address  netip.Addr
					seen     netip.Addr
				}{
					{"same node", a.space, b.space, b.ip(f), a.ip(f)},
					{"across nodes", a.space, far.space, far.ip(f), a.ip(f)},
					{"host to own pod", one.space, a.space, a.ip(f), one.routerIP(f)},
					{"host to other node's pod", one.space, far.space, far.ip(f), one.routerIP(f)},
					{"pod to own host's router address", a.space, one.space, one.routerIP(f), a.ip(f)},
					{"pod to own host's address", a.space, one.space, one.uplinkIP(f), a.ip(f)},
					{"pod to other host's router address", a.space, two.space, two.routerIP(f), a.ip(f)},
					{"pod to other host's address", a.space, two.space, two.uplinkIP(f), one.uplinkIP(f)},
					{"pod to outside", a.space, w.outside, outsideIP(f), one.uplinkIP(f)},
				} {
					t.Run(f+"/"+path.name, func(t *testing.T) { checkPath(t, path.from, path.to, path.address, path.seen) })
				}
				t.Run(f+"/MTU", func(t *testing.T) { checkMTU(t, a, far, f, c.mtu) })
			}
		})
	}
}

// checkPath asks over TCP, UDP and ICMP, and sees whom the server takes the client for.
func checkPath(t *testing.T, from, to space, address, seen netip.Addr) {
	at := netip.AddrPortFrom(address, 7000)
	tcpServer(t, to, at)
	udpServer(t, to, at)
	got, err := tcpSend(from, at, bulk)
	if err != nil || got != seen {
		t.Errorf("TCP: the server saw %v (%v), want %v", got, err, seen)
	}
	for _, size := range []int{10, 8000} { // the latter in fragments
		got, err := udpAsk(from, at, size, false)
		if err != nil || got != seen {
			t.Errorf("UDP of %d bytes: the server saw %v (%v), want %v", size, got, err, seen)
		}
	}
	if err := udpSegments(from, at); err != nil {
		t.Errorf("UDP in segments: %v", err)
	}
	if err := ping(from, address); err != nil {
		t.Errorf("ICMP: %v", err)
	}
}

// TestNoSuchPod: who asks for an address of no pod is told at once, and the packet does
// not leave the node by its default route.
func TestNoSuchPod(t *testing.T) {
	w := newWorld(t, 2, false)
	one, two := w.nodes[0], w.nodes[1]
	a, c := one.addPod(), two.addPod()
	for _, unused := range []netip.Addr{addr("10.244.1.200"), addr("fd00:10:244:1::200")} {
		for name, from := range map[string]space{"pod of the node": a.space, "pod of another node": c.space} {
			_, err := tcpSend(from, netip.AddrPortFrom(unused, 7600), 1)
			if !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
				t.Errorf("%s to %s: got error %v, want unreachable", name, unused, err)
			}
		}
	}
}

// TestBypass: what pods exchange does not pass the host's stack.
func TestBypass(t *testing.T) {
	w := newWorld(t, 2, false)
	one, two := w.nodes[0], w.nodes[1]
	a, b, c := one.addPod(), one.addPod(), two.addPod()
	var local, across int
	for _, f := range families {
		for to, sum := range map[*pod]*int{b: &local, c: &across} {
			sent, err := pingCounted(a.space, to.ip(f), patience)
			must(t, err)
			*sum += sent
		}
	}
	for _, n := range w.nodes {
		for _, hook := range []string{"from_pod", "from_overlay"} {
			if got := count(t, n, hook, "stack") + count(t, n, hook, "via_stack"); got > 0 {
				t.Errorf("%s: %s gave the stack %d packets between pods", n.name, hook, got)
			}
		}
	}
	if got := count(t, one, "from_pod", "local"); got != uint64(2*local) { // echoes and replies on the node
		t.Errorf("%d packets went straight to a pod of the node, want %d", got, 2*local)
	}
	if got := count(t, one, "from_pod", "tunnel"); got != uint64(across) {
		t.Errorf("%d packets went into the tunnel, want %d", got, across)
	}
}

// checkMTU sends the largest datagram that must pass, and one byte more.
func checkMTU(t *testing.T, from, to *pod, family string, mtu int) {
	if from.ep.MTU != mtu || from.node.dp.MTU() != mtu {
		t.Fatalf("endpoint has MTU %d, datapath %d, want %d", from.ep.MTU, from.node.dp.MTU(), mtu)
	}
	at := netip.AddrPortFrom(to.ip(family), 7001)
	udpServer(t, to.space, at)
	headers := 28
	if family == "IPv6" {
		headers = 48
	}
	if _, err := udpAsk(from.space, at, mtu-headers, true); err != nil {
		t.Errorf("packet of %d bytes: %v", mtu, err)
	}
	if _, err := udpAsk(from.space, at, mtu-headers+1, true); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("packet of %d bytes: got %v, want %v", mtu+1, err, unix.EMSGSIZE)
	}
}
