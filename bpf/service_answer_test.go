// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/fairlead-io/fairlead/bpf"
)

// TestRefused: who asks a Service without backends is told at once, from outside and from a pod.
func TestRefused(t *testing.T) {
	for _, f := range families {
		for _, c := range []struct {
			name   string
			client netip.Addr
			hook   bpf.Hook
		}{{"from outside", f.outside, bpf.HookFromUplink}, {"from a pod", f.pod, bpf.HookFromPod}} {
			t.Run(f.name+"/"+c.name, func(t *testing.T) {
				k := newServiceKernel(t, nil)
				k.put("fl_pools", testPool, bpf.Pool{})
				k.publish(unspecified(f), servicePort, bpf.Frontend{})
				send := func(p []byte) []byte {
					t.Helper()
					in := rewritten(p, make([]byte, 6), otherMAC) // to the MAC address of lo
					action, out := k.run(c.hook, in)
					wantAction(t, action, actRedirect)
					if !bytes.Equal(out[:6], in[6:12]) || !bytes.Equal(out[6:12], in[:6]) {
						t.Errorf("the answer goes from %x to %x", out[6:12], out[:6])
					}
					wantRightSum(t, out)
					return out
				}
				out := send(segment(t, c.client, f.node(), clientPort, servicePort, "S", ""))
				wantReset(t, out, c.client, f.node(), layers.TCP{RST: true, ACK: true, Seq: 0, Ack: 1001})
				about := udp(t, c.client, f.node(), clientPort, servicePort)
				out = send(about)
				wantUnreachable(t, out, about)
				if got := k.counted(c.hook); len(got) != 1 || got["service_refused"] != 2 {
					t.Errorf("counted %v, want two refusals", got)
				}
				// What the stack may have translated is left to it, and a reset is not answered.
				for _, flags := range []string{"A", "R"} {
					action, _ := k.run(c.hook, rewritten(segment(t, c.client, f.node(), clientPort, servicePort, flags, "heave to"), make([]byte, 6), otherMAC))
					wantAction(t, action, actOK)
				}
			})
		}
	}
}

// TestRefusedWithinAConnection: with direct answers any segment may be the first that a node meets.
func TestRefusedWithinAConnection(t *testing.T) {
	for _, f := range families {
		k := newServiceKernel(t, map[string]any{"cfg_dsr": uint8(1)})
		k.put("fl_pools", testPool, bpf.Pool{})
		k.publish(unspecified(f), servicePort, bpf.Frontend{})
		action, out := k.arrive(segment(t, f.outside, f.node(), clientPort, servicePort, "A", "heave to"))
		wantAction(t, action, actRedirect)
		wantRightSum(t, out)
		wantReset(t, out, f.outside, f.node(), layers.TCP{RST: true, Seq: 2000})
	}
}

func wantReset(t *testing.T, p []byte, client, service netip.Addr, want layers.TCP) {
	t.Helper()
	got := gopacket.NewPacket(p, layers.LayerTypeEthernet, gopacket.Default)
	s, ok := got.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if !ok || s.RST != want.RST || s.ACK != want.ACK || s.SYN || s.Seq != want.Seq || s.Ack != want.Ack ||
		s.SrcPort != servicePort || s.DstPort != clientPort {
		t.Fatalf("got %s, want a reset like %+v", got, want)
	}
	wantEnds(t, got, service, client)
}

func wantEnds(t *testing.T, p gopacket.Packet, src, dst netip.Addr) {
	t.Helper()
	from, to := p.NetworkLayer().NetworkFlow().Endpoints()
	if from.String() != src.String() || to.String() != dst.String() {
		t.Errorf("the packet is from %s to %s, want from %s to %s", from, to, src, dst)
	}
}

// wantUnreachable expects an error about a packet, which it quotes in part; the quoted
// datagram's checksum may be another.
func wantUnreachable(t *testing.T, p, about []byte) {
	t.Helper()
	got := gopacket.NewPacket(p, layers.LayerTypeEthernet, gopacket.Default)
	want := gopacket.NewPacket(about, layers.LayerTypeEthernet, gopacket.Default)
	src, dst := want.NetworkLayer().NetworkFlow().Endpoints()
	wantEnds(t, got, netip.MustParseAddr(dst.String()), netip.MustParseAddr(src.String()))
	headers, kind := 14+20, []byte{3, 3}
	if src.EndpointType() == layers.EndpointIPv6 {
		headers, kind = 14+40, []byte{1, 4}
	}
	quote := p[headers+8:]
	if !bytes.Equal(p[headers:headers+2], kind) || len(quote) != headers-14+8 || !bytes.Equal(quote[:len(quote)-2], about[14:14+len(quote)-2]) {
		t.Errorf("got %s\nwant an error %v that quotes\n%s", got, kind, want)
	}
}

// TestSaysWhatFits: packets that are too large for the way to the backend are answered with the
// size that is not; the answer's checksum is right whatever is quoted.
func TestSaysWhatFits(t *testing.T) {
	for _, f := range families {
		for _, c := range []struct {
			name     string
			settings map[string]any
			flags    uint8
			mtu      uint32
		}{
			{"tunnel", nil, 0, 1450},
			{"native", nil, bpf.RangeNative, 1450},
			{"direct answers, native", map[string]any{"cfg_dsr": uint8(1)}, bpf.RangeNative, 1400},
		} {
			t.Run(f.name+"/"+c.name, func(t *testing.T) {
				k := newServiceKernel(t, c.settings)
				k.choose(f.remote, backendPort, bpf.BackendPod)
				k.publish(unspecified(f), servicePort, bpf.Frontend{})
				for _, r := range []string{"10.2.0.0/24", "fd00:2::/64"} {
					k.put("fl_ranges", bpf.RangeKeyOf(netip.MustParsePrefix(r)), bpf.Range{Tunnel: bpf.AddressOf(node4), Mtu: 1450, Flags: c.flags})
				}
				in := segment(t, f.outside, f.node(), clientPort, servicePort, "S", string(make([]byte, 1420)))
				if f.pod.Is4() {
					in[14+6] = 0x40 // DF; the header's checksum is nobody's business here
				}
				action, out := k.arrive(in)
				wantAction(t, action, actRedirect)
				wantReasons(t, k, bpf.HookFromUplink, "service_too_big")
				wantRightSum(t, out)
				at := headersOf(f.pod)
				if mtu := binary.BigEndian.Uint32(out[at+4:]); mtu != c.mtu {
					t.Errorf("the client is told that %d bytes fit, want %d", mtu, c.mtu)
				}
				kind := []byte{3, 4}
				if f.pod.Is6() {
					kind = []byte{2, 0}
				}
				if !bytes.Equal(out[at:at+2], kind) || !bytes.Equal(out[at+8:at+8+at-14+16], in[14:at+16]) {
					t.Errorf("got %x, want an error %v that quotes %x", out[at:], kind, in[14:at+20])
				}
			})
		}
	}
}
