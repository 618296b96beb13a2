// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/fairlead-io/fairlead/bpf"
)

// family are the addresses of one IP version.
type family struct {
	name                                         string
	pod, other, remote, outside, gateway, unused netip.Addr
}

var families = []family{
	{"IPv4", pod4, other4, remote4, outside4, gateway4, netip.MustParseAddr("10.1.0.99")},
	{"IPv6", pod6, other6, remote6, outside6, gateway6, netip.MustParseAddr("fd00:1::63")},
}

// rewritten returns the packet with other MAC addresses.
func rewritten(p []byte, dst, src net.HardwareAddr) []byte {
	out := append([]byte(nil), p...)
	copy(out, dst)
	copy(out[6:], src)
	return out
}

// TestForwarding is what becomes of plain packets at each hook.
func TestForwarding(t *testing.T) {
	for _, f := range families {
		for _, c := range []struct {
			name   string
			hook   bpf.Hook
			in     []byte
			action uint32
			reason string
			dst    net.HardwareAddr // of what comes out; nil: as it came in
		}{
			{"pod to pod of this node", bpf.HookFromPod, udp(t, f.pod, f.other, 1, 2), actRedirect, "local", otherMAC},
			{"pod to pod of another node", bpf.HookFromPod, udp(t, f.pod, f.remote, 1, 2), actRedirect, "tunnel", routerMAC},
			{"pod to outside", bpf.HookFromPod, udp(t, f.pod, f.outside, 1, 2), actOK, "stack", nil},
			{"pod to host", bpf.HookFromPod, udp(t, f.pod, f.gateway, 1, 2), actOK, "stack", nil},
			{"pod to an address of no pod", bpf.HookFromPod, udp(t, f.pod, f.unused, 1, 2), actOK, "stack", nil},
			{"pod in another's name", bpf.HookFromPod, udp(t, f.other, f.remote, 1, 2), actShot, "spoofed_source", nil},
			{"pod in an outsider's name", bpf.HookFromPod, udp(t, f.outside, f.other, 1, 2), actShot, "spoofed_source", nil},
			{"tunnel to pod", bpf.HookFromOverlay, udp(t, f.remote, f.other, 1, 2), actRedirect, "local", otherMAC},
			{"tunnel to host", bpf.HookFromOverlay, udp(t, f.remote, f.gateway, 1, 2), actOK, "stack", nil},
			{"tunnel to an address of no pod", bpf.HookFromOverlay, udp(t, f.remote, f.unused, 1, 2), actOK, "stack", nil},
			{"tunnel to outside", bpf.HookFromOverlay, udp(t, f.remote, f.outside, 1, 2), actShot, "not_here", nil},
			{"tunnel in a local pod's name", bpf.HookFromOverlay, udp(t, f.pod, f.other, 1, 2), actShot, "spoofed_source", nil},
			{"tunnel from no pod", bpf.HookFromOverlay, udp(t, f.outside, f.other, 1, 2), actOK, "stack", nil},
			{"stack to tunnel", bpf.HookToOverlay, udp(t, f.gateway, f.remote, 1, 2), actOK, "tunnel", nil},
			{"stack to tunnel, no peer", bpf.HookToOverlay, udp(t, f.gateway, f.outside, 1, 2), actShot, "no_peer", nil},
			{"stack to tunnel, own range", bpf.HookToOverlay, udp(t, f.gateway, f.other, 1, 2), actShot, "no_peer", nil},
			{"stack to pod", bpf.HookToPod, udp(t, f.gateway, f.pod, 1, 2), actOK, "delivered", nil},
		} {
			t.Run(f.name+"/"+c.name, func(t *testing.T) {
				k := newKernel(t)
				action, out := k.run(c.hook, c.in)
				wantAction(t, action, c.action)
				wantReasons(t, k, c.hook, c.reason)
				want := c.in
				if c.dst != nil {
					want = rewritten(c.in, c.dst, routerMAC)
				}
				wantBytes(t, out, want)
				if notes := k.notes(); len(notes) > 0 {
					t.Errorf("flows are noted that need not be: %v", notes)
				}
			})
		}
	}
}

func TestForeignPackets(t *testing.T) {
	multicast4, multicast6 := netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("ff02::fb")
	for _, c := range []struct {
		name   string
		hook   bpf.Hook
		in     []byte
		action uint32
		reason string
	}{
		{"pod, multicast IPv4", bpf.HookFromPod, udp(t, pod4, multicast4, 1, 2), actShot, "multicast"},
		{"pod, broadcast", bpf.HookFromPod, udp(t, pod4, netip.MustParseAddr("255.255.255.255"), 1, 2), actShot, "multicast"},
		{"pod, multicast IPv6", bpf.HookFromPod, udp(t, pod6, multicast6, 1, 2), actShot, "multicast"},
		{"pod, link-local source", bpf.HookFromPod, udp(t, netip.MustParseAddr("fe80::a"), other6, 1, 2), actShot, "spoofed_source"},
		{"pod, not IP", bpf.HookFromPod, packet(t, ethernet(layers.EthernetTypeLinkLayerDiscovery), payload()), actShot, "unknown_protocol"},
		{"tunnel, not IP", bpf.HookFromOverlay, packet(t, ethernet(layers.EthernetTypeLinkLayerDiscovery), payload()), actShot, "unknown_protocol"},
		{"tunnel, multicast", bpf.HookFromOverlay, udp(t, remote6, multicast6, 1, 2), actShot, "multicast"},
		{"stack to tunnel, ARP", bpf.HookToOverlay, arp(t, layers.ARPRequest, gateway4, remote4), actShot, "unknown_protocol"},
		{"stack to tunnel, multicast", bpf.HookToOverlay, udp(t, gateway6, multicast6, 1, 2), actShot, "multicast"},
		{"answer of ARP to pod", bpf.HookToPod, arp(t, layers.ARPReply, gateway4, pod4), actOK, "other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKernel(t)
			action, _ := k.run(c.hook, c.in)
			wantAction(t, action, c.action)
			wantReasons(t, k, c.hook, c.reason)
		})
	}
}

func TestForeignTunnel(t *testing.T) {
	k := newKernel(t)
	in := udp(t, remote4, other4, 1, 2)
	action, _ := k.runProgram(k.withTunnelKey(k.programs[bpf.HookFromOverlay], testVNI+1, node4), in)
	wantAction(t, action, actShot)
	wantReasons(t, k, bpf.HookFromOverlay, "foreign_vni")
	action, _ = k.runProgram(k.programs[bpf.HookFromOverlay], in) // without any key
	wantAction(t, action, actShot)
	if got := k.counted(bpf.HookFromOverlay)["foreign_vni"]; got != 2 {
		t.Errorf("counted %d packets of foreign tunnels, want 2", got)
	}
}

// TestKeyIsKept: what from_pod has addressed, to_overlay leaves alone.
func TestKeyIsKept(t *testing.T) {
	k := newKernel(t)
	action, _ := k.runProgram(k.withTunnelKey(k.programs[bpf.HookToOverlay], testVNI, node4), udp(t, pod4, remote4, 1, 2))
	wantAction(t, action, actOK)
	if notes := k.notes(); len(notes) > 0 {
		t.Errorf("a packet that bypassed the stack was noted: %v", notes)
	}
}

// TestTruncated cuts packets behind their IP header, before the ports; none may be
// forwarded. (The kernel runs no program on a packet with less than an IP header.)
func TestTruncated(t *testing.T) {
	k := newKernel(t)
	for _, f := range families {
		whole := udp(t, f.pod, f.other, 1, 2)
		headers := 14 + 20 + 4 // with the ports; the rest of UDP is not needed
		if f.pod.Is6() {
			headers = 14 + 40 + 4
		}
		for n := headers - 4; n < headers; n++ {
			if action, _ := k.run(bpf.HookFromPod, whole[:n]); action != actShot {
				t.Errorf("%s: %d of %d bytes: action %d", f.name, n, len(whole), action)
			}
		}
		if action, _ := k.run(bpf.HookFromPod, whole[:headers]); action != actRedirect {
			t.Errorf("%s: with all headers: action %d", f.name, action)
		}
	}
	cut := extended(t, pod6, other6, 1, 2)
	action, _ := k.run(bpf.HookFromPod, cut[:14+40+8+2]) // within the second extension header
	wantAction(t, action, actShot)
	broken := udp(t, pod4, other4, 1, 2)
	broken[14] = 0x44 // a header of 16 bytes
	action, _ = k.run(bpf.HookFromPod, broken)
	wantAction(t, action, actShot)
	broken[14] = 0x65 // not version 4
	action, _ = k.run(bpf.HookFromPod, broken)
	wantAction(t, action, actShot)
}

// FuzzPackets gives arbitrary bytes to every hook: each must decide, and none may forward
// what does not come from the pod.
func FuzzPackets(f *testing.F) {
	f.Add(udp(f, pod4, other4, 1, 2))
	f.Add(udp(f, remote6, pod6, 1, 2))
	k := newKernel(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 14+40 || len(in) > 3000 {
			return // the kernel takes no such packet for a run
		}
		k.t = t
		for _, s := range bpf.Programs() {
			switch action, _ := k.run(s.Hook, in); action {
			case actOK, actShot, actRedirect:
			default:
				t.Errorf("%s: action %d", bpf.HookName(s.Hook), action)
			}
		}
	})
}

// transport returns a packet of a protocol whose header begins with ports, or of one
// that has none there.
func transport(t *testing.T, proto layers.IPProtocol, src, dst netip.Addr, sport, dport uint16) []byte {
	ports := binary.BigEndian.AppendUint16(nil, sport)
	ports = binary.BigEndian.AppendUint16(ports, dport)
	return packet(t, append(ip(src, dst, proto), gopacket.Payload(append(ports, make([]byte, 28)...)))...)
}
