// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func prefixes(all ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func addresses(all ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range all {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func goodNode() Node {
	return Node{
		Name:      "alpha-1",
		PodCIDRs:  prefixes("10.244.1.0/24", "fd00:1::/64"),
		Addresses: addresses("192.168.1.1", "fd64::1"),
	}
}

var (
	goodDevices = []deviceAddress{
		{"lo", 65536, netip.MustParsePrefix("127.0.0.1/8")},
		{"eth0", 1500, netip.MustParsePrefix("192.168.1.1/24")},
		{"eth0", 1500, netip.MustParsePrefix("fd64::1/64")},
	}
	goodMTUs = map[string]int{"lo": 65536, "eth0": 1500}
)

// wantError expects an error with all of the given parts, none when there are no parts.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if len(parts) == 0 && err != nil {
		t.Errorf("got error %v", err)
	}
	for _, p := range parts {
		if err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("got error %v, want one with %q", err, p)
		}
	}
}

func TestValidateNode(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Node)
		want   []string
	}{
		{"good", func(*Node) {}, nil},
		{"one family", func(n *Node) { n.PodCIDRs = n.PodCIDRs[1:] }, nil},
		{"no name", func(n *Node) { n.Name = "" }, []string{"metadata.name"}},
		{"no range", func(n *Node) { n.PodCIDRs = nil }, []string{"Node alpha-1", "spec.podCIDRs is empty", "--allocate-node-cidrs"}},
		{"range with host bits", func(n *Node) { n.PodCIDRs = prefixes("10.244.1.7/24") }, []string{"Node alpha-1", "spec.podCIDRs[0] 10.244.1.7/24", "write 10.244.1.0/24"}},
		{"tiny range", func(n *Node) { n.PodCIDRs = prefixes("10.244.1.0/31") }, []string{"too small"}},
		{"multicast range", func(n *Node) { n.PodCIDRs = prefixes("224.0.0.0/24") }, []string{"unicast"}},
		{"two IPv4 ranges", func(n *Node) { n.PodCIDRs = prefixes("10.1.0.0/24", "10.2.0.0/24") }, []string{"spec.podCIDRs[1] 10.2.0.0/24", "same family"}},
		{"zero range", func(n *Node) { n.PodCIDRs = []netip.Prefix{{}} }, []string{"spec.podCIDRs[0]", "not a valid prefix"}},
		{"mapped range", func(n *Node) { n.PodCIDRs = prefixes("::ffff:10.0.0.0/120") }, []string{"not a valid prefix"}},
		{"no address", func(n *Node) { n.Addresses = nil }, []string{"Node alpha-1", "InternalIP"}},
		{"zero address", func(n *Node) { n.Addresses = []netip.Addr{{}} }, []string{"status.addresses[0]"}},
		{"zero cluster range", func(n *Node) { n.ClusterPodCIDRs = []netip.Prefix{{}} }, []string{"cluster pod range 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := goodNode()
			c.change(&n)
			wantError(t, validateNode(n), c.want...)
		})
	}
}

func TestPlanNode(t *testing.T) {
	for _, c := range []struct {
		name    string
		opts    Options
		node    func(*Node)
		devices []deviceAddress
		mtu     int // of the plan; with want empty
		want    []string
	}{
		{name: "tunnels over IPv4", mtu: 1450},
		{name: "tunnels over IPv6", node: func(n *Node) { n.Addresses = n.Addresses[1:] }, mtu: 1430},
		{name: "MTU given", opts: Options{MTU: 1400}, mtu: 1400},
		{name: "MTU too large", opts: Options{MTU: 1451}, want: []string{"mtu 1451", "eth0", "leaves 1450"}},
		{name: "MTU too small for IPv6", opts: Options{MTU: 1279}, want: []string{"mtu 1279", "1280", "IPv6"}},
		{name: "uplink given", opts: Options{Uplink: "lo"}, mtu: 65536 - 50},
		{name: "uplink not there", opts: Options{Uplink: "eth9"}, want: []string{`uplink "eth9"`, "no such device"}},
		{name: "address on no device", node: func(n *Node) { n.Addresses = addresses("192.168.1.9") }, want: []string{"Node alpha-1", "192.168.1.9", "--node-ip"}},
		{
			name: "range overlaps the node's network", node: func(n *Node) { n.PodCIDRs = prefixes("fd00:1::/64", "192.168.0.0/16") },
			want: []string{"Node alpha-1", "spec.podCIDRs[1] 192.168.0.0/16", "overlaps address 192.168.1.1/24 of device eth0"},
		},
		{
			name: "range within another device's network", devices: append(slices.Clone(goodDevices), deviceAddress{"cni0", 1500, netip.MustParsePrefix("10.244.0.1/16")}),
			want: []string{"spec.podCIDRs[0] 10.244.1.0/24", "10.244.0.1/16", "cni0"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := goodNode()
			if c.node != nil {
				c.node(&n)
			}
			if c.devices == nil {
				c.devices = goodDevices
			}
			p, err := planNode(c.opts, n, c.devices, goodMTUs)
			wantError(t, err, c.want...)
			if err == nil && p.mtu != c.mtu {
				t.Errorf("MTU %d, want %d", p.mtu, c.mtu)
			}
		})
	}
	p, err := planNode(Options{}, goodNode(), goodDevices, goodMTUs)
	wantError(t, err)
	if want := addresses("10.244.1.1", "fd00:1::1"); !slices.Equal(p.gateways, want) {
		t.Errorf("gateways %v, want %v", p.gateways, want)
	}
}

func TestPlanRanges(t *testing.T) {
	peer := func(name, address string, ranges ...string) Peer {
		return Peer{Name: name, PodCIDRs: prefixes(ranges...), Addresses: addresses(address)}
	}
	good := peer("alpha-2", "192.168.1.2", "10.244.2.0/24", "fd00:2::/64")
	goodRows := map[string]string{"10.244.2.0/24": "192.168.1.2", "fd00:2::/64": "192.168.1.2"}
	for _, c := range []struct {
		name  string
		peers []Peer
		has   []string // rows of before
		rows  map[string]string
		want  []string
	}{
		{name: "good", peers: []Peer{good}, rows: goodRows},
		{name: "this node among them", peers: []Peer{good, peer("alpha-1", "192.168.1.1", "10.244.1.0/24")}, rows: goodRows},
		{name: "no range yet", peers: []Peer{good, peer("alpha-3", "192.168.1.3")}, rows: goodRows},
		{name: "no address of the tunnel's family", peers: []Peer{peer("alpha-3", "fd64::3", "10.244.3.0/24"), good}, rows: goodRows, want: []string{"peer alpha-3", "no IPv4 address"}},
		{name: "this node's address", peers: []Peer{peer("alpha-3", "192.168.1.1", "10.244.3.0/24"), good}, rows: goodRows, want: []string{"peer alpha-3", "192.168.1.1"}},
		{name: "overlaps this node", peers: []Peer{peer("alpha-3", "192.168.1.3", "10.244.0.0/16"), good}, rows: goodRows, want: []string{"peer alpha-3", "podCIDRs[0] 10.244.0.0/16", "overlaps 10.244.1.0/24 of this node alpha-1"}},
		{name: "contains a tunnel's end", peers: []Peer{peer("alpha-3", "192.168.1.3", "192.168.1.0/24"), good}, rows: goodRows, want: []string{"peer alpha-3", "contains the node address 192.168.1"}},
		{name: "bits beyond the prefix", peers: []Peer{peer("alpha-3", "192.168.1.3", "10.244.3.1/24"), good}, rows: goodRows, want: []string{"peer alpha-3", "write 10.244.3.0/24"}},
		{name: "overlaps another, first by name wins", peers: []Peer{peer("alpha-3", "192.168.1.3", "10.244.2.0/25"), good}, rows: goodRows, want: []string{"peer alpha-3", "overlaps 10.244.2.0/24 of peer alpha-2"}},
		{
			name: "overlaps another, the settled one wins", peers: []Peer{good, peer("alpha-3", "192.168.1.3", "10.244.2.0/25")}, has: []string{"10.244.2.0/25"},
			rows: map[string]string{"10.244.2.0/25": "192.168.1.3"}, want: []string{"peer alpha-2", "overlaps 10.244.2.0/25 of peer alpha-3"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := planNode(Options{}, goodNode(), goodDevices, goodMTUs)
			wantError(t, err)
			rows, err := planRanges(p, c.peers, func(r netip.Prefix) bool { return slices.Contains(c.has, r.String()) })
			wantError(t, err, c.want...)
			got := map[string]string{}
			for r, far := range maps.All(rows) {
				got[r.String()] = far.tunnel.String()
			}
			if diff := cmp.Diff(c.rows, got); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHostIfNames(t *testing.T) {
	name := hostIfOf("0123456789abcdef", "eth0")
	if !isHostIf(name) || len(name) > 15 {
		t.Errorf("%q is not taken for a name of ours", name)
	}
	if name == hostIfOf("0123456789abcdef", "eth1") || name == hostIfOf("0123456789abcdee", "eth0") {
		t.Error("two endpoints have one name")
	}
	for _, other := range []string{"", "eth0", "flannel.1", TunnelDevice, "fl0123456789ab0", "fl0123456789aX", "FL0123456789ab"} {
		if isHostIf(other) {
			t.Errorf("%q is taken for a name of ours", other)
		}
	}
}
