// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// eachRouting runs a test in a world of two nodes for each routing.
func eachRouting(t *testing.T, test func(t *testing.T, w *world)) {
	for _, routing := range []datapath.Routing{datapath.RoutingTunnel, datapath.RoutingNative} {
		t.Run(string(routing), func(t *testing.T) { test(t, newShapedWorld(t, 2, shape{routing: routing})) })
	}
}

// setting writes a setting of a space.
func (s space) setting(t *testing.T, name, value string) {
	t.Helper()
	must(t, s.Do(func() error { return writeSetting(name, value) }))
}

// reach asks again and again until it is answered, and fails after a while.
func reach(t *testing.T, from space, to netip.Addr, within time.Duration) {
	t.Helper()
	begin := time.Now()
	for {
		err := askOnce(from, to)
		if err == nil {
			return
		}
		if time.Since(begin) > within {
			t.Fatalf("%s is not reached within %s: %v", to, within, err)
		}
	}
}

// askOnce sends one datagram to port 7000 and waits a moment for its echo.
func askOnce(from space, to netip.Addr) error {
	c, err := udpDial(from, netip.AddrPortFrom(to, 7000), false)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("ahoy")); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 100))
	return err
}

// TestANodeThatGetsAnotherMAC: the paths of connections follow within a tick and a bit, with
// nobody's help: no agent runs.
func TestANodeThatGetsAnotherMAC(t *testing.T) {
	eachRouting(t, func(t *testing.T, w *world) {
		one, two := w.nodes[0], w.nodes[1]
		a, far := one.addPod(), two.addPod()
		two.setting(t, "net/ipv4/conf/eth0/arp_notify", "1")
		two.setting(t, "net/ipv6/conf/eth0/ndisc_notify", "1")
		flows := map[string]*net.UDPConn{}
		for _, f := range families {
			udpServer(t, far.space, netip.AddrPortFrom(far.ip(f), 7000))
			c, err := udpDial(a.space, netip.AddrPortFrom(far.ip(f), 7000), false)
			must(t, err)
			defer c.Close()
			must(t, exchangeOn(c, patience))
			flows[f] = c
		}
		must(t, one.dp.Close())
		must(t, two.dp.Close())
		uplink, err := two.nl.LinkByName("eth0")
		must(t, err)
		must(t, two.nl.LinkSetHardwareAddr(uplink, net.HardwareAddr{0x02, 0, 0, 0, 0xbe, 0xef}))
		for f, c := range flows {
			if err := exchangeOn(c, 3*time.Second); err != nil {
				t.Errorf("%s: an open flow: %v", f, err)
			}
			reach(t, a.space, far.ip(f), time.Second)
		}
	})
}

// exchangeOn sends on a connected socket until an echo comes.
func exchangeOn(c *net.UDPConn, within time.Duration) error {
	for until := time.Now().Add(within); time.Now().Before(until); {
		if _, err := c.Write([]byte("ahoy")); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			return err
		}
		if _, err := c.Read(make([]byte, 100)); err == nil {
			return nil
		}
	}
	return errors.New("no answer in " + within.String())
}

// TestANodeThatGetsAnotherAddress: its peers are told, it notices itself.
func TestANodeThatGetsAnotherAddress(t *testing.T) {
	eachRouting(t, func(t *testing.T, w *world) {
		one, two := w.nodes[0], w.nodes[1]
		a, far := one.addPod(), two.addPod()
		for _, f := range families {
			udpServer(t, far.space, netip.AddrPortFrom(far.ip(f), 7000))
			reach(t, a.space, far.ip(f), patience)
		}
		uplink, err := two.nl.LinkByName("eth0")
		must(t, err)
		former, err := two.nl.AddrList(uplink, netlink.FAMILY_V4)
		must(t, err)
		for i := range former {
			must(t, two.nl.AddrDel(uplink, &former[i]))
		}
		up(t, two.space, "eth0", "192.168.100.77/24")
		// The kernel takes the default route along with the address.
		must(t, two.nl.RouteReplace(defaultVia(t, two.space, "eth0", outside4)))
		two.spec.Addresses = []netip.Addr{addr("192.168.100.77"), two.spec.Addresses[1]}
		must(t, two.dp.Reconfigure(context.Background(), two.spec))
		one.syncPeers(t)
		two.syncPeers(t)
		for _, f := range families {
			reach(t, a.space, far.ip(f), patience)
			must(t, ping(far.space, a.ip(f)))
		}
	})
}

// TestAnUplinkThatFlapsAndIsRenamed: what the kernel took away with it is put back.
func TestAnUplinkThatFlapsAndIsRenamed(t *testing.T) {
	eachRouting(t, func(t *testing.T, w *world) {
		one, two := w.nodes[0], w.nodes[1]
		a, far := one.addPod(), two.addPod()
		for _, name := range []string{"eth0", "wan0"} {
			uplink, err := one.nl.LinkByIndex(one.uplinkIndex(t))
			must(t, err)
			must(t, one.nl.LinkSetDown(uplink))
			must(t, one.nl.LinkSetName(uplink, name))
			must(t, one.nl.LinkSetUp(uplink))
			if _, err := one.nl.AddrList(uplink, netlink.FAMILY_V6); err == nil {
				up(t, one.space, name, "fd64::1/64") // which goes when a device goes down
			}
			for _, gw := range []string{outside4, outside6} {
				must(t, one.nl.RouteReplace(defaultVia(t, one.space, name, gw)))
			}
			must(t, one.dp.Reconfigure(context.Background(), one.spec))
			one.syncPeers(t)
			for _, f := range families {
				must(t, ping(a.space, far.ip(f)))
				must(t, ping(far.space, a.ip(f)))
				must(t, ping(one.space, far.ip(f)))
			}
		}
	})
}

func (n *node) uplinkIndex(t *testing.T) int {
	t.Helper()
	for _, name := range []string{"eth0", "wan0"} {
		if l, err := n.nl.LinkByName(name); err == nil {
			return l.Attrs().Index
		}
	}
	t.Fatal("no uplink")
	return 0
}

// TestASmallerPath: what the way to a peer does not carry, its pods are told, to the byte.
func TestASmallerPath(t *testing.T) {
	const path = 1400
	eachRouting(t, func(t *testing.T, w *world) {
		one, two := w.nodes[0], w.nodes[1]
		a, far := one.addPod(), two.addPod()
		fits := path
		if one.opts.Routing == datapath.RoutingTunnel {
			fits -= 50
		}
		must(t, one.dp.SyncPeers(context.Background(), []datapath.Peer{{
			Name: two.name, PodCIDRs: two.spec.PodCIDRs, Addresses: two.spec.Addresses, PathMTU: path,
		}}))
		for _, f := range families {
			headers := map[string]int{"IPv4": 28, "IPv6": 48}[f]
			at := netip.AddrPortFrom(far.ip(f), 7001)
			udpServer(t, far.space, at)
			if _, err := udpAsk(a.space, at, fits-headers, true); err != nil {
				t.Errorf("%s: a packet of %d bytes: %v", f, fits, err)
			}
			if got := discoveredMTU(t, a, at, fits-headers+1); got != fits {
				t.Errorf("%s: a packet that is a byte too big is answered with %d, want %d", f, got, fits)
			}
			tcp := netip.AddrPortFrom(far.ip(f), 7002)
			tcpServer(t, far.space, tcp)
			if _, err := tcpSend(a.space, tcp, bulk); err != nil {
				t.Errorf("%s: TCP: %v", f, err)
			}
		}
	})
}

// discoveredMTU sends a datagram that is too big until the sender knows what fits.
func discoveredMTU(t *testing.T, from *pod, to netip.AddrPort, size int) int {
	t.Helper()
	c, err := udpDial(from.space, to, true)
	must(t, err)
	defer c.Close()
	for until := time.Now().Add(patience); time.Now().Before(until); {
		if _, err := c.Write(make([]byte, size)); errors.Is(err, unix.EMSGSIZE) {
			raw, err := c.SyscallConn()
			must(t, err)
			level, option := unix.IPPROTO_IP, unix.IP_MTU
			if to.Addr().Is6() {
				level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU
			}
			var mtu int
			var opt error
			must(t, raw.Control(func(fd uintptr) { mtu, opt = unix.GetsockoptInt(int(fd), level, option) }))
			must(t, opt)
			return mtu
		}
	}
	t.Fatalf("nobody said that a datagram of %d bytes is too big", size)
	return 0
}

// TestSegmentsStayTogether: a bulk transfer crosses the network between nodes in packets
// that are cut into segments at the very end, if at all.
func TestSegmentsStayTogether(t *testing.T) {
	for _, sh := range []struct {
		name string
		shape
	}{{"tunnel over IPv4", shape{}}, {"tunnel over IPv6", shape{over6: true}}, {"native", shape{routing: datapath.RoutingNative}}} {
		t.Run(sh.name, func(t *testing.T) {
			w := newShapedWorld(t, 2, sh.shape)
			a, far := w.nodes[0].addPod(), w.nodes[1].addPod()
			for _, f := range families {
				at := netip.AddrPortFrom(far.ip(f), 7003)
				tcpServer(t, far.space, at)
				before := w.received(t, "port1")
				if _, err := tcpSend(a.space, at, 4*bulk); err != nil {
					t.Fatal(err)
				}
				after := w.received(t, "port1")
				packets, volume := after.RxPackets-before.RxPackets, after.RxBytes-before.RxBytes
				if mean := volume / packets; mean < 4*uplinkMTU {
					t.Errorf("%s: packets of %d bytes on average: they were cut up on the way", f, mean)
				}
			}
		})
	}
}

// received are the counters of a port of the underlay.
func (w *world) received(t *testing.T, port string) *netlink.LinkStatistics {
	t.Helper()
	l, err := w.outside.nl.LinkByName(port)
	must(t, err)
	return l.Attrs().Statistics
}

// TestAFullTable: whoever opens thousands of connections that nobody answers takes no
// established connection's row, and everybody still gets through.
func TestAFullTable(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	opts := n.opts
	opts.FlowEntries = 1024
	victim, server, attacker := n.addPod(), n.addPod(), n.addPod()
	n.restart(t, opts, []datapath.Endpoint{victim.ep, server.ep, attacker.ep})
	const established = 50
	var flows []net.Conn
	for i := range established {
		flows = append(flows, openEcho(t, victim, server, netip.AddrPortFrom(server.ip("IPv4"), uint16(8000+i))))
	}
	for _, c := range flows {
		sayAndHear(t, c)
	}
	must(t, attacker.Do(func() error {
		for port := range 8000 {
			c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(victim.ip("IPv4"), uint16(20000+port))))
			if err != nil {
				return err
			}
			c.Write([]byte("x")) //nolint:errcheck // refused, which is the point
			c.Close()
		}
		return nil
	}))
	rows, err := n.dp.FlowRows()
	must(t, err)
	if rows["established"] < established {
		t.Errorf("of %d established connections %d have a row: %v", established, rows["established"], rows)
	}
	if n := flowEvents(t, n)["evicted_unanswered"]; n < 1000 {
		t.Errorf("%d rows were given away, the attack was none", n)
	}
	for _, c := range flows {
		sayAndHear(t, c)
	}
	must(t, ping(attacker.space, server.ip("IPv4")))
	at := netip.AddrPortFrom(server.ip("IPv6"), 7004)
	tcpServer(t, server.space, at)
	if _, err := tcpSend(victim.space, at, bulk); err != nil {
		t.Errorf("a new connection: %v", err)
	}
}

func flowEvents(t *testing.T, n *node) map[string]uint64 {
	t.Helper()
	events, err := n.dp.FlowEvents()
	must(t, err)
	out := map[string]uint64{}
	for _, e := range events {
		out[e.Event] = e.Count
	}
	return out
}

func sayAndHear(t *testing.T, c net.Conn) {
	t.Helper()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	_, err := c.Write([]byte("ping"))
	must(t, err)
	_, err = c.Read(make([]byte, 4))
	must(t, err)
}
