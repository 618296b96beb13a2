// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/bpf"
)

// Bytes of headers.
const (
	ethernet = 14
	header4  = 20
	header6  = 40
)

// EtherTypes.
const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeIPv6 = 0x86dd
)

func etherType(p []byte) int { return int(binary.BigEndian.Uint16(p[12:])) }

// mostExtensions is how many IPv6 extension headers are followed.
const mostExtensions = 6

// parsed is an IP packet, and the flow that it belongs to.
type parsed struct {
	src, dst  netip.Addr
	id        uint32 // of the datagram that a fragment is of, as in memory
	fragment  bool
	icmpError bool
	icmpType  uint8
	flow      bpf.Flow
	direction int
	hasFlow   bool
	// The flow's ends as the packet goes, ports as they are in memory, and its protocol.
	flowSrc, flowDst netip.Addr
	sport, dport     uint16
	protocol         uint8
	tcp              uint8 // flags; a packet that ends before them is said to open a connection
}

// hasAnswers says whether packets that go the other way are of the same connection.
func (o *parsed) hasAnswers() bool {
	switch {
	case !o.hasFlow || o.icmpError:
		return false
	case o.protocol == unix.IPPROTO_ICMP:
		return o.icmpType == 8 || o.icmpType == 0
	case o.protocol == unix.IPPROTO_ICMPV6:
		return o.icmpType == 128 || o.icmpType == 129
	}
	return true
}

func hasPorts(protocol uint8) bool {
	switch protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_UDPLITE:
		return true
	}
	return false
}

// network is an IP header: what follows it is at offset.
type network struct {
	src, dst      netip.Addr
	protocol      uint8
	id            uint32
	offset        int
	fragment      bool
	laterFragment bool
}

// parse reads the IP packet at an offset; false when it ends within a header that it
// should have.
func parse(p []byte, offset int, v6 bool) (parsed, bool) {
	n, ok := readNetwork(p, offset, v6)
	if !ok {
		return parsed{}, false
	}
	out := parsed{src: n.src, dst: n.dst, id: n.id, fragment: n.fragment, protocol: n.protocol}
	if n.laterFragment {
		return out, true
	}
	sport, dport, ok := readPorts(p, n)
	if !ok {
		return parsed{}, false
	}
	if isICMP(n.protocol) {
		out.icmpType = p[n.offset]
	}
	if isICMP(n.protocol) && isError(n.protocol, p[n.offset]) {
		out.icmpError = true
		out.quote(p, n.offset+8, v6)
		return out, true
	}
	out.setFlow(n.src, n.dst, sport, dport, n.protocol)
	if n.protocol == unix.IPPROTO_TCP {
		out.tcp = 2
		if len(p) > n.offset+13 {
			out.tcp = p[n.offset+13]
		}
	}
	return out, true
}

// quote takes the flow from the packet that an ICMP error is about, which went the other
// way.
func (o *parsed) quote(p []byte, offset int, v6 bool) {
	n, ok := readNetwork(p, offset, v6)
	if !ok || n.laterFragment {
		return
	}
	if sport, dport, ok := readPorts(p, n); ok {
		o.setFlow(n.dst, n.src, dport, sport, n.protocol)
	}
}

func (o *parsed) setFlow(src, dst netip.Addr, sport, dport uint16, protocol uint8) {
	o.flow, o.direction = flowOf(src, dst, sport, dport, protocol)
	o.flowSrc, o.flowDst, o.sport, o.dport, o.protocol = src, dst, sport, dport, protocol
	o.hasFlow = true
}

// flowOf orders the ends of a flow as the programs do; ports as they are in memory.
func flowOf(src, dst netip.Addr, sport, dport uint16, protocol uint8) (bpf.Flow, int) {
	a, b := bpf.AddressOf(src), bpf.AddressOf(dst)
	swap := dport < sport
	for i := range a.Word {
		if a.Word[i] != b.Word[i] {
			swap = b.Word[i] < a.Word[i]
			break
		}
	}
	if swap {
		return bpf.Flow{A: b, B: a, A_port: dport, B_port: sport, Protocol: protocol}, 1
	}
	return bpf.Flow{A: a, B: b, A_port: sport, B_port: dport, Protocol: protocol}, 0
}

func readNetwork(p []byte, offset int, v6 bool) (network, bool) {
	if v6 {
		return readIPv6(p, offset)
	}
	if len(p) < offset+header4 {
		return network{}, false
	}
	h := p[offset:]
	length := int(h[0]&15) * 4
	if h[0]>>4 != 4 || length < header4 {
		return network{}, false
	}
	fragment := binary.BigEndian.Uint16(h[6:])
	return network{
		src: netip.AddrFrom4([4]byte(h[12:])), dst: netip.AddrFrom4([4]byte(h[16:])),
		protocol: h[9], id: uint32(binary.NativeEndian.Uint16(h[4:])), offset: offset + length,
		fragment: fragment&0x3fff != 0, laterFragment: fragment&0x1fff != 0,
	}, true
}

func readIPv6(p []byte, offset int) (network, bool) {
	if len(p) < offset+header6 || p[offset]>>4 != 6 {
		return network{}, false
	}
	h := p[offset:]
	n := network{
		src: netip.AddrFrom16([16]byte(h[8:])), dst: netip.AddrFrom16([16]byte(h[24:])),
		protocol: h[6], offset: offset + header6,
	}
	for range mostExtensions {
		length := 0
		switch n.protocol {
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS, unix.IPPROTO_FRAGMENT, unix.IPPROTO_AH:
		default:
			return n, true
		}
		if len(p) < n.offset+4 {
			return network{}, false
		}
		x := p[n.offset:]
		switch n.protocol {
		case unix.IPPROTO_FRAGMENT:
			length = 8
			n.id = 0
			if len(p) >= n.offset+8 {
				n.id = binary.NativeEndian.Uint32(x[4:])
			}
			field := binary.BigEndian.Uint16(x[2:])
			n.fragment = n.fragment || field&0xfff9 != 0
			n.laterFragment = n.laterFragment || field&0xfff8 != 0
		case unix.IPPROTO_AH:
			length = (int(x[1]) + 2) * 4
		default:
			length = (int(x[1]) + 1) * 8
		}
		n.protocol = x[0]
		n.offset += length
		if n.laterFragment {
			return n, true
		}
	}
	return n, true
}

func isICMP(protocol uint8) bool {
	return protocol == unix.IPPROTO_ICMP || protocol == unix.IPPROTO_ICMPV6
}

// isError says whether a message tells of a fault (RFC 792, RFC 4443).
func isError(protocol, kind uint8) bool {
	if protocol == unix.IPPROTO_ICMPV6 {
		return kind < 128
	}
	return kind == 3 || kind == 4 || kind == 5 || kind == 11 || kind == 12
}

// readPorts returns the ends of a flow within their hosts: ports, an echo's identifier, or
// zeros.
func readPorts(p []byte, n network) (sport, dport uint16, ok bool) {
	switch n.protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_UDPLITE:
		if len(p) < n.offset+4 {
			return 0, 0, false
		}
		return binary.NativeEndian.Uint16(p[n.offset:]), binary.NativeEndian.Uint16(p[n.offset+2:]), true
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		if len(p) < n.offset+8 {
			return 0, 0, false
		}
		id := binary.NativeEndian.Uint16(p[n.offset+4:])
		return id, id, true
	}
	return 0, 0, true
}

// plain is a packet that gets a row: TCP or UDP behind a plain IP header.
type plain struct {
	flow      bpf.Flow
	direction int
	tcp       uint8 // its flags
	headers   int   // bytes of IP and transport
}

// readPlain returns false for what gets no row.
func readPlain(p []byte, offset, kind int) (plain, bool) {
	if kind != typeIPv4 && kind != typeIPv6 {
		return plain{}, false
	}
	v6 := kind == typeIPv6
	n, ok := readNetwork(p, offset, v6)
	length := header4
	if v6 {
		length = header6
	}
	if !ok || n.fragment || n.offset != offset+length {
		return plain{}, false
	}
	var out plain
	needs := 8
	switch n.protocol {
	case unix.IPPROTO_TCP:
		needs = 20
	case unix.IPPROTO_UDP:
	default:
		return plain{}, false
	}
	if len(p) < n.offset+needs {
		return plain{}, false
	}
	if n.protocol == unix.IPPROTO_TCP {
		out.tcp = p[n.offset+13]
		out.headers = length + int(p[n.offset+12]>>4)*4
	} else {
		out.headers = length + 8
	}
	sport, dport, _ := readPorts(p, n)
	out.flow, out.direction = flowOf(n.src, n.dst, sport, dport, n.protocol)
	return out, true
}

func isMulticast(a netip.Addr) bool {
	return a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
