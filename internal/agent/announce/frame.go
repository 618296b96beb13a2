// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"encoding/binary"
	"net/netip"
)

// A frame is what is on the wire after the preamble: Ethernet header and payload.

const (
	ethHeader  = 14
	etherARP   = 0x0806
	etherIPv6  = 0x86dd
	arpSize    = 28 // of IPv4 over Ethernet, RFC 826
	ipv6Header = 40
	protoICMP6 = 58
	typeNS     = 135 // RFC 4861, section 4.3
	typeNA     = 136 // section 4.4
	naSize     = 32  // with the target's link-layer address
)

type mac [6]byte

var (
	broadcast = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes  = netip.MustParseAddr("ff02::1")
)

func ethernet(dst, src mac, etherType uint16, payload int) []byte {
	b := make([]byte, 0, ethHeader+payload)
	b = append(append(b, dst[:]...), src[:]...)
	return binary.BigEndian.AppendUint16(b, etherType)
}

// question is a request for the link-layer address of target.
type question struct {
	target netip.Addr
	// from is the asking host's address: unspecified when it checks whether the address
	// is in use before it takes it.
	from netip.Addr
	mac  mac
}

// parseARP reads an ARP request for an IPv4 address over Ethernet.
func parseARP(frame []byte) (question, bool) {
	if len(frame) < ethHeader+arpSize {
		return question{}, false
	}
	p := frame[ethHeader:]
	if [8]byte(p[:8]) != [8]byte{0, 1, 8, 0, 6, 4, 0, 1} {
		return question{}, false
	}
	return question{
		mac: mac(p[8:14]), from: netip.AddrFrom4([4]byte(p[14:18])), target: netip.AddrFrom4([4]byte(p[24:28])),
	}, true
}

func arp(op byte, dst, src mac, sender netip.Addr, targetMAC mac, target netip.Addr) []byte {
	b := ethernet(dst, src, etherARP, arpSize)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, op)
	s, t := sender.As4(), target.As4()
	b = append(append(b, src[:]...), s[:]...)
	return append(append(b, targetMAC[:]...), t[:]...)
}

// answerARP is the reply to a request.
func answerARP(own mac, q question) []byte { return arp(2, q.mac, own, q.target, q.mac, q.from) }

// gratuitousARP tells all hosts of the segment where an address is, as a request and as a
// reply: some hosts learn only from the one, some only from the other (RFC 5227, section 3).
func gratuitousARP(own mac, a netip.Addr) [][]byte {
	return [][]byte{arp(1, broadcast, own, a, mac{}, a), arp(2, broadcast, own, a, broadcast, a)}
}

// parseNS reads a neighbour solicitation. What came from another segment is none.
func parseNS(frame []byte) (question, bool) {
	if len(frame) < ethHeader+ipv6Header+24 {
		return question{}, false
	}
	ip, icmp := frame[ethHeader:ethHeader+ipv6Header], frame[ethHeader+ipv6Header:]
	if binary.BigEndian.Uint16(frame[12:14]) != etherIPv6 || ip[0]>>4 != 6 || ip[6] != protoICMP6 || ip[7] != 255 || icmp[0] != typeNS || icmp[1] != 0 {
		return question{}, false
	}
	size := int(binary.BigEndian.Uint16(ip[4:6]))
	if size < 24 || size > len(icmp) || checksum(ip[8:24], ip[24:40], icmp[:size]) != 0 {
		return question{}, false
	}
	q := question{from: netip.AddrFrom16([16]byte(ip[8:24])), target: netip.AddrFrom16([16]byte(icmp[8:24])), mac: mac(frame[6:12])}
	for opts := icmp[24:size]; len(opts) >= 8; {
		n := int(opts[1]) * 8
		if n == 0 || n > len(opts) {
			return question{}, false
		}
		if opts[0] == 1 && n == 8 { // source link-layer address
			q.mac = mac(opts[2:8])
		}
		opts = opts[n:]
	}
	return q, true
}

// answerNS is the advertisement that answers a solicitation. Whoever checks whether the
// address is in use has no address yet, so that all nodes are told.
func answerNS(own mac, q question) []byte {
	if q.from.IsUnspecified() {
		return unsolicitedNA(own, q.target)
	}
	return na(own, q.mac, q.target, q.from, 0x60) // solicited, override
}

// unsolicitedNA tells all hosts of the segment where an address is.
func unsolicitedNA(own mac, a netip.Addr) []byte {
	return na(own, mac{0x33, 0x33, 0, 0, 0, 1}, a, allNodes, 0x20) // override
}

func na(own, dst mac, target, to netip.Addr, flags byte) []byte {
	b := ethernet(dst, own, etherIPv6, ipv6Header+naSize)
	s, d := target.As16(), to.As16()
	b = append(b, 0x60, 0, 0, 0, 0, naSize, protoICMP6, 255)
	b = append(append(b, s[:]...), d[:]...)
	icmp := append([]byte{typeNA, 0, 0, 0, flags, 0, 0, 0}, s[:]...)
	icmp = append(append(icmp, 2, 1), own[:]...) // target link-layer address
	binary.BigEndian.PutUint16(icmp[2:4], checksum(s[:], d[:], icmp))
	return append(b, icmp...)
}

// checksum is ICMPv6's (RFC 4443, section 2.3): 0 for a message whose own is right.
func checksum(src, dst, icmp []byte) uint16 {
	sum := uint32(len(icmp)) + protoICMP6
	for _, part := range [][]byte{src, dst, icmp} {
		for ; len(part) > 1; part = part[2:] {
			sum += uint32(binary.BigEndian.Uint16(part))
		}
		if len(part) == 1 {
			sum += uint32(part[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// solicitedNode is the multicast group that solicitations for an address are sent to
// (RFC 4291, section 2.7.1).
func solicitedNode(a netip.Addr) [16]byte {
	raw := a.As16()
	return [16]byte{0xff, 2, 11: 1, 12: 0xff, 13: raw[13], 14: raw[14], 15: raw[15]}
}
