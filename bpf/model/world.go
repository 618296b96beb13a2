// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"net/netip"

	"github.com/fairlead-io/fairlead/bpf"
)

// MAC is a hardware address.
type MAC = [6]byte

// Endpoint is a pod of the node.
type Endpoint struct {
	Ifindex uint32
	MAC     MAC
	// Ingress and Egress are the pod's rulesets; 0: none.
	Ingress, Egress uint64
}

// Range is a range of pod addresses: the node's own, or one of another node.
type Range struct {
	Local  bool
	Native bool
	Tunnel netip.Addr
	MTU    int // of IP packets, bytes
}

// Hop is what the kernel's routes say of a destination.
type Hop struct {
	Ifindex  uint32
	To, From MAC
	// Resolved tells that the MAC address is known.
	Resolved bool
}

// World is all that a decision depends on.
type World struct {
	Gateways      []netip.Addr
	Pods          []netip.Prefix // the node's ranges
	Router        MAC
	Uplink        uint32 // index; 0: no Ethernet device
	VNI           uint32
	TunnelAddress netip.Addr
	TunnelPort    uint16

	Endpoints map[netip.Addr]Endpoint
	Ranges    map[netip.Prefix]Range
	Peers     map[netip.Addr]bool
	// TunnelHops and NativeHops are the ways to tunnel ends and to networks, which do not
	// overlap; none: no route.
	TunnelHops map[netip.Addr]Hop
	NativeHops map[netip.Prefix]Hop

	Policies Policies
	// Hosts are the node's own addresses.
	Hosts map[netip.Addr]bool
	// Fragments are the ports of datagrams whose first fragment a policed pod has sent, or got.
	Fragments map[bpf.FragmentKey]bpf.Fragment

	Epoch uint32
	// Noted are the flows that go via the stack.
	Noted map[bpf.Flow]bool
	Table Table

	judged judgement // of the packet in hand
}

// nativeHop returns the way to an address without a tunnel.
func (w *World) nativeHop(a netip.Addr) (Hop, bool) {
	for p, hop := range w.NativeHops {
		if p.Contains(a) {
			return hop, true
		}
	}
	return Hop{}, false
}

// rangeOf returns the longest range that has an address.
func (w *World) rangeOf(a netip.Addr) (netip.Prefix, Range, bool) {
	best := netip.Prefix{}
	for p := range w.Ranges {
		if p.Contains(a) && (!best.IsValid() || p.Bits() > best.Bits()) {
			best = p
		}
	}
	return best, w.Ranges[best], best.IsValid()
}

func (w *World) isPod(a netip.Addr) bool {
	if _, ok := w.Endpoints[a]; ok {
		return true
	}
	_, r, ok := w.rangeOf(a)
	return ok && !r.Local
}

func (w *World) owns(ifindex uint32, a netip.Addr) bool {
	ep, ok := w.Endpoints[a]
	return ok && ep.Ifindex == ifindex
}

// Hash is flow_hash of connection.h.
func Hash(f bpf.Flow, seed uint64) uint32 {
	var b [40]byte
	for i := range 4 {
		binary.NativeEndian.PutUint32(b[4*i:], f.A.Word[i])
		binary.NativeEndian.PutUint32(b[16+4*i:], f.B.Word[i])
	}
	binary.NativeEndian.PutUint16(b[32:], f.A_port)
	binary.NativeEndian.PutUint16(b[34:], f.B_port)
	b[36] = f.Protocol
	h := seed
	for i := 0; i < len(b); i += 8 {
		h = (h ^ binary.NativeEndian.Uint64(b[i:])) * 0x9E3779B97F4A7C15
		h ^= h >> 32
	}
	return uint32(h)
}
