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

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// underlays are the ways between nodes that faults are tried on.
var underlays = []struct {
	name string
	shape
}{
	{"tunnel", shape{}},
	{"tunnel over IPv6", shape{over6: true}},
	{"native", shape{routing: datapath.RoutingNative}},
}

// echo is a UDP conversation of two pods that goes on: the same socket all the time.
type echo struct{ *net.UDPConn }

func newEcho(t *testing.T, from, to *pod, family string) echo {
	t.Helper()
	at := netip.AddrPortFrom(to.ip(family), 7300)
	udpServer(t, to.space, at)
	c, err := udpDial(from.space, at, false)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	e := echo{c}
	// The first answer may take until the uplink's link-local address is no longer tentative,
	// and leaves no way noted where the next hop was not known yet.
	for range 3 {
		e.await(t)
	}
	return e
}

// await asks until an answer comes, and returns how long that took.
func (e echo) await(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	for time.Since(begin) < 2*patience {
		e.Write([]byte("still there?")) // an error is that of a moment
		e.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := e.Read(make([]byte, 100)); err == nil {
			return time.Since(begin)
		}
	}
	t.Fatalf("no answer within %v", 2*patience)
	return 0
}

// drain takes answers that were on their way, so that the next is to a new question.
func (e echo) drain() {
	e.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	for {
		if _, err := e.Read(make([]byte, 100)); err != nil {
			return
		}
	}
}

func deviceOf(t *testing.T, s space, name string) netlink.Link {
	t.Helper()
	l, err := s.nl.LinkByName(name)
	must(t, err)
	return l
}

// TestNeighbourChangesItsMAC: connections find the other node again, without the agent,
// as soon as the kernel knows of its new address.
func TestNeighbourChangesItsMAC(t *testing.T) {
	for _, c := range underlays {
		t.Run(c.name, func(t *testing.T) {
			w := newShapedWorld(t, 2, c.shape)
			one, two := w.nodes[0], w.nodes[1]
			a, far := one.addPod(), two.addPod()
			var talks []echo
			for _, f := range families {
				talks = append(talks, newEcho(t, a, far, f))
			}
			// As a machine that takes over an address does, this one tells its neighbours.
			must(t, two.Do(func() error {
				return errors.Join(os.WriteFile("/proc/sys/net/ipv4/conf/eth0/arp_notify", []byte("1"), 0o644),
					os.WriteFile("/proc/sys/net/ipv6/conf/eth0/ndisc_notify", []byte("1"), 0o644))
			}))
			eth0 := deviceOf(t, two.space, "eth0")
			former := eth0.Attrs().HardwareAddr
			must(t, two.nl.LinkSetHardwareAddr(eth0, net.HardwareAddr{2, 0xfa, 0x11, 0, 0, 0x77}))
			if former.String() == deviceOf(t, two.space, "eth0").Attrs().HardwareAddr.String() {
				t.Fatal("the MAC address did not change")
			}
			for i, e := range talks {
				e.drain()
				if took := e.await(t); took > 4*time.Second {
					t.Errorf("%s: silent for %v", families[i], took)
				} else {
					t.Logf("%s: silent for %v", families[i], took)
				}
			}
		})
	}
}

// TestNodeChangesItsAddress: its peers hear of it by SyncPeers, itself by Reconfigure.
func TestNodeChangesItsAddress(t *testing.T) {
	for _, c := range underlays {
		t.Run(c.name, func(t *testing.T) {
			w := newShapedWorld(t, 2, c.shape)
			one, two := w.nodes[0], w.nodes[1]
			a, far := one.addPod(), two.addPod()
			var talks []echo
			for _, f := range families {
				talks = append(talks, newEcho(t, a, far, f))
			}
			eth0 := deviceOf(t, two.space, "eth0")
			for i, pair := range [][2]string{{"192.168.100.2/24", "192.168.100.22/24"}, {"fd64::2/64", "fd64::22/64"}} {
				former, err := netlink.ParseAddr(pair[0])
				must(t, err)
				must(t, two.nl.AddrDel(eth0, former))
				up(t, two.space, "eth0", pair[1])
				must(t, two.nl.RouteReplace(defaultVia(t, two.space, "eth0", []string{outside4, outside6}[i])))
			}
			changed := []netip.Addr{addr("192.168.100.22"), addr("fd64::22")}
			two.spec.Addresses = changed[len(changed)-len(two.spec.Addresses):]
			must(t, two.dp.Reconfigure(context.Background(), two.spec))
			one.syncPeers(t)
			for i, e := range talks {
				e.drain()
				if took := e.await(t); took > 2*time.Second {
					t.Errorf("%s: silent for %v", families[i], took)
				}
			}
			for _, f := range families {
				at := netip.AddrPortFrom(far.ip(f), 7000)
				checkPath(t, a.space, far.space, at.Addr(), a.ip(f))
				checkPath(t, far.space, a.space, a.ip(f), far.ip(f))
			}
		})
	}
}

// TestUplinkFlapsAndIsRenamed: what is known of the uplink is its index; connections go on
// when it is up again, and the agent finds it under its new name.
func TestUplinkFlapsAndIsRenamed(t *testing.T) {
	for _, c := range underlays {
		t.Run(c.name, func(t *testing.T) {
			w := newShapedWorld(t, 2, c.shape)
			one, two := w.nodes[0], w.nodes[1]
			a, far := one.addPod(), two.addPod()
			talk := newEcho(t, a, far, "IPv4")
			eth0 := deviceOf(t, two.space, "eth0")
			must(t, two.nl.LinkSetDown(eth0))
			must(t, two.nl.LinkSetName(eth0, "lan7"))
			up(t, two.space, "lan7")
			// The kernel forgets IPv6 addresses and routes by a device that goes down; who
			// keeps the node's network gives them anew.
			if v6, err := netlink.ParseAddr("fd64::2/64"); err == nil {
				two.nl.AddrDel(deviceOf(t, two.space, "lan7"), v6)
			}
			up(t, two.space, "lan7", "fd64::2/64")
			for _, gw := range []string{outside4, outside6} {
				must(t, two.nl.RouteReplace(defaultVia(t, two.space, "lan7", gw)))
			}
			must(t, two.dp.Reconfigure(context.Background(), two.spec))
			two.syncPeers(t)
			talk.drain()
			if took := talk.await(t); took > 4*time.Second {
				t.Errorf("silent for %v after the uplink was up", took)
			}
			for _, f := range families {
				checkPath(t, a.space, far.space, far.ip(f), a.ip(f))
				checkPath(t, far.space, w.outside, outsideIP(f), two.uplinkIP(f))
			}
		})
	}
}

// TestSecondDefaultRoute: a better default route by another device is not that of pods.
func TestSecondDefaultRoute(t *testing.T) {
	for _, c := range underlays {
		t.Run(c.name, func(t *testing.T) {
			w := newShapedWorld(t, 2, c.shape)
			one, two := w.nodes[0], w.nodes[1]
			a, far := one.addPod(), two.addPod()
			talk := newEcho(t, a, far, "IPv4")
			other := netlink.NewVeth(netlink.LinkAttrs{Name: "other0"})
			other.PeerName = "other1"
			must(t, one.nl.LinkAdd(other))
			up(t, one.space, "other1")
			up(t, one.space, "other0", "172.31.0.1/24", "fd99::1/64")
			for i, gw := range []string{outside4, outside6} {
				worse := defaultVia(t, one.space, "eth0", gw)
				must(t, one.nl.RouteDel(worse))
				worse.Priority = 2000
				must(t, one.nl.RouteAdd(worse))
				better := defaultVia(t, one.space, "other0", []string{"172.31.0.254", "fd99::fe"}[i])
				better.Priority = 10
				must(t, one.nl.RouteAdd(better))
			}
			must(t, one.dp.Reconfigure(context.Background(), one.spec))
			one.syncPeers(t)
			talk.drain()
			if took := talk.await(t); took > time.Second {
				t.Errorf("silent for %v", took)
			}
			for _, f := range families {
				t.Run(f+"/from a pod", func(t *testing.T) { checkPath(t, a.space, far.space, far.ip(f), a.ip(f)) })
				t.Run(f+"/from the host", func(t *testing.T) { checkPath(t, one.space, far.space, far.ip(f), one.routerIP(f)) })
			}
		})
	}
}

// TestUplinkGetsASmallerMTU: pods that are there follow, and so do new ones.
func TestUplinkGetsASmallerMTU(t *testing.T) {
	for _, c := range []struct {
		name string
		shape
		overhead int
	}{{"tunnel", shape{}, 50}, {"tunnel over IPv6", shape{over6: true}, 70}, {"native", shape{routing: datapath.RoutingNative}, 0}} {
		t.Run(c.name, func(t *testing.T) {
			w := newShapedWorld(t, 2, c.shape)
			one, two := w.nodes[0], w.nodes[1]
			a, far := one.addPod(), two.addPod()
			must(t, one.nl.LinkSetMTU(deviceOf(t, one.space, "eth0"), 1400))
			must(t, one.dp.Reconfigure(context.Background(), one.spec))
			a.ep.MTU = 1400 - c.overhead
			peer := one.asPeer()
			peer.PathMTU = 1400
			must(t, two.dp.SyncPeers(context.Background(), []datapath.Peer{peer}))
			for _, f := range families {
				checkMTU(t, a, far, f, 1400-c.overhead)
				if _, err := tcpSend(far.space, serveTCP(t, a, f), bulk); err != nil {
					t.Errorf("%s: to the node of the smaller MTU: %v", f, err)
				}
				if _, err := tcpSend(a.space, serveTCP(t, far, f), bulk); err != nil {
					t.Errorf("%s: from the node of the smaller MTU: %v", f, err)
				}
			}
			if later := one.addPod(); later.ep.MTU != 1400-c.overhead {
				t.Errorf("a new pod has MTU %d, want %d", later.ep.MTU, 1400-c.overhead)
			}
		})
	}
}

// serveTCP serves in a pod and returns where.
func serveTCP(t *testing.T, p *pod, family string) netip.AddrPort {
	t.Helper()
	at := netip.AddrPortFrom(p.ip(family), 7400)
	tcpServer(t, p.space, at)
	return at
}
