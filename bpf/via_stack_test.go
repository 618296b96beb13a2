// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/fairlead-io/fairlead/bpf"
)

// echo returns an ICMP echo request or reply.
func echo(t *testing.T, src, dst netip.Addr, reply bool, id uint16) []byte {
	message := make([]byte, 8, 16)
	binary.BigEndian.PutUint16(message[4:], id)
	proto := layers.IPProtocolICMPv4
	message[0] = 8
	if reply {
		message[0] = 0
	}
	if src.Is6() {
		proto = layers.IPProtocolICMPv6
		message[0] = 128
		if reply {
			message[0] = 129
		}
	}
	return packet(t, append(ip(src, dst, proto), gopacket.Payload(append(message, "fairlead"...)))...)
}

// unreachable returns the ICMP error that a host sends about a packet; inner begins with
// its Ethernet header.
func unreachable(t *testing.T, src, dst netip.Addr, inner []byte, quoted int) []byte {
	message := []byte{3, 3, 0, 0, 0, 0, 0, 0}
	proto := layers.IPProtocolICMPv4
	if src.Is6() {
		message[0], message[1], proto = 1, 4, layers.IPProtocolICMPv6
	}
	return packet(t, append(ip(src, dst, proto), gopacket.Payload(append(message, inner[14:14+quoted]...)))...)
}

// extended returns a UDP datagram over IPv6 behind extension headers.
func extended(t *testing.T, src, dst netip.Addr, sport, dport uint16) []byte {
	body := []byte{
		60, 0, 1, 4, 0, 0, 0, 0, // hop-by-hop options, then
		43, 0, 1, 4, 0, 0, 0, 0, // destination options, then
		17, 0, 0, 0, 0, 0, 0, 0, // a routing header
	}
	body = binary.BigEndian.AppendUint16(body, sport)
	body = binary.BigEndian.AppendUint16(body, dport)
	body = append(body, make([]byte, 4)...)
	return packet(t, append(ip(src, dst, layers.IPProtocolIPv6HopByHop), gopacket.Payload(body))...)
}

// TestViaStack follows a service's flow: the stack sends the translated question to the
// server, whose answers must then go through the stack, and no other packets.
func TestViaStack(t *testing.T) {
	for _, f := range families {
		for _, c := range []struct {
			name             string
			question, answer []byte
		}{
			{"UDP", udp(t, f.pod, f.other, 1000, 53), udp(t, f.other, f.pod, 53, 1000)},
			{"TCP", transport(t, layers.IPProtocolTCP, f.pod, f.other, 1000, 80), transport(t, layers.IPProtocolTCP, f.other, f.pod, 80, 1000)},
			{"SCTP", transport(t, layers.IPProtocolSCTP, f.pod, f.other, 7, 8), transport(t, layers.IPProtocolSCTP, f.other, f.pod, 8, 7)},
			{"echo", echo(t, f.pod, f.other, false, 77), echo(t, f.other, f.pod, true, 77)},
			{"no ports", transport(t, layers.IPProtocolGRE, f.pod, f.other, 1, 2), transport(t, layers.IPProtocolGRE, f.other, f.pod, 3, 4)},
			{"same ports", udp(t, f.pod, f.other, 5, 5), udp(t, f.other, f.pod, 5, 5)},
			{"error about the question", udp(t, f.pod, f.other, 1000, 53), unreachable(t, f.other, f.pod, udp(t, f.pod, f.other, 1000, 53), 48)},
			{"error of a router about the question", udp(t, f.pod, f.other, 1000, 53), unreachable(t, f.remote, f.pod, udp(t, f.pod, f.other, 1000, 53), 48)},
			{"error about an echo", echo(t, f.pod, f.other, false, 9), unreachable(t, f.other, f.pod, echo(t, f.pod, f.other, false, 9), 48)},
		} {
			t.Run(f.name+"/"+c.name, func(t *testing.T) {
				k := newKernel(t)
				for range 2 { // the second notes nothing new
					action, _ := k.run(bpf.HookToPod, c.question)
					wantAction(t, action, actOK)
				}
				if n := len(k.notes()); n != 1 {
					t.Fatalf("%d flows are noted, want 1: %v", n, k.notes())
				}
				// The run's device is that of the first pod, so the answer is tried
				// where its source is not checked.
				k.becomeRemote(f.other)
				action, _ := k.run(bpf.HookFromOverlay, c.answer)
				wantAction(t, action, actOK)
				wantReasons(t, k, bpf.HookFromOverlay, "via_stack")
				action, _ = k.run(bpf.HookFromPod, c.question)
				wantAction(t, action, actOK)
				wantReasons(t, k, bpf.HookFromPod, "via_stack")
			})
		}
	}
}

// becomeRemote moves a pod of this node to another one.
func (k *kernel) becomeRemote(a netip.Addr) {
	k.t.Helper()
	must(k.t, k.maps["fl_endpoints"].Delete(bpf.AddressOf(a)))
	k.put("fl_ranges", bpf.RangeKeyOf(netip.PrefixFrom(a, a.BitLen())), bpf.Range{Tunnel: bpf.AddressOf(node4)})
}

func TestOtherFlowsBypass(t *testing.T) {
	for _, f := range families {
		k := newKernel(t)
		k.run(bpf.HookToOverlay, udp(t, f.pod, f.remote, 1000, 53))
		if n := len(k.notes()); n != 1 {
			t.Fatalf("%s: %d flows are noted, want 1", f.name, n)
		}
		for name, in := range map[string][]byte{
			"other source port":      udp(t, f.remote, f.pod, 54, 1000),
			"other destination port": udp(t, f.remote, f.pod, 53, 1001),
			"ports exchanged":        udp(t, f.remote, f.pod, 1000, 53),
			"other protocol":         transport(t, layers.IPProtocolTCP, f.remote, f.pod, 53, 1000),
			"other pod":              udp(t, f.remote, f.other, 53, 1000),
			"error about another":    unreachable(t, f.remote, f.pod, udp(t, f.pod, f.remote, 1001, 53), 48),
			"error that quotes less": unreachable(t, f.remote, f.pod, udp(t, f.pod, f.remote, 1000, 53), 22),
		} {
			if action, _ := k.run(bpf.HookFromOverlay, in); action != actRedirect {
				t.Errorf("%s: %s: action %d, want it to bypass the stack", f.name, name, action)
			}
		}
	}
}

func TestWhatIsNoted(t *testing.T) {
	for _, f := range families {
		for _, c := range []struct {
			name string
			hook bpf.Hook
			in   []byte
			want int
		}{
			{"pod to pod, same node", bpf.HookToPod, udp(t, f.other, f.pod, 1, 2), 1},
			{"other node's pod to pod", bpf.HookToPod, udp(t, f.remote, f.pod, 1, 2), 1},
			{"pod to other node's pod", bpf.HookToOverlay, udp(t, f.pod, f.remote, 1, 2), 1},
			{"host to pod", bpf.HookToPod, udp(t, f.gateway, f.pod, 1, 2), 0},
			{"host to other node's pod", bpf.HookToOverlay, udp(t, f.gateway, f.remote, 1, 2), 0},
			{"outside to pod", bpf.HookToPod, udp(t, f.outside, f.pod, 1, 2), 0},
			{"error of a pod", bpf.HookToPod, unreachable(t, f.other, f.pod, udp(t, f.pod, f.other, 1, 2), 48), 0},
		} {
			k := newKernel(t)
			k.run(c.hook, c.in)
			if notes := k.notes(); len(notes) != c.want {
				t.Errorf("%s: %s: noted %v, want %d flows", f.name, c.name, notes, c.want)
			}
		}
	}
}

func TestExtensionHeaders(t *testing.T) {
	k := newKernel(t)
	k.run(bpf.HookToOverlay, udp(t, pod6, remote6, 1000, 53))
	action, _ := k.run(bpf.HookFromOverlay, extended(t, remote6, pod6, 53, 1000))
	wantAction(t, action, actOK)
	wantReasons(t, k, bpf.HookFromOverlay, "via_stack")
}

// TestFragments: all of them take the same way, noted or not.
func TestFragments(t *testing.T) {
	fragment4 := func(offset uint16, more bool) []byte {
		head := ip(pod4, other4, layers.IPProtocolUDP)
		h := head[1].(*layers.IPv4)
		h.Id, h.FragOffset = 4711, offset
		if more {
			h.Flags = layers.IPv4MoreFragments
		}
		return packet(t, append(head, gopacket.Payload(make([]byte, 64)))...)
	}
	fragment6 := func(offset uint16, more byte) []byte {
		header := []byte{17, 0, 0, 0, 0, 0, 0x12, 0x67}
		binary.BigEndian.PutUint16(header[2:], offset<<3|uint16(more))
		return packet(t, append(ip(pod6, other6, layers.IPProtocolIPv6Fragment), gopacket.Payload(append(header, make([]byte, 64)...)))...)
	}
	for name, in := range map[string][]byte{
		"IPv4 first": fragment4(0, true), "IPv4 middle": fragment4(8, true), "IPv4 last": fragment4(16, false),
		"IPv6 first": fragment6(0, 1), "IPv6 middle": fragment6(8, 1), "IPv6 last": fragment6(16, 0),
	} {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t)
			action, _ := k.run(bpf.HookFromPod, in)
			wantAction(t, action, actOK)
			wantReasons(t, k, bpf.HookFromPod, "fragment")
		})
	}
	t.Run("IPv6 atomic", func(t *testing.T) { // a fragment header on a whole packet
		k := newKernel(t)
		action, _ := k.run(bpf.HookFromPod, fragment6(0, 0))
		wantAction(t, action, actRedirect)
	})
}
