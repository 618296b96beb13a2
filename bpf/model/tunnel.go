// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/fairlead-io/fairlead/bpf"
)

// outerLength is that of all headers of a tunnel packet before the inner IP header.
func (w *World) outerLength() int {
	if w.TunnelAddress.Is4() {
		return ethernet + header4 + 8 + 8 + ethernet
	}
	return ethernet + header6 + 8 + 8 + ethernet
}

// Seed is what the flows' hash is keyed with; the model needs it for source ports.
const Seed = 0x5eed

// outer returns a pod's packet in the tunnel to another node.
func (w *World) outer(p []byte, hop Hop, to netip.Addr, port uint16) []byte {
	ecn := p[ethernet+1] & 3
	if etherType(p) == typeIPv6 {
		ecn = p[ethernet+1] >> 4 & 3
	}
	length := w.outerLength()
	out := make([]byte, length, length+len(p))
	copy(out, hop.To[:])
	copy(out[6:], hop.From[:])
	ip := out[ethernet:]
	size := length - ethernet + len(p) - ethernet // of the outer IP packet
	header := header4
	if w.TunnelAddress.Is4() {
		binary.BigEndian.PutUint16(out[12:], typeIPv4)
		ip[0], ip[1], ip[6], ip[8], ip[9] = 0x45, ecn, 0x40, 64, 17
		binary.BigEndian.PutUint16(ip[2:], uint16(size))
		copy(ip[12:], w.TunnelAddress.AsSlice())
		copy(ip[16:], to.AsSlice())
		binary.BigEndian.PutUint16(ip[10:], checksum(ip[:header4]))
	} else {
		header = header6
		binary.BigEndian.PutUint16(out[12:], typeIPv6)
		ip[0], ip[1], ip[6], ip[7] = 0x60, ecn<<4, 17, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(size-header6))
		copy(ip[8:], w.TunnelAddress.AsSlice())
		copy(ip[24:], to.AsSlice())
	}
	udp := ip[header:]
	binary.BigEndian.PutUint16(udp, port)
	binary.BigEndian.PutUint16(udp[2:], w.TunnelPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(size-header))
	udp[8] = 8
	binary.BigEndian.PutUint32(udp[12:], w.VNI<<8)
	inner := udp[16:]
	copy(inner, w.Router[:])
	copy(inner[6:], w.Router[:])
	copy(inner[12:], p[12:14])
	return append(out, p[ethernet:]...)
}

// tunnelPacket says whether a packet is one of the tunnel to this node that the short way
// may take: it returns where the inner IP header is, and the other end.
func (w *World) tunnelPacket(p []byte) (inner int, sender netip.Addr, ok bool) {
	inner = w.outerLength()
	if len(p) < inner {
		return 0, sender, false
	}
	ip, header := p[ethernet:], header4
	var to netip.Addr
	if w.TunnelAddress.Is4() {
		sender, to = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:]))
		ok = etherType(p) == typeIPv4 && ip[0] == 0x45 && binary.BigEndian.Uint16(ip[6:])&0x3fff == 0 && ip[9] == 17 && ip[1]&3 != 3
	} else {
		header = header6
		sender, to = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
		ok = etherType(p) == typeIPv6 && ip[6] == 17 && ip[1]>>4&3 != 3
	}
	udp := ip[header:]
	ok = ok && to == w.TunnelAddress && binary.BigEndian.Uint16(udp[2:]) == w.TunnelPort &&
		binary.BigEndian.Uint32(udp[8:]) == 0x08000000 && binary.BigEndian.Uint32(udp[12:]) == w.VNI<<8
	return inner, sender, ok
}

// fromTunnel takes packets of connections that are remembered; the device takes others.
func (w *World) fromTunnel(m Meeting, p []byte, inner int, sender netip.Addr, now uint32) Outcome {
	q, ok := readPlain(p, inner, int(binary.BigEndian.Uint16(p[inner-2:])))
	if !ok {
		return quiet(p)
	}
	row := w.Table.find(q.flow)
	if row == nil || row.Epoch != w.Epoch || isAnother(row, q, now) {
		return quiet(p)
	}
	path := row.Path[q.direction]
	if path.Kind != bpf.PathPod || path.Flags&bpf.PathFromTunnel == 0 || path.From != m.Ifindex || row.Remote != bpf.AddressOf(sender) {
		return quiet(p)
	}
	if m.Segment != 0 {
		return quiet(p) // as toNode has it
	}
	saw(row, q, now)
	return redirect(withMACs(slices.Concat(p[inner-ethernet:inner], p[inner:]), path.ToMac, path.FromMac), bpf.ReasonLocal)
}
