// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

var (
	ours    = mac{2, 0, 0, 0, 0, 1}
	theirs  = mac{2, 0, 0, 0, 0, 2}
	client4 = netip.MustParseAddr("192.0.2.7")
	client6 = netip.MustParseAddr("2001:db8::7")
)

// request4 and request6 are what a client sends, made by another hand than ours.
func request4(t testing.TB, op uint16) []byte {
	return serialize(t, &layers.Ethernet{SrcMAC: theirs[:], DstMAC: broadcast[:], EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
			SourceHwAddress: theirs[:], SourceProtAddress: client4.AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: vip4.AsSlice(),
		})
}

func request6(t testing.TB, hops uint8, from netip.Addr) []byte {
	group := solicitedNode(vip6)
	ip := &layers.IPv6{Version: 6, HopLimit: hops, NextHeader: layers.IPProtocolICMPv6, SrcIP: from.AsSlice(), DstIP: group[:]}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	ns := &layers.ICMPv6NeighborSolicitation{TargetAddress: vip6.AsSlice()}
	if !from.IsUnspecified() {
		ns.Options = layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: theirs[:]}}
	}
	return serialize(t, &layers.Ethernet{SrcMAC: theirs[:], DstMAC: net.HardwareAddr{0x33, 0x33, 0xff, 0, 1, 0}, EthernetType: layers.EthernetTypeIPv6}, ip, icmp, ns)
}

func serialize(t testing.TB, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestARP(t *testing.T) {
	q, ok := parseARP(request4(t, layers.ARPRequest))
	if !ok || q != (question{target: vip4, from: client4, mac: theirs}) {
		t.Fatalf("the request reads %+v, %v", q, ok)
	}
	if _, ok := parseARP(request4(t, layers.ARPReply)); ok {
		t.Error("a reply is taken for a request")
	}
	p := gopacket.NewPacket(answerARP(ours, q), layers.LayerTypeEthernet, gopacket.Default)
	eth, a := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet), p.Layer(layers.LayerTypeARP).(*layers.ARP)
	if mac(eth.DstMAC) != theirs || mac(eth.SrcMAC) != ours || a.Operation != layers.ARPReply || mac(a.SourceHwAddress) != ours ||
		netip.AddrFrom4([4]byte(a.SourceProtAddress)) != vip4 || netip.AddrFrom4([4]byte(a.DstProtAddress)) != client4 {
		t.Errorf("the answer reads %v", p)
	}
}

func TestNeighbourDiscovery(t *testing.T) {
	q, ok := parseNS(request6(t, 255, client6))
	if !ok || q != (question{target: vip6, from: client6, mac: theirs}) {
		t.Fatalf("the solicitation reads %+v, %v", q, ok)
	}
	if _, ok := parseNS(request6(t, 64, client6)); ok {
		t.Error("a solicitation of another segment is taken")
	}
	bad := request6(t, 255, client6)
	bad[len(bad)-1] ^= 1
	if _, ok := parseNS(bad); ok {
		t.Error("a wrong checksum is taken")
	}
	for name, c := range map[string]struct {
		from netip.Addr
		to   netip.Addr
		sol  bool
	}{"from a neighbour": {client6, client6, true}, "from one who checks for duplicates": {netip.IPv6Unspecified(), allNodes, false}} {
		q, _ := parseNS(request6(t, 255, c.from))
		p := gopacket.NewPacket(answerNS(ours, q), layers.LayerTypeEthernet, gopacket.Default)
		ip := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		na, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
		if !ok || ip.HopLimit != 255 || !ip.DstIP.Equal(c.to.AsSlice()) || na.Solicited() != c.sol || !na.Override() || na.Router() ||
			!na.TargetAddress.Equal(vip6.AsSlice()) || mac(na.Options[0].Data) != ours {
			t.Errorf("%s: the answer reads %v", name, p)
		}
		raw := answerNS(ours, q)
		if checksum(raw[ethHeader+8:ethHeader+24], raw[ethHeader+24:ethHeader+40], raw[ethHeader+ipv6Header:]) != 0 {
			t.Errorf("%s: the answer's checksum is wrong", name)
		}
	}
}

func FuzzRequests(f *testing.F) {
	f.Add(request4(f, layers.ARPRequest))
	f.Add(request6(f, 255, client6))
	f.Fuzz(func(_ *testing.T, frame []byte) {
		if q, ok := parseARP(frame); ok {
			answerARP(ours, q)
		}
		if q, ok := parseNS(frame); ok {
			answerNS(ours, q)
		}
	})
}
