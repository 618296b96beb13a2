// SPDX-License-Identifier: Apache-2.0

package programs

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/fairlead-io/fairlead/bpf"
)

// The situation: a node with two pods of both families, whose device is lo, as a run meets
// packets there; and a pod of another node.
var (
	here4, there4, far4 = netip.MustParseAddr("10.244.1.2"), netip.MustParseAddr("10.244.1.3"), netip.MustParseAddr("10.244.2.2")
	here6, there6       = netip.MustParseAddr("fd00:244:1::2"), netip.MustParseAddr("fd00:244:1::3")
	outside4            = netip.MustParseAddr("192.0.2.1")
	node4, peer4        = netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	range4, farRange4   = netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("10.244.2.0/24")
	range6              = netip.MustParsePrefix("fd00:244:1::/64")
)

// loopback is the index of lo, the device of a run.
const loopback = 1

// ways are what is measured: a program and a packet that it meets again and again.
var ways = []struct {
	program, name string
	src, dst      netip.Addr
	udp           bool
}{
	{"from_pod", "established TCP, same node, IPv4", here4, there4, false},
	{"from_pod", "established TCP, same node, IPv6", here6, there6, false},
	{"from_pod", "established UDP, same node, IPv4", here4, there4, true},
	{"from_pod", "TCP to outside, IPv4", here4, outside4, false},
	{"from_uplink", "established TCP, native, IPv4", far4, here4, false},
	{"from_uplink", "TCP to the host, IPv4", outside4, node4, false},
	{"to_pod", "TCP from the stack, IPv4", outside4, here4, false},
	{"to_uplink", "TCP of the host, IPv4", node4, outside4, false},
}

func set(spec *ebpf.CollectionSpec) error {
	for name, value := range map[string]any{
		"cfg_flow_mask":      spec.Maps["fl_connections"].MaxEntries - 1,
		"cfg_uplink_ifindex": uint32(loopback),
		"cfg_tunnel_address": bpf.AddressOf(node4).Word,
		"cfg_pods4":          bpf.AddressOf(range4.Addr()).Word[3],
		"cfg_pods4_mask":     bpf.AddressOf(netip.MustParseAddr("255.255.255.0")).Word[3],
	} {
		v, ok := spec.Variables[name]
		if !ok {
			continue
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return nil
}

// fill writes the rows that an agent would.
func (l *Loaded) fill() error {
	put := func(table string, key, value any) error {
		if err := l.maps[table].Put(key, value); err != nil {
			return fmt.Errorf("map %s: %w", table, err)
		}
		return nil
	}
	errs := []error{
		put("fl_state", uint32(0), bpf.State{Seed: 0x5eed}),
		put("fl_peers", bpf.AddressOf(peer4), bpf.Peer{Known: 1}),
		put("fl_ranges", bpf.RangeKeyOf(range4), bpf.Range{Flags: bpf.RangeLocal}),
		put("fl_ranges", bpf.RangeKeyOf(range6), bpf.Range{Flags: bpf.RangeLocal}),
		put("fl_ranges", bpf.RangeKeyOf(farRange4), bpf.Range{Tunnel: bpf.AddressOf(peer4), Mtu: 1450}),
	}
	for _, pod := range []netip.Addr{here4, there4, here6, there6} {
		errs = append(errs, put("fl_endpoints", bpf.AddressOf(pod), bpf.Endpoint{Ifindex: loopback, Mac: [6]uint8{2, 0, 0, 0, 0, 10}}))
	}
	return errors.Join(errs...)
}

// packetOf makes a packet as it comes from a pod, or from the wire.
func packetOf(src, dst netip.Addr, udp bool) ([]byte, error) {
	// To the address of lo, or the packet would be for another machine.
	eth := &layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 0, 10}, DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}
	protocol := layers.IPProtocolTCP
	if udp {
		protocol = layers.IPProtocolUDP
	}
	var ip interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	} = &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	if src.Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	t := &layers.TCP{SrcPort: 40000, DstPort: 80, ACK: true, PSH: true, Window: 1000}
	u := &layers.UDP{SrcPort: 40000, DstPort: 9}
	var transport gopacket.SerializableLayer = t
	if udp {
		transport = u
	}
	if err := errors.Join(t.SetNetworkLayerForChecksum(ip), u.SetNetworkLayerForChecksum(ip)); err != nil {
		return nil, err
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, eth, ip, transport, gopacket.Payload("all hands on deck")); err != nil {
		return nil, fmt.Errorf("make a packet: %w", err)
	}
	return buf.Bytes(), nil
}
