// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"encoding/binary"
	"net/netip"
)

// tunnelled puts a packet into the tunnel to this node, not always rightly.
func (d *differential) tunnelled(packet []byte) []byte {
	n := d.n
	o := newOuter(n.world.TunnelAddress, d.senderOf(packet), n.shape, packet)
	switch d.r.IntN(24) {
	case 0:
		binary.BigEndian.PutUint32(o.vxlan[4:], (n.shape.VNI^1)<<8)
	case 1:
		binary.BigEndian.PutUint16(o.udp[2:], n.shape.Port+1)
	case 2:
		o.ip[1] |= congested
	case 3:
		return newOuter(n.world.TunnelAddress, pickOf(d, n.ends), n.shape, o.packet).packet // in another
	case 4:
		return newOuter(n.ends[0], d.senderOf(packet), n.shape, packet).packet // to another node
	case 5:
		o.vxlan[0] = 0 // without a network identifier
	}
	return o.packet
}

// congested has the bits of a router's mark of either family (RFC 3168).
const congested = 0x33

// outer is a tunnel packet and its parts.
type outer struct{ packet, ip, udp, vxlan []byte }

func newOuter(to, from netip.Addr, sh shape, inner []byte) outer {
	header, kind := 20, uint16(0x0800)
	if to.Is6() {
		header, kind = 40, 0x86dd
	}
	p := make([]byte, 14+header+16, 14+header+16+len(inner))
	binary.BigEndian.PutUint16(p[12:], kind)
	o := outer{ip: p[14:], udp: p[14+header:], vxlan: p[14+header+8:]}
	if to.Is4() {
		o.ip[0], o.ip[8], o.ip[9] = 0x45, 64, 17
		copy(o.ip[12:], from.AsSlice())
		copy(o.ip[16:], to.AsSlice())
	} else {
		o.ip[0], o.ip[6], o.ip[7] = 0x60, 17, 64
		copy(o.ip[8:], from.AsSlice())
		copy(o.ip[24:], to.AsSlice())
	}
	binary.BigEndian.PutUint16(o.udp[2:], sh.Port)
	o.vxlan[0] = 8
	binary.BigEndian.PutUint32(o.vxlan[4:], sh.VNI<<8)
	o.packet = append(p, inner...)
	return o
}
