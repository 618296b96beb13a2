// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// look is what an agent does when it notices that its machine has changed.
func (n *node) look(t *testing.T) {
	t.Helper()
	must(t, n.dp.Reconfigure(context.Background(), n.spec))
	n.syncPeers(t)
}

func (n *node) link(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := n.nl.LinkByName(name)
	must(t, err)
	return l
}

// onEachRouting runs a story with each routing.
func onEachRouting(t *testing.T, story func(*testing.T, party)) {
	t.Helper()
	for _, routing := range routings {
		t.Run(string(routing), func(t *testing.T) { story(t, newParty(t, shape{routing: routing})) })
	}
}

// TestNodeGetsAnotherMAC: a node's device is exchanged, or its address moves to another
// machine, and it says so to its network. No agent is needed for pods to follow.
func TestNodeGetsAnotherMAC(t *testing.T) {
	onEachRouting(t, func(t *testing.T, p party) {
		for _, name := range []string{"net/ipv4/conf/eth0/arp_notify", "net/ipv6/conf/eth0/ndisc_notify"} {
			must(t, p.two.Do(func() error { return os.WriteFile("/proc/sys/"+name, []byte("1"), 0o644) }))
		}
		conns := map[string]net.Conn{}
		for i, f := range families {
			at := netip.AddrPortFrom(p.far.ip(f), uint16(7520+i))
			conns[f] = openMany(t, p.a.space, p.far.space, at, 1)[0]
		}
		must(t, p.two.nl.LinkSetHardwareAddr(p.two.link(t, "eth0"), net.HardwareAddr{2, 0, 0, 0, 0x77, 2}))
		begin := time.Now()
		for f, c := range conns {
			must(t, c.SetDeadline(begin.Add(patience)))
			if err := exchange(c); err != nil {
				t.Errorf("%s: an open connection broke: %v", f, err)
			}
		}
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("it took %v until packets arrived again", took)
		}
		p.checkAll(t)
	})
}

// TestNodeMoves: a node comes back with another address and another range of pods. The
// others are told, as is the node itself.
func TestNodeMoves(t *testing.T) {
	onEachRouting(t, func(t *testing.T, p party) {
		must(t, p.two.dp.RemoveEndpoint(context.Background(), p.far.ep))
		eth0 := p.two.link(t, "eth0")
		for _, change := range [][2]string{{"192.168.100.2/24", "192.168.100.22/24"}, {"fd64::2/64", "fd64::22/64"}} {
			former, err := netlink.ParseAddr(change[0])
			must(t, err)
			must(t, p.two.nl.AddrDel(eth0, former))
			up(t, p.two.space, "eth0", change[1])
		}
		p.two.restoreDefaults(t, "eth0")
		p.two.spec.Addresses = []netip.Addr{addr("192.168.100.22"), addr("fd64::22")}
		p.two.spec.PodCIDRs = []netip.Prefix{prefix("10.244.22.0/24"), prefix("fd00:10:244:22::/64")}
		p.two.look(t)
		p.one.look(t)
		moved := p.two.addPod()
		for _, f := range families {
			checkPath(t, p.a.space, moved.space, moved.ip(f), p.a.ip(f))
			checkPath(t, moved.space, p.a.space, p.a.ip(f), moved.ip(f))
			checkPath(t, p.one.space, moved.space, moved.ip(f), p.one.routerIP(f))
			checkPath(t, moved.space, p.outside, outsideIP(f), pick(p.two.spec.Addresses, f))
			former := netip.AddrPortFrom(p.far.ip(f), 7530)
			if _, err := tcpSend(p.a.space, former, 1); err == nil {
				t.Errorf("somebody answers at %s, where nobody is any more", former)
			}
		}
	})
}

// restoreDefaults gives a node its routes to the outside back, as whoever manages its
// network would.
func (n *node) restoreDefaults(t *testing.T, device string) {
	t.Helper()
	for _, gw := range []string{outside4, outside6} {
		must(t, n.nl.RouteReplace(defaultVia(t, n.space, device, gw)))
	}
}

// TestUplinkFlaps takes the uplink down, and up again under the same name or another.
func TestUplinkFlaps(t *testing.T) {
	for _, name := range []string{"eth0", "lan0"} {
		t.Run("and is then called "+name, func(t *testing.T) {
			onEachRouting(t, func(t *testing.T, p party) {
				eth0 := p.one.link(t, "eth0")
				must(t, p.one.nl.LinkSetDown(eth0))
				if name != "eth0" {
					must(t, p.one.nl.LinkSetName(eth0, name))
				}
				must(t, ping(p.a.space, p.b.ip("IPv4"))) // pods of the node need no uplink
				up(t, p.one.space, name, "fd64::1/64")   // which went when it was down
				p.one.restoreDefaults(t, name)
				p.one.look(t)
				p.checkAll(t)
			})
		})
	}
}

// TestSecondDefaultRoute: a better way to the outside appears by another device. Traffic
// to the outside follows it, that between nodes stays where the nodes' addresses are.
func TestSecondDefaultRoute(t *testing.T) {
	onEachRouting(t, func(t *testing.T, p party) {
		elsewhere := newSpace(t)
		veth := netlink.NewVeth(netlink.LinkAttrs{Name: "eth1"})
		veth.PeerName, veth.PeerNamespace = "there", netlink.NsFd(elsewhere.FD())
		must(t, p.one.nl.LinkAdd(veth))
		up(t, p.one.space, "eth1", "198.51.100.1/24", "2001:db8:1::1/64")
		up(t, elsewhere, "there", "198.51.100.254/24", "2001:db8:1::fe/64")
		up(t, elsewhere, "lo", "203.0.113.9/32", "2001:db8:9::9/128") // reached by default routes only
		for _, gw := range []string{outside4, outside6} {
			former := defaultVia(t, p.one.space, "eth0", gw)
			must(t, p.one.nl.RouteDel(former))
			former.Priority = 2000
			must(t, p.one.nl.RouteAdd(former))
		}
		for _, gw := range []string{"198.51.100.254", "2001:db8:1::fe"} {
			better := defaultVia(t, p.one.space, "eth1", gw)
			better.Priority = 100
			must(t, p.one.nl.RouteAdd(better))
		}
		p.checkAll(t)
		p.one.look(t)
		p.checkAll(t)
		for _, c := range []struct{ to, seen string }{{"203.0.113.9", "198.51.100.1"}, {"2001:db8:9::9", "2001:db8:1::1"}} {
			checkPath(t, p.a.space, elsewhere, addr(c.to), addr(c.seen))
		}
	})
}

// TestUplinkGetsASmallerMTU: pods that are there send what fits from then on.
func TestUplinkGetsASmallerMTU(t *testing.T) {
	const less = 1400
	onEachRouting(t, func(t *testing.T, p party) {
		for _, n := range p.nodes {
			must(t, n.nl.LinkSetMTU(n.link(t, "eth0"), less))
			n.look(t)
		}
		mtu := less
		if p.one.opts.Routing == datapath.RoutingTunnel {
			mtu -= 50
		}
		if got := p.one.dp.MTU(); got != mtu {
			t.Errorf("the datapath has MTU %d, want %d", got, mtu)
		}
		for _, f := range families {
			at := netip.AddrPortFrom(p.far.ip(f), 7540)
			udpServer(t, p.far.space, at)
			if _, err := udpAsk(p.a.space, at, mtu-headersOf(f), true); err != nil {
				t.Errorf("packet of %d bytes: %v", mtu, err)
			}
			if _, err := udpAsk(p.a.space, at, mtu-headersOf(f)+1, true); !errors.Is(err, unix.EMSGSIZE) {
				t.Errorf("packet of %d bytes: got %v, want %v", mtu+1, err, unix.EMSGSIZE)
			}
		}
		if got := p.one.link(t, p.a.ep.HostIf).Attrs().MTU; got != less {
			t.Errorf("the pod's device has MTU %d, want %d", got, less)
		}
		p.checkAll(t)
	})
}

// headersOf returns the bytes of the IP and UDP headers.
func headersOf(family string) int {
	if family == "IPv6" {
		return 48
	}
	return 28
}
