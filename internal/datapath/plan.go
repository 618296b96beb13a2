// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// nodePlan is what follows from a Node and the devices of the machine.
type nodePlan struct {
	node      Node
	native    bool
	uplink    string
	nets      []netip.Prefix // addresses on the uplink, with the lengths of their networks
	mtu       int            // of pods' packets
	linkMTU   int            // of pods' links, and of the uplink
	tunnelMTU int            // of packets in the tunnel
	tunnel4   bool           // tunnels run over IPv4
	gateways  []netip.Addr   // in the order of node.PodCIDRs
}

// far is how pods of another node are reached.
type far struct {
	tunnel netip.Addr // the other node's end
	native bool
	// via is the next hop of the host's own route, invalid when that is the device's, or
	// when the route is not ours to keep.
	via netip.Addr
	mtu int // of a pod's packet, bytes
}

// Bytes that a tunnel adds to an IP packet: Ethernet 14, VXLAN 8, UDP 8, outer IP 20 or 40.
const (
	overhead4 = 50
	overhead6 = 70
)

// minMTU6 is the least that IPv6 needs of a link (RFC 8200, section 5).
const minMTU6 = 1280

const minMTU4 = 576

// deviceAddress is an address on a device of the machine.
type deviceAddress struct {
	device string
	mtu    int
	prefix netip.Prefix // the address with the length of its network
}

// validateNode refuses a Node that no machine could have.
func validateNode(n Node) error {
	if n.Name == "" {
		return errors.New("Node: metadata.name is empty")
	}
	if len(n.PodCIDRs) == 0 {
		return fmt.Errorf("Node %s: spec.podCIDRs is empty: the cluster has assigned it no range of pod addresses (kube-controller-manager does with --allocate-node-cidrs)", n.Name)
	}
	for i, p := range n.PodCIDRs {
		if err := validateRange(p); err != nil {
			return fmt.Errorf("Node %s: spec.podCIDRs[%d] %s: %w", n.Name, i, p, err)
		}
		for j, q := range n.PodCIDRs[:i] {
			if p.Addr().Is4() == q.Addr().Is4() {
				return fmt.Errorf("Node %s: spec.podCIDRs[%d] %s is of the same family as spec.podCIDRs[%d] %s: a node has at most one range of each", n.Name, i, p, j, q)
			}
		}
	}
	if len(n.Addresses) == 0 {
		return fmt.Errorf("Node %s: status.addresses has no InternalIP: the tunnel has no end", n.Name)
	}
	for i, a := range n.Addresses {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("Node %s: status.addresses[%d] %s is not a usable address", n.Name, i, a)
		}
	}
	for i, p := range n.ClusterPodCIDRs {
		if !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("Node %s: cluster pod range %d (%s) is not a valid prefix", n.Name, i, p)
		}
	}
	return nil
}

// validateRange says what is wrong with a range of pod addresses of one node.
func validateRange(p netip.Prefix) error {
	switch {
	case !p.IsValid() || p.Addr().Is4In6():
		return errors.New("is not a valid prefix")
	case p != p.Masked():
		return fmt.Errorf("has bits beyond its prefix length: write %s", p.Masked())
	case p.Addr().BitLen()-p.Bits() < 2:
		return errors.New("is too small: it must hold a gateway and pods (at least four addresses)")
	case p.Bits() == 0 || p.Addr().IsMulticast() || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast():
		return errors.New("is not a range of unicast addresses")
	}
	return nil
}

// gatewayOf returns the first host address of a range.
func gatewayOf(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }

// tunnelAddress returns the address that a node's tunnel ends at, invalid for none.
func tunnelAddress(addresses []netip.Addr, v4 bool) netip.Addr {
	for _, a := range addresses {
		if a.Is4() == v4 {
			return a
		}
	}
	return netip.Addr{}
}

// planNode decides uplink, MTU and gateways, and refuses ranges that the machine's own
// networks overlap. The addresses are those of all devices but ours.
func planNode(opts Options, n Node, devices []deviceAddress, mtus map[string]int) (nodePlan, error) {
	p := nodePlan{node: n, uplink: opts.Uplink, mtu: opts.MTU, native: opts.Routing == RoutingNative}
	p.tunnel4 = tunnelAddress(n.Addresses, true).IsValid()
	for i, r := range n.PodCIDRs {
		for _, d := range devices {
			if d.prefix.Overlaps(r) {
				return p, fmt.Errorf("Node %s: spec.podCIDRs[%d] %s overlaps address %s of device %s: give the cluster a range of pod addresses that no network of its nodes uses", n.Name, i, r, d.prefix, d.device)
			}
		}
		p.gateways = append(p.gateways, gatewayOf(r))
	}
	if p.uplink == "" {
		a := tunnelAddress(n.Addresses, p.tunnel4)
		i := slices.IndexFunc(devices, func(d deviceAddress) bool { return d.prefix.Addr() == a })
		if i < 0 {
			return p, fmt.Errorf("Node %s: its address %s is on no device of this machine: correct the kubelet's --node-ip, or set the uplink", n.Name, a)
		}
		p.uplink = devices[i].device
	}
	mtu, ok := mtus[p.uplink]
	if !ok {
		return p, fmt.Errorf("uplink %q: there is no such device", p.uplink)
	}
	for _, d := range devices {
		if d.device == p.uplink {
			p.nets = append(p.nets, d.prefix)
		}
	}
	slices.SortFunc(p.nets, netip.Prefix.Compare)
	p.linkMTU = mtu
	p.tunnelMTU = mtu - p.overhead()
	largest := p.tunnelMTU
	if p.native {
		largest = mtu
	}
	if p.mtu == 0 {
		p.mtu = largest
	}
	p.tunnelMTU = min(p.tunnelMTU, p.mtu)
	return p, checkMTU(p, mtu, largest)
}

// nodeAddress returns the node's address of a family: its own, else that on the uplink, else
// an invalid one.
func (p nodePlan) nodeAddress(v4 bool) netip.Addr {
	if a := tunnelAddress(p.node.Addresses, v4); a.IsValid() {
		return a
	}
	for _, n := range p.nets {
		if n.Addr().Is4() == v4 && !n.Addr().IsLinkLocalUnicast() {
			return n.Addr()
		}
	}
	return netip.Addr{}
}

func (p nodePlan) overhead() int {
	if p.tunnel4 {
		return overhead4
	}
	return overhead6
}

func checkMTU(p nodePlan, uplinkMTU, largest int) error {
	least, family := minMTU4, "IPv4"
	for _, r := range p.node.PodCIDRs {
		if r.Addr().Is6() {
			least, family = minMTU6, "IPv6"
		}
	}
	if p.mtu < least {
		return fmt.Errorf("mtu %d is less than the %d bytes that %s needs: device %s has MTU %d, give it a larger one", p.mtu, least, family, p.uplink, uplinkMTU)
	}
	if p.mtu > largest {
		how := "a pod's packet in a tunnel"
		if p.native {
			how = "a pod's packet"
		}
		return fmt.Errorf("mtu %d does not fit: device %s has MTU %d, which leaves %d for %s; set mtu to that or to 0", p.mtu, p.uplink, uplinkMTU, largest, how)
	}
	return nil
}

// way decides how pods of a peer's range are reached. Without a tunnel the peer needs an
// address of the range's family to be the next hop of, or the network in between does.
func (p nodePlan) way(peer Peer, r netip.Prefix) far {
	f := far{tunnel: tunnelAddress(peer.Addresses, p.tunnel4)}
	hop := tunnelAddress(peer.Addresses, r.Addr().Is4())
	f.native = p.native && hop.IsValid()
	most, overhead := p.linkMTU, p.overhead()
	if f.native {
		overhead = 0
	}
	if peer.PathMTU > 0 {
		most = min(most, peer.PathMTU)
	}
	f.mtu = min(p.mtu, most-overhead)
	if f.native && slices.ContainsFunc(p.nets, func(n netip.Prefix) bool { return n.Contains(hop) }) {
		f.via = hop
	}
	return f
}

// planRanges decides the rows of peers. A peer that is wrong, or that claims addresses of
// another, is left out and named in the error; of two that overlap, one that has its rows
// already is kept, else the first by name.
func planRanges(p nodePlan, peers []Peer, has func(netip.Prefix) bool) (map[netip.Prefix]far, error) {
	sorted := slices.Clone(peers)
	settled := func(one Peer) bool {
		return len(one.PodCIDRs) > 0 && !slices.ContainsFunc(one.PodCIDRs, func(r netip.Prefix) bool { return !has(r) })
	}
	slices.SortStableFunc(sorted, func(a, b Peer) int {
		if x, y := settled(a), settled(b); x != y {
			if x {
				return -1
			}
			return 1
		}
		return compareStrings(a.Name, b.Name)
	})
	rows, owner := map[netip.Prefix]far{}, map[netip.Prefix]string{}
	var errs []error
	for _, peer := range sorted {
		if peer.Name == p.node.Name {
			continue
		}
		if err := p.checkPeer(peer, owner); err != nil {
			errs = append(errs, fmt.Errorf("peer %s: %w", peer.Name, err))
			continue
		}
		for _, r := range peer.PodCIDRs {
			rows[r], owner[r] = p.way(peer, r), peer.Name
		}
	}
	return rows, errors.Join(errs...)
}

func compareStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (p nodePlan) checkPeer(peer Peer, owner map[netip.Prefix]string) error {
	far := tunnelAddress(peer.Addresses, p.tunnel4)
	if len(peer.PodCIDRs) > 0 && !far.IsValid() {
		return fmt.Errorf("it has no %s address, but tunnels of node %s run over that family", familyName(p.tunnel4), p.node.Name)
	}
	if slices.Contains(p.node.Addresses, far) {
		return fmt.Errorf("its address %s is that of this node %s", far, p.node.Name)
	}
	for i, r := range peer.PodCIDRs {
		if err := validateRange(r); err != nil {
			return fmt.Errorf("podCIDRs[%d] %s: %w", i, r, err)
		}
		for _, own := range p.node.PodCIDRs {
			if r.Overlaps(own) {
				return fmt.Errorf("podCIDRs[%d] %s overlaps %s of this node %s", i, r, own, p.node.Name)
			}
		}
		for other, name := range owner {
			if r.Overlaps(other) {
				return fmt.Errorf("podCIDRs[%d] %s overlaps %s of peer %s", i, r, other, name)
			}
		}
		for _, a := range slices.Concat(p.node.Addresses, peer.Addresses) {
			if r.Contains(a) {
				return fmt.Errorf("podCIDRs[%d] %s contains the node address %s", i, r, a)
			}
		}
	}
	return nil
}

func familyName(v4 bool) string {
	if v4 {
		return "IPv4"
	}
	return "IPv6"
}
