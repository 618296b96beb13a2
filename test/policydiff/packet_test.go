// SPDX-License-Identifier: Apache-2.0

package policydiff

import (
	"encoding/binary"
	"net"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// tuple is a connection with the source's port, or an echo's identifier.
type tuple struct {
	Connection
	from uint16
}

// crafted is a packet of a connection: its first, or an answer to that.
func crafted(o tuple, answer bool, src, dst net.HardwareAddr) ([]byte, error) {
	if answer {
		o.Source, o.Dest = o.Dest, o.Source
	}
	eth := &layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: layers.EthernetTypeIPv4}
	var ip gopacket.SerializableLayer = &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocol(o.Protocol), SrcIP: o.Source.AsSlice(), DstIP: o.Dest.AsSlice()}
	if o.Source.Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocol(o.Protocol), SrcIP: o.Source.AsSlice(), DstIP: o.Dest.AsSlice()}
	}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, eth, ip, gopacket.Payload(segment(o, answer)))
	return buf.Bytes(), err
}

// segment is what is behind the IP header. Nobody looks at checksums.
func segment(o tuple, answer bool) []byte {
	const size = 32 // more than any header
	b := make([]byte, size)
	from, to := o.from, o.Port
	if answer {
		from, to = to, from
	}
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	switch o.Protocol {
	case unix.IPPROTO_TCP:
		const syn, ack = 2, 16
		b[12], b[13] = 5<<4, syn
		if answer {
			b[13] |= ack
		}
	case unix.IPPROTO_UDP:
		binary.BigEndian.PutUint16(b[4:], size)
	case unix.IPPROTO_SCTP:
		b[12] = 1 // INIT
		if answer {
			b[12]++
		}
	default:
		clear(b)
		b[0] = echo(o.Protocol, answer)
		binary.BigEndian.PutUint16(b[4:], o.from)
	}
	return b
}

// echo is the type of ICMP's question, or of its answer.
func echo(protocol uint8, answer bool) byte {
	switch {
	case protocol == unix.IPPROTO_ICMPV6 && answer:
		return 129
	case protocol == unix.IPPROTO_ICMPV6:
		return 128
	case answer:
		return 0
	}
	return 8
}
