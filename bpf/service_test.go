// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/fairlead-io/fairlead/bpf"
)

// The Services of these tests: ports of this node, whose addresses are those of routers.
var (
	node6            = netip.MustParseAddr("fd00:99::2")
	hostNode4        = netip.MustParseAddr("172.16.0.1")
	hostNode6        = netip.MustParseAddr("fd00:99::1")
	testPool  uint32 = 7
)

const (
	servicePort = 30080
	backendPort = 8080
	clientPort  = 4000
)

func (f family) node() netip.Addr {
	if f.pod.Is4() {
		return hostNode4
	}
	return hostNode6
}

// newServiceKernel is the tests' world with Services on.
func newServiceKernel(t testing.TB, settings map[string]any) *kernel {
	t.Helper()
	all := map[string]any{
		"cfg_services": uint8(1),
		"cfg_node4":    bpf.AddressOf(hostNode4).Word[3],
		"cfg_node6":    bpf.AddressOf(hostNode6).Word,
	}
	for name, v := range settings {
		all[name] = v
	}
	k := newKernelWith(t, all)
	for _, a := range []netip.Addr{hostNode4, hostNode6, gateway4, gateway6} {
		k.put("fl_node_addrs", bpf.AddressOf(a), bpf.NodeAddress{Known: 1})
	}
	return k
}

func order(port uint16) uint16 { return port<<8 | port>>8 }

// choose makes the only backend of the tests' pool the one at an address, or leaves the pool
// without any.
func (k *kernel) choose(backend netip.Addr, port uint16, flags uint8) {
	k.t.Helper()
	k.put("fl_pools", testPool, bpf.Pool{Base: 3, Slots: 1})
	k.put("fl_slots", uint32(3), uint32(5))
	k.put("fl_backends", uint32(5), bpf.Backend{Address: bpf.AddressOf(backend), Port: order(port), Flags: flags, Pool: testPool})
}

// publish makes a frontend that has the tests' pool.
func (k *kernel) publish(at netip.Addr, port uint16, f bpf.Frontend) {
	k.t.Helper()
	f.Inside, f.Outside = testPool, testPool
	for _, protocol := range []uint8{6, 17} {
		k.put("fl_frontends", bpf.FrontendKey{Address: bpf.AddressOf(at), Port: order(port), Protocol: protocol}, f)
	}
}

// segment returns a TCP segment.
func segment(t testing.TB, src, dst netip.Addr, sport, dport uint16, flags string, data string) []byte {
	t.Helper()
	head := ip(src, dst, layers.IPProtocolTCP)
	s := &layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), Seq: 1000, Ack: 2000, Window: 512}
	for _, f := range flags {
		switch f {
		case 'S':
			s.SYN = true
		case 'A':
			s.ACK = true
		case 'F':
			s.FIN = true
		case 'R':
			s.RST = true
		}
	}
	must(t, s.SetNetworkLayerForChecksum(head[1].(gopacket.NetworkLayer)))
	return packet(t, append(head, s, gopacket.Payload(data))...)
}

// arrive sends a packet through from_uplink as one for this host: to the MAC address of lo.
func (k *kernel) arrive(p []byte) (action uint32, out []byte) {
	k.t.Helper()
	return k.run(bpf.HookFromUplink, rewritten(p, make([]byte, 6), otherMAC))
}

// conversation are a client's packet and a backend's answer as a pair of addresses sees them.
type conversation struct {
	name string
	of   func(t testing.TB, src, dst netip.Addr, sport, dport uint16) []byte
}

var conversations = []conversation{
	{"UDP", udp},
	{"UDP without a checksum", func(t testing.TB, src, dst netip.Addr, sport, dport uint16) []byte {
		p := udp(t, src, dst, sport, dport)
		if at := headersOf(src) + 6; src.Is4() {
			p[at], p[at+1] = 0, 0
		}
		return p
	}},
	{"TCP", func(t testing.TB, src, dst netip.Addr, sport, dport uint16) []byte {
		return segment(t, src, dst, sport, dport, "A", "full speed ahead")
	}},
	{"error", func(t testing.TB, src, dst netip.Addr, sport, dport uint16) []byte {
		about := udp(t, dst, src, dport, sport)
		return icmpError(t, src, dst, about)
	}},
}

// headersOf is the offset of the transport header in packets without options.
func headersOf(a netip.Addr) int {
	if a.Is4() {
		return 14 + 20
	}
	return 14 + 40
}

// icmpError is what src says about a packet that it cannot take, with a right checksum.
func icmpError(t testing.TB, src, dst netip.Addr, about []byte) []byte {
	t.Helper()
	quote := gopacket.Payload(about[14:])
	if src.Is4() {
		return packet(t, append(ip(src, dst, layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}, quote)...)
	}
	head := ip(src, dst, layers.IPProtocolICMPv6)
	e := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 4)}
	must(t, e.SetNetworkLayerForChecksum(head[1].(gopacket.NetworkLayer)))
	return packet(t, append(head, e, gopacket.Payload(append(make([]byte, 4), quote...)))...)
}

// masked clears the checksums of an error and of the datagram that it quotes: the latter is not
// kept right, so the former is not the same as that of an error about the right datagram.
func masked(p []byte, a netip.Addr) []byte {
	out := append([]byte(nil), p...)
	for _, at := range []int{headersOf(a) + 2, headersOf(a) + 8 + headersOf(a) - 14 + 6} {
		out[at], out[at+1] = 0, 0
	}
	return out
}

// wantRightSum expects the checksum of the ICMP or TCP message in a packet to be right.
func wantRightSum(t *testing.T, p []byte) {
	t.Helper()
	sum, next, at := uint32(0), p[14+9], headersOf(netip.IPv4Unspecified())
	addresses := p[14+12 : at]
	if p[12] == 0x86 {
		next, at = p[14+6], headersOf(netip.IPv6Unspecified())
		addresses = p[14+8 : at]
	}
	message := p[at:]
	if next != 1 {
		sum = uint32(next) + uint32(len(message))
		message = append(append([]byte(nil), addresses...), message...)
	}
	for i, b := range message {
		sum += uint32(b) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if sum != 0xffff {
		t.Errorf("protocol %d: the checksum is wrong (the sum is %#x)", next, sum)
	}
}

// TestTranslation follows a client's packets to a pod of this node and back, to the byte.
func TestTranslation(t *testing.T) {
	for _, f := range families {
		for _, c := range conversations {
			t.Run(f.name+"/"+c.name, func(t *testing.T) {
				k := newServiceKernel(t, nil)
				k.choose(f.pod, backendPort, bpf.BackendLocal|bpf.BackendPod)
				k.publish(unspecified(f), servicePort, bpf.Frontend{})
				open, _ := k.arrive(udp(t, f.outside, f.node(), clientPort, servicePort))
				wantAction(t, open, actRedirect)
				k.arrive(segment(t, f.outside, f.node(), clientPort, servicePort, "S", ""))

				action, out := k.arrive(c.of(t, f.outside, f.node(), clientPort, servicePort))
				wantAction(t, action, actRedirect)
				want := rewritten(c.of(t, f.outside, f.pod, clientPort, backendPort), podMAC, routerMAC)
				answer := c.of(t, f.pod, f.outside, backendPort, clientPort)
				back := c.of(t, f.node(), f.outside, servicePort, clientPort)
				_, got := k.run(bpf.HookFromPod, answer)
				if c.name == "error" {
					wantRightSum(t, out)
					wantRightSum(t, got)
					out, want = masked(out, f.pod), masked(want, f.pod)
					got, back = masked(got, f.pod), masked(back, f.pod)
				}
				wantBytes(t, out, want)
				wantBytes(t, got, back)
			})
		}
	}
}

func unspecified(f family) netip.Addr {
	if f.pod.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
