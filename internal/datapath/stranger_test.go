// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

func writeSetting(name, value string) error {
	return os.WriteFile("/proc/sys/"+name, []byte(value), 0o644)
}

// TestStrangers: what somebody puts into a tunnel packet reaches no pod unless it comes from
// the node that has its source, not even within a connection that is established.
func TestStrangers(t *testing.T) {
	w := newWorld(t, 3, false)
	one, two, three := w.nodes[0], w.nodes[1], w.nodes[2]
	a, b, far := one.addPod(), one.addPod(), two.addPod()
	const port = 7600
	for _, f := range families {
		t.Run(f, func(t *testing.T) {
			heard := listen(t, a.space, netip.AddrPortFrom(a.ip(f), port))
			friend, err := udpDial(far.space, netip.AddrPortFrom(a.ip(f), port), false)
			must(t, err)
			defer friend.Close()
			source := friend.LocalAddr().(*net.UDPAddr).AddrPort().Port()
			for range 3 { // so that the connection is known
				_, err := friend.Write([]byte("friend"))
				must(t, err)
				if got := <-heard; got != "friend" {
					t.Fatalf("the pod heard %q", got)
				}
			}
			for _, c := range []struct {
				name   string
				from   space
				src    netip.Addr
				vni    uint32
				reason string
			}{
				{"from no node", w.outside, far.ip(f), 1, "stranger"},
				{"from another node than the source's", three.space, far.ip(f), 1, "stranger"},
				{"in the name of a pod of the node itself", two.space, b.ip(f), 1, "spoofed_source"},
				{"of another network", two.space, far.ip(f), 2, "foreign_vni"},
				{"from no node, in nobody's name", w.outside, outsideIP(f), 1, "stranger"},
			} {
				t.Run(c.name, func(t *testing.T) {
					before := count(t, one, "from_overlay", c.reason)
					inner := datagram(t, c.src, a.ip(f), source, port)
					sendTunnelled(t, c.from, one.uplinkIP("IPv4"), c.vni, inner)
					for until := time.Now().Add(patience); count(t, one, "from_overlay", c.reason) == before; {
						if time.Now().After(until) {
							t.Fatalf("no packet was dropped as %s", c.reason)
						}
					}
				})
			}
			_, err = friend.Write([]byte("friend again"))
			must(t, err)
			if got := <-heard; got != "friend again" {
				t.Errorf("the pod heard %q", got)
			}
		})
	}
}

// listen hands on what a socket hears.
func listen(t *testing.T, s space, at netip.AddrPort) <-chan string {
	t.Helper()
	var c *net.UDPConn
	must(t, s.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err
	}))
	heard, ended := make(chan string, 100), make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 1500)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			heard <- string(buf[:n])
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-ended
	})
	return heard
}

// datagram is a whole frame with a UDP datagram that says "stranger".
func datagram(t *testing.T, src, dst netip.Addr, sport, dport uint16) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 8}, EthernetType: layers.EthernetTypeIPv4}
	udp := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	var ip interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	} = &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	if src.Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	must(t, udp.SetNetworkLayerForChecksum(ip))
	buf := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, udp, gopacket.Payload("stranger")))
	return buf.Bytes()
}

// sendTunnelled sends a frame in VXLAN to a node.
func sendTunnelled(t *testing.T, from space, node netip.Addr, vni uint32, frame []byte) {
	t.Helper()
	c, err := udpDial(from, netip.AddrPortFrom(node, 8472), false)
	must(t, err)
	defer c.Close()
	head := make([]byte, 8)
	head[0] = 8
	binary.BigEndian.PutUint32(head[4:], vni<<8)
	_, err = c.Write(append(head, frame...))
	must(t, err)
}
