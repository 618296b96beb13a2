// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// TestNarrowPath: where the network to a peer carries less than the uplink, pods are told
// so, and told the size that fits; the host's own route has it.
func TestNarrowPath(t *testing.T) {
	const narrow = 1400
	for _, c := range []struct {
		name string
		shape
		mtu int
	}{
		{"tunnel", shape{}, narrow - 50},
		{"tunnel over IPv6", shape{over6: true}, narrow - 70},
		{"native", shape{routing: datapath.RoutingNative}, narrow},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newShapedWorld(t, 2, c.shape)
			one, two := w.nodes[0], w.nodes[1]
			a, far := one.addPod(), two.addPod()
			for i, n := range w.nodes {
				must(t, w.outside.nl.LinkSetMTU(deviceOf(t, w.outside, []string{"port1", "port2"}[i]), narrow))
				peer := w.nodes[1-i].asPeer()
				peer.PathMTU = narrow
				must(t, n.dp.SyncPeers(context.Background(), []datapath.Peer{peer}))
			}
			for _, f := range families {
				t.Run(f, func(t *testing.T) {
					at := serveTCP(t, far, f)
					if _, err := tcpSend(a.space, at, bulk); err != nil {
						t.Errorf("TCP from the pod: %v", err)
					}
					if _, err := tcpSend(one.space, at, bulk); err != nil {
						t.Errorf("TCP from the host: %v", err)
					}
					checkTooLarge(t, a, far, f, c.mtu)
					routes, err := one.nl.RouteGet(net.IP(far.ip(f).AsSlice()))
					must(t, err)
					if len(routes) != 1 || routes[0].MTU != c.mtu {
						t.Errorf("the host's routes are %v, want one of MTU %d", routes, c.mtu)
					}
				})
			}
		})
	}
}

// checkTooLarge sends datagrams that fit the pod's route and not the path, until the pod
// knows what does.
func checkTooLarge(t *testing.T, from, to *pod, family string, mtu int) {
	t.Helper()
	headers := 28
	level, option := unix.IPPROTO_IP, unix.IP_MTU
	if family == "IPv6" {
		headers, level, option = 48, unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	c, err := udpDial(from.space, netip.AddrPortFrom(to.ip(family), 7401), true)
	must(t, err)
	defer c.Close()
	at := inbox(t, to.space, netip.AddrPortFrom(to.ip(family), 7401))
	for begin := time.Now(); ; {
		if _, err := c.Write(make([]byte, mtu-headers+1)); errors.Is(err, unix.EMSGSIZE) {
			break
		} else if time.Since(begin) > patience {
			t.Fatalf("packets of %d bytes: still sent after %v (%v)", mtu+1, patience, err)
		}
	}
	raw, err := c.SyscallConn()
	must(t, err)
	var got int
	var opt error
	must(t, raw.Control(func(fd uintptr) { got, opt = unix.GetsockoptInt(int(fd), level, option) }))
	if opt != nil || got != mtu {
		t.Errorf("the socket knows MTU %d (%v), want %d", got, opt, mtu)
	}
	if _, err := c.Write(make([]byte, mtu-headers)); err != nil {
		t.Fatalf("packet of %d bytes: %v", mtu, err)
	}
	if got, _ := next(t, at); len(got) != mtu-headers {
		t.Errorf("a datagram of %d bytes came, want %d", len(got), mtu-headers)
	}
}
