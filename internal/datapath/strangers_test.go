// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// tunnelled is a UDP datagram in a tunnel packet, with whatever addresses.
type tunnelled struct {
	outerFrom, outerTo netip.Addr
	vni                uint32
	from, to           netip.AddrPort
	payload            []byte
}

// packet returns the outer IP packet.
func (p tunnelled) packet(t *testing.T) []byte {
	t.Helper()
	router := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	kind := layers.EthernetTypeIPv4
	if p.from.Addr().Is6() {
		kind = layers.EthernetTypeIPv6
	}
	vxlan := serialize(t, &layers.VXLAN{ValidIDFlag: true, VNI: p.vni},
		&layers.Ethernet{SrcMAC: router, DstMAC: router, EthernetType: kind},
		gopacket.Payload(udpPacket(t, p.from, p.to, p.payload)))
	return udpPacket(t, netip.AddrPortFrom(p.outerFrom, 50000), netip.AddrPortFrom(p.outerTo, 8472), vxlan)
}

// udpPacket returns the IP packet of a datagram.
func udpPacket(t *testing.T, from, to netip.AddrPort, payload []byte) []byte {
	t.Helper()
	udp := &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}
	if from.Addr().Is4() {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
		must(t, udp.SetNetworkLayerForChecksum(ip))
		return serialize(t, ip, udp, gopacket.Payload(payload))
	}
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
	must(t, udp.SetNetworkLayerForChecksum(ip))
	return serialize(t, ip, udp, gopacket.Payload(payload))
}

func serialize(t *testing.T, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...))
	return bytes.Clone(buf.Bytes())
}

// sendRaw sends an IP packet as it is, whatever its source says.
func sendRaw(t *testing.T, s space, to netip.Addr, packet []byte) {
	t.Helper()
	must(t, s.Do(func() error {
		family, address := unix.AF_INET, unix.Sockaddr(nil)
		if to.Is4() {
			address = &unix.SockaddrInet4{Addr: to.As4()}
		} else {
			family, address = unix.AF_INET6, &unix.SockaddrInet6{Addr: to.As16()}
		}
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, packet, 0, address)
	}))
}

// inbox is a socket of a pod that strangers write to.
func inbox(t *testing.T, s space, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	must(t, s.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err
	}))
	t.Cleanup(func() { c.Close() })
	return c
}

// next returns the next datagram in an inbox.
func next(t *testing.T, c *net.UDPConn) (string, netip.AddrPort) {
	t.Helper()
	buf := make([]byte, 2000)
	c.SetReadDeadline(time.Now().Add(patience))
	n, from, err := c.ReadFromUDPAddrPort(buf)
	must(t, err)
	return string(buf[:n]), netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// TestStrangers: of tunnel packets only those come in that the node of their source sent,
// also when they belong to a connection that is known. All others are counted under what
// is wrong with them.
func TestStrangers(t *testing.T) {
	for _, c := range []struct {
		name string
		shape
	}{{"tunnel over IPv4", shape{}}, {"tunnel over IPv6", shape{over6: true}}} {
		t.Run(c.name, func(t *testing.T) {
			w := newShapedWorld(t, 3, c.shape)
			underlay := "IPv4"
			if c.over6 {
				underlay = "IPv6"
			}
			one, two, three := w.nodes[0], w.nodes[1], w.nodes[2]
			a, b, far, third := one.addPod(), one.addPod(), two.addPod(), three.addPod()
			for _, f := range families {
				t.Run(f, func(t *testing.T) {
					at := netip.AddrPortFrom(a.ip(f), 7000)
					client := inbox(t, far.space, netip.AddrPortFrom(far.ip(f), 7100))
					server := inbox(t, a.space, at)
					good := tunnelled{
						outerFrom: two.uplinkIP(underlay), outerTo: one.uplinkIP(underlay), vni: 1,
						from: netip.AddrPortFrom(far.ip(f), 7100), to: at, payload: []byte("good"),
					}
					s := strangers{t, w, server, good}
					with := func(change func(*tunnelled)) tunnelled {
						p := good
						p.payload = []byte("bad")
						change(&p)
						return p
					}
					nested := with(func(p *tunnelled) {}).packet(t)
					cases := []struct {
						name, reason string
						packet       tunnelled
					}{
						{"from no peer, of a pod", "stranger", with(func(p *tunnelled) { p.outerFrom = outsideIP(underlay) })},
						{"from no peer, of no pod", "stranger", with(func(p *tunnelled) {
							p.outerFrom, p.from = outsideIP(underlay), netip.AddrPortFrom(outsideIP(f), 7100)
						})},
						{"from a peer, of another node's pod", "stranger", with(func(p *tunnelled) { p.from = netip.AddrPortFrom(third.ip(f), 7100) })},
						{"from another peer, of a pod", "stranger", with(func(p *tunnelled) { p.outerFrom = three.uplinkIP(underlay) })},
						{"of the node's own pod", "spoofed_source", with(func(p *tunnelled) { p.from = netip.AddrPortFrom(b.ip(f), 7100) })},
						{"of the node's own router", "spoofed_source", with(func(p *tunnelled) { p.from = netip.AddrPortFrom(one.routerIP(f), 7100) })},
						{"of another network", "foreign_vni", with(func(p *tunnelled) { p.vni = 2 })},
						{"nested, to the node's end", "not_here", tunnelled{
							outerFrom: good.outerFrom, outerTo: good.outerTo, vni: 1,
							from: netip.AddrPortFrom(far.ip(underlay), 50000), to: netip.AddrPortFrom(one.uplinkIP(underlay), 8472),
							payload: vxlanOf(nested),
						}},
					}
					for _, c := range cases {
						t.Run(c.name+", unknown", func(t *testing.T) { s.refused(t, c.packet, c.reason) })
					}
					// The connection is established, in both directions, by the two pods.
					for range 3 {
						_, err := client.WriteToUDPAddrPort([]byte("question"), at)
						must(t, err)
						if got, from := next(t, server); got != "question" || from != good.from {
							t.Fatalf("the server got %q from %s", got, from)
						}
						_, err = server.WriteToUDPAddrPort([]byte("answer"), good.from)
						must(t, err)
						if got, _ := next(t, client); got != "answer" {
							t.Fatalf("the client got %q", got)
						}
					}
					for _, c := range cases {
						t.Run(c.name+", known", func(t *testing.T) { s.refused(t, c.packet, c.reason) })
					}
				})
			}
		})
	}
}

// vxlanOf returns what the UDP header of a tunnel packet is followed by.
func vxlanOf(packet []byte) []byte {
	if packet[0]>>4 == 4 {
		return packet[28:]
	}
	return packet[48:]
}

// strangers send from outside to a server whose node is the first.
type strangers struct {
	t      *testing.T
	w      *world
	server *net.UDPConn
	good   tunnelled
}

// refused sends a packet and a good one, and sees that the first was dropped for a reason.
func (s strangers) refused(t *testing.T, p tunnelled, reason string) {
	one := s.w.nodes[0]
	before := count(t, one, "from_overlay", reason)
	sendRaw(t, s.w.outside, p.outerTo, p.packet(t))
	sendRaw(t, s.w.outside, p.outerTo, s.good.packet(t))
	if got, from := next(t, s.server); got != "good" {
		t.Fatalf("the pod got %q from %s", got, from)
	}
	if got := count(t, one, "from_overlay", reason) - before; got != 1 {
		t.Errorf("%d packets were counted as %s, want 1", got, reason)
	}
}

// TestOwnPodFromOutside: what comes from the network without a tunnel, and says that it is
// of a pod of the node, is dropped.
func TestOwnPodFromOutside(t *testing.T) {
	for _, routing := range []datapath.Routing{datapath.RoutingTunnel, datapath.RoutingNative} {
		w := newShapedWorld(t, 2, shape{routing: routing})
		one := w.nodes[0]
		a, b, far := one.addPod(), one.addPod(), w.nodes[1].addPod()
		for _, f := range families {
			at := netip.AddrPortFrom(a.ip(f), 7000)
			server := inbox(t, a.space, at)
			route := defaultVia(t, w.outside, "br0", one.uplinkIP(f).String())
			route.Dst = &net.IPNet{IP: a.ip(f).AsSlice(), Mask: net.CIDRMask(a.ip(f).BitLen(), a.ip(f).BitLen())}
			must(t, w.outside.nl.RouteAdd(route))
			for _, spoofed := range []netip.Addr{b.ip(f), one.routerIP(f)} {
				before := count(t, one, "from_uplink", "spoofed_source")
				sendRaw(t, w.outside, a.ip(f), udpPacket(t, netip.AddrPortFrom(spoofed, 7100), at, []byte("bad")))
				// It may wait for the bridge's link-local address, which is tentative at first.
				for begin := time.Now(); count(t, one, "from_uplink", "spoofed_source") == before && time.Since(begin) < patience; {
				}
				client, err := udpDial(far.space, at, false)
				must(t, err)
				defer client.Close()
				_, err = client.Write([]byte("good"))
				must(t, err)
				if got, from := next(t, server); got != "good" {
					t.Errorf("%s: the pod got %q from %s", routing, got, from)
				}
				if got := count(t, one, "from_uplink", "spoofed_source") - before; got != 1 {
					t.Errorf("%s: %d packets of %s were counted as spoofed, want 1", routing, got, spoofed)
				}
			}
		}
	}
}
