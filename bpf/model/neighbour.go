// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/fairlead-io/fairlead/bpf"
)

func (w *World) answerARP(m Meeting, p []byte) Outcome {
	if len(p) < ethernet+28 {
		return drop(p, bpf.ReasonDropTruncated)
	}
	a := p[ethernet:]
	sender, target := netip.AddrFrom4([4]byte(a[14:])), netip.AddrFrom4([4]byte(a[24:]))
	if binary.BigEndian.Uint16(a) != 1 || binary.BigEndian.Uint16(a[2:]) != typeIPv4 || binary.BigEndian.Uint16(a[6:]) != 1 || !slices.Contains(w.Gateways, target) {
		return drop(p, bpf.ReasonDropNeighbour)
	}
	if !w.owns(m.Ifindex, sender) {
		return drop(p, bpf.ReasonDropSource)
	}
	out := slices.Clone(p)
	copy(out, a[8:14])
	copy(out[6:], w.Router[:])
	b := out[ethernet:]
	b[7] = 2
	copy(b[8:], w.Router[:])
	copy(b[14:], target.AsSlice())
	copy(b[18:], a[8:18])
	return redirect(out, bpf.ReasonARPReply)
}

func (w *World) answerND(m Meeting, p []byte) Outcome {
	const solicitation, advertisement = ethernet + header6 + 24, ethernet + header6 + 32
	if len(p) < solicitation {
		return drop(p, bpf.ReasonDropTruncated)
	}
	ip, nd := p[ethernet:], p[ethernet+header6:]
	target, sender := netip.AddrFrom16([16]byte(nd[8:])), netip.AddrFrom16([16]byte(ip[8:]))
	if nd[0] != 135 || nd[1] != 0 || ip[7] != 255 || !slices.Contains(w.Gateways, target) {
		return drop(p, bpf.ReasonDropNeighbour)
	}
	if !sender.IsLinkLocalUnicast() && !w.owns(m.Ifindex, sender) {
		return drop(p, bpf.ReasonDropSource)
	}
	out := make([]byte, advertisement)
	copy(out, p[6:12])
	copy(out[6:], w.Router[:])
	copy(out[12:], p[12:14])
	ip, nd = out[ethernet:], out[ethernet+header6:]
	ip[0], ip[5], ip[6], ip[7] = 0x60, 32, 58, 255
	copy(ip[8:], target.AsSlice())
	copy(ip[24:], sender.AsSlice())
	nd[0], nd[4] = 136, 0xe0
	copy(nd[8:], target.AsSlice())
	nd[24], nd[25] = 2, 1
	copy(nd[26:], w.Router[:])
	binary.BigEndian.PutUint16(nd[2:], checksum(ip[8:40], []byte{0, 0, 0, 32, 0, 0, 0, 58}, nd))
	return redirect(out, bpf.ReasonNDReply)
}

// checksum is that of the Internet (RFC 1071).
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
