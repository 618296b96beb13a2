// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/fairlead-io/fairlead/bpf"
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func arp(t *testing.T, op uint16, sender, target netip.Addr) []byte {
	return packet(t,
		&layers.Ethernet{SrcMAC: podMAC, DstMAC: broadcast, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: op, SourceHwAddress: podMAC, SourceProtAddress: sender.AsSlice(),
			DstHwAddress: make([]byte, 6), DstProtAddress: target.AsSlice(),
		})
}

func TestARP(t *testing.T) {
	for _, c := range []struct {
		name   string
		in     []byte
		reason string
	}{
		{"for the gateway", arp(t, layers.ARPRequest, pod4, gateway4), "arp_reply"},
		{"for another pod", arp(t, layers.ARPRequest, pod4, other4), "foreign_neighbour"},
		{"announcement of itself", arp(t, layers.ARPRequest, pod4, pod4), "foreign_neighbour"},
		{"reply nobody asked for", arp(t, layers.ARPReply, pod4, gateway4), "foreign_neighbour"},
		{"in the name of another pod", arp(t, layers.ARPRequest, other4, gateway4), "spoofed_source"},
		{"cut off", arp(t, layers.ARPRequest, pod4, gateway4)[:30], "truncated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKernel(t)
			action, out := k.run(bpf.HookFromPod, c.in)
			wantReasons(t, k, bpf.HookFromPod, c.reason)
			if c.reason != "arp_reply" {
				wantAction(t, action, actShot)
				return
			}
			wantAction(t, action, actRedirect)
			want := packet(t,
				&layers.Ethernet{SrcMAC: routerMAC, DstMAC: podMAC, EthernetType: layers.EthernetTypeARP},
				&layers.ARP{
					AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
					Operation: layers.ARPReply, SourceHwAddress: routerMAC, SourceProtAddress: gateway4.AsSlice(),
					DstHwAddress: podMAC, DstProtAddress: pod4.AsSlice(),
				})
			wantBytes(t, out, want[:len(out)]) // a run does not pad as Ethernet does
		})
	}
}

type solicitation struct {
	source, target netip.Addr
	hopLimit       uint8
	option         bool
}

func (s solicitation) bytes(t *testing.T) []byte {
	head := &layers.IPv6{Version: 6, HopLimit: s.hopLimit, NextHeader: layers.IPProtocolICMPv6, SrcIP: s.source.AsSlice(), DstIP: net.ParseIP("ff02::1:ff00:1")}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	must(t, icmp.SetNetworkLayerForChecksum(head))
	message := &layers.ICMPv6NeighborSolicitation{TargetAddress: s.target.AsSlice()}
	if s.option {
		message.Options = layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: podMAC}}
	}
	return packet(t, &layers.Ethernet{SrcMAC: podMAC, DstMAC: net.HardwareAddr{0x33, 0x33, 0xff, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv6}, head, icmp, message)
}

func TestNeighbourDiscovery(t *testing.T) {
	linkLocal := netip.MustParseAddr("fe80::a")
	for _, c := range []struct {
		name   string
		in     []byte
		asker  netip.Addr
		reason string
	}{
		{"for the gateway", solicitation{pod6, gateway6, 255, true}.bytes(t), pod6, "nd_reply"},
		{"for the gateway, without an option", solicitation{pod6, gateway6, 255, false}.bytes(t), pod6, "nd_reply"},
		{"from a link-local address", solicitation{linkLocal, gateway6, 255, true}.bytes(t), linkLocal, "nd_reply"},
		{"for another pod", solicitation{pod6, other6, 255, true}.bytes(t), pod6, "foreign_neighbour"},
		{"whether its own address is free", solicitation{netip.IPv6Unspecified(), pod6, 255, false}.bytes(t), pod6, "foreign_neighbour"},
		{"from beyond a router", solicitation{pod6, gateway6, 254, true}.bytes(t), pod6, "foreign_neighbour"},
		{"in the name of another pod", solicitation{other6, gateway6, 255, true}.bytes(t), pod6, "spoofed_source"},
		{"cut off", solicitation{pod6, gateway6, 255, false}.bytes(t)[:70], pod6, "truncated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKernel(t)
			action, out := k.run(bpf.HookFromPod, c.in)
			wantReasons(t, k, bpf.HookFromPod, c.reason)
			if c.reason != "nd_reply" {
				wantAction(t, action, actShot)
				return
			}
			wantAction(t, action, actRedirect)
			head := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: gateway6.AsSlice(), DstIP: c.asker.AsSlice()}
			icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)}
			must(t, icmp.SetNetworkLayerForChecksum(head))
			wantBytes(t, out, packet(t, // the checksum is gopacket's
				&layers.Ethernet{SrcMAC: routerMAC, DstMAC: podMAC, EthernetType: layers.EthernetTypeIPv6}, head, icmp,
				&layers.ICMPv6NeighborAdvertisement{
					Flags: 0xe0, TargetAddress: gateway6.AsSlice(),
					Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: routerMAC}},
				}))
		})
	}
}

func wantAction(t *testing.T, got, want uint32) {
	t.Helper()
	if got != want {
		t.Errorf("action %d, want %d", got, want)
	}
}

// wantReasons expects a hook to have counted exactly one packet for each reason.
func wantReasons(t *testing.T, k *kernel, hook bpf.Hook, reasons ...string) {
	t.Helper()
	got := k.counted(hook)
	for _, r := range reasons {
		if got[r] != 1 || len(got) != len(reasons) {
			t.Errorf("%s counted %v, want one %v", bpf.HookName(hook), got, reasons)
			return
		}
	}
}

func wantBytes(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("packet:\n%s\nwant:\n%s", gopacket.NewPacket(got, layers.LayerTypeEthernet, gopacket.Default), gopacket.NewPacket(want, layers.LayerTypeEthernet, gopacket.Default))
	}
}
