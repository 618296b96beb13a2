// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/fairlead-io/fairlead/bpf"
)

// packet makes a packet that a hook may meet. There are few addresses and ports, so that
// packets often belong to one connection.
func (d *differential) packet(hook bpf.Hook) []byte {
	src, dst := d.ends(hook)
	switch d.r.IntN(14) {
	case 0:
		return d.echo(src, dst)
	case 1:
		return d.icmpError(src, dst)
	case 2:
		return d.other(src, dst)
	case 3, 6:
		return d.neighbour(src)
	case 4:
		if d.oneIn(3) {
			return d.fragment(d.optioned(src, dst))
		}
		return d.fragment(d.transport(src, dst))
	case 5:
		return d.optioned(src, dst)
	}
	return d.transport(src, dst)
}

// ends returns source and destination of one family.
func (d *differential) ends(hook bpf.Hook) (src, dst netip.Addr) {
	here, elsewhere := ownPods, append(farPods[:len(farPods):len(farPods)], ownPods...)
	if hook == bpf.HookFromOverlay || hook == bpf.HookFromUplink {
		here, elsewhere = farPods, ownPods
	}
	for {
		src, dst = pickOf(d, here), pickOf(d, elsewhere)
		switch d.r.IntN(16) {
		case 0:
			src = pickOf(d, moreOutside)
		case 1:
			dst = pickOf(d, moreOutside)
		case 2:
			dst = pickOf(d, slices.Concat(unusedOwn, gateways))
		case 3:
			src, dst = pickOf(d, ownPods), pickOf(d, ownPods)
		case 4:
			src, dst = dst, src
		case 5:
			src, dst = pickOf(d, farPods), pickOf(d, farPods)
		}
		if src.Is4() == dst.Is4() {
			return src, dst
		}
	}
}

var somePorts = []uint16{80, 256, 443, 1000, 1001, 5353, 40000, 40001}

// transport returns a TCP or UDP packet of a random length.
func (d *differential) transport(src, dst netip.Addr) []byte {
	sport, dport := pickOf(d, somePorts), pickOf(d, somePorts)
	body := gopacket.Payload(make([]byte, d.length(dst)))
	proto := layers.IPProtocolTCP
	flags := d.r.IntN(256)
	var layer gopacket.SerializableLayer = &layers.TCP{
		SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), Window: 100,
		FIN: flags&0xe1 == 1, SYN: flags&2 != 0, RST: flags&0xe4 == 4, PSH: flags&8 != 0, ACK: flags&16 != 0,
	}
	if tcp := layer.(*layers.TCP); d.r.IntN(4) == 0 {
		for range d.r.IntN(11) {
			tcp.Options = append(tcp.Options, layers.TCPOption{OptionType: 99, OptionLength: 4, OptionData: []byte{0, 0}})
		}
	}
	if d.r.IntN(2) == 0 {
		proto = layers.IPProtocolUDP
		layer = &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	}
	head := ip(src, dst, proto)
	switch h := head[1].(type) {
	case *layers.IPv4:
		h.TOS = uint8(d.r.IntN(4))
	case *layers.IPv6:
		h.TrafficClass = uint8(d.r.IntN(4))
	}
	return d.serialize(append(head, layer, body)...)
}

// length is that of a TCP payload: any, or one that fits into the way to dst just so, just
// not, or with a byte to spare.
func (d *differential) length(dst netip.Addr) int {
	if d.r.IntN(3) == 0 {
		headers := 40
		if dst.Is6() {
			headers = 60
		}
		if mtu := d.rangeOf(dst).MTU; mtu > headers {
			return mtu - headers + d.r.IntN(3) - 1
		}
	}
	return d.r.IntN(700)
}

// serialize leaves wrong checksums as they are: nobody on the way may look at them.
func (d *differential) serialize(all ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	must(d.t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, all...))
	return append([]byte(nil), buf.Bytes()...)
}

func (d *differential) icmp(src, dst netip.Addr, kind byte, rest []byte) []byte {
	proto := layers.IPProtocolICMPv4
	if src.Is6() {
		proto = layers.IPProtocolICMPv6
	}
	return d.serialize(append(ip(src, dst, proto), gopacket.Payload(append([]byte{kind, 0, 0, 0, 0, byte(d.r.IntN(3)), 0, 1}, rest...)))...)
}

func (d *differential) echo(src, dst netip.Addr) []byte {
	kind := byte(8 * d.r.IntN(2))
	if src.Is6() {
		kind = 128 + byte(d.r.IntN(2))
	}
	return d.icmp(src, dst, kind, make([]byte, d.r.IntN(100)))
}

// icmpError quotes a packet that went the other way, more or less of it.
func (d *differential) icmpError(src, dst netip.Addr) []byte {
	kinds := []byte{3, 4, 5, 11, 12, 9}
	if src.Is6() {
		kinds = []byte{1, 2, 3, 4, 100, 130}
	}
	quoted := d.transport(dst, src)[14:]
	return d.icmp(src, dst, pickOf(d, kinds), quoted[:d.r.IntN(len(quoted)+1)])
}

// other returns a packet of a protocol without a row, or none of IP.
func (d *differential) other(src, dst netip.Addr) []byte {
	ports := binary.BigEndian.AppendUint16(nil, pickOf(d, somePorts))
	ports = binary.BigEndian.AppendUint16(ports, pickOf(d, somePorts))
	protocol := pickOf(d, []layers.IPProtocol{layers.IPProtocolSCTP, layers.IPProtocolUDPLite, layers.IPProtocolGRE, layers.IPProtocolESP, layers.IPProtocol(d.r.IntN(256))})
	p := d.serialize(append(ip(src, dst, protocol), gopacket.Payload(append(ports, make([]byte, 40)...)))...)
	if d.r.IntN(4) == 0 {
		binary.BigEndian.PutUint16(p[12:], uint16(pickOf(d, []int{0x88cc, 0x8100, 0x0806, 0x86dd, 0x0800, 0x0100})))
	}
	return p
}

// neighbour returns a message of ARP or neighbour discovery.
func (d *differential) neighbour(src netip.Addr) []byte {
	if src.Is4() {
		target := pickOf(d, []netip.Addr{gateway4, gateway4, other4})
		p := d.serialize(ethernet(layers.EthernetTypeARP), &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: uint16(1 + d.r.IntN(8)/7), SourceHwAddress: podMAC, SourceProtAddress: src.AsSlice(),
			DstHwAddress: make([]byte, 6), DstProtAddress: target.AsSlice(),
		})
		return append(p, make([]byte, d.r.IntN(20))...)
	}
	target := pickOf(d, []netip.Addr{gateway6, gateway6, other6})
	body := append([]byte{byte(133 + d.r.IntN(5)), 0, 0, 0, 0, 0, 0, 0}, target.AsSlice()...)
	if d.r.IntN(2) == 0 {
		body[0] = 135
	}
	body = append(body, make([]byte, 8*d.r.IntN(4))...)
	head := ip(src, pickOf(d, []netip.Addr{netip.MustParseAddr("ff02::1:ff00:1"), gateway6}), layers.IPProtocolICMPv6)
	head[1].(*layers.IPv6).HopLimit = uint8(255 - d.r.IntN(6)/5)
	return d.serialize(append(head, gopacket.Payload(body))...)
}

// transportOf returns the offset of the transport header behind a plain IP header.
func transportOf(p []byte) int {
	if p[12] == 8 {
		return 34
	}
	return 54
}

// answerTo returns a packet with its ends exchanged.
func answerTo(p []byte) []byte {
	out := slices.Clone(p)
	size, at := 4, 26
	if p[12] != 8 {
		size, at = 16, 22
	}
	copy(out[at:], p[at+size:at+2*size])
	copy(out[at+size:], p[at:at+size])
	if t := transportOf(p); len(p) >= t+4 {
		copy(out[t:], p[t+2:t+4])
		copy(out[t+2:], p[t:t+2])
	}
	return out
}

// otherFlags gives a TCP packet, for some, others.
func (d *differential) otherFlags(p []byte) {
	t := transportOf(p)
	protocol := p[23]
	if t == 54 {
		protocol = p[20]
	}
	if protocol != 6 || len(p) <= t+13 {
		return
	}
	p[t+13] = pickOf(d, []byte{0x10, 0x10, 0x10, 0x10, 0x10, 0x18, 0x02, 0x12, 0x11, byte(d.r.IntN(256))})
}

// fragment makes a fragment of a packet: by the field of IPv4, or a header of IPv6.
func (d *differential) fragment(p []byte) []byte {
	if p[14]>>4 == 4 {
		binary.BigEndian.PutUint16(p[20:], pickOf(d, []uint16{0x2000, 0x2005, 0x0005, 0x4000}))
		return p
	}
	header := []byte{p[20], 0, 0, 0, 0, 0, 0, 1}
	binary.BigEndian.PutUint16(header[2:], pickOf(d, []uint16{0x0001, 0x0009, 0x0008, 0x0000}))
	p[20] = 44
	return append(p[:54:54], append(header, p[54:]...)...)
}

// optioned returns a packet with options or extension headers.
func (d *differential) optioned(src, dst netip.Addr) []byte {
	p := d.transport(src, dst)
	if p[14]>>4 == 4 {
		words := 1 + d.r.IntN(10)
		p[14] = 0x40 | byte(5+words)
		return append(p[:34:34], append(make([]byte, 4*words), p[34:]...)...)
	}
	for range 1 + d.r.IntN(8) {
		kind := pickOf(d, []byte{0, 43, 60, 51})
		header := make([]byte, 8*(1+d.r.IntN(3)))
		header[1] = byte(len(header)/8 - 1)
		if kind == 51 { // an authentication header counts otherwise
			header = make([]byte, 4*(3+d.r.IntN(4)))
			header[1] = byte(len(header)/4 - 2)
		}
		header[0], p[20] = p[20], kind
		p = append(p[:54:54], append(header, p[54:]...)...)
	}
	return p
}
