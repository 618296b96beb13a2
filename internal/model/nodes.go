// SPDX-License-Identifier: Apache-2.0

package model

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/internal/state"
)

// claim is a pod range that a node keeps.
type claim struct {
	prefix netip.Prefix
	node   string
	field  string
}

// builder holds what is looked up across nodes while the model is built.
type builder struct {
	out     Nodes
	cluster []netip.Prefix
	claims  map[int]map[netip.Prefix]claim // by prefix length, so that equal lengths cost one lookup
	hosts   []host                         // every node's addresses, sorted
}

type host struct {
	addr netip.Addr
	node string
}

// BuildNodes computes the resources of all nodes. clusterPodCIDRs are all ranges
// that pods of the cluster may have; empty means that the cluster does not say, and
// then the nodes' own ranges stand for it.
//
// Where two nodes claim overlapping ranges the older node keeps its own (of equals,
// the first by name) and the other is a finding.
func BuildNodes(clusterPodCIDRs []string, nodes []Node) Nodes {
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b Node) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.Name, b.Name))
	})
	b := &builder{claims: map[int]map[netip.Prefix]claim{}, out: Nodes{
		Local:    make(map[string]state.Resource, len(nodes)),
		PodCIDRs: make(map[string][]string, len(nodes)),
		Findings: map[string][]Finding{},
	}}
	b.addCluster(clusterPodCIDRs)

	addresses := make(map[string][]string, len(nodes))
	for _, n := range nodes {
		addresses[n.Name] = b.addresses(n)
	}
	slices.SortFunc(b.hosts, func(x, y host) int { return x.addr.Compare(y.addr) })
	for _, n := range nodes {
		b.out.PodCIDRs[n.Name] = b.podCIDRs(n)
	}
	cluster := b.clusterRanges()
	b.out.Addresses = make(map[netip.Addr]string, len(b.hosts))
	for _, h := range b.hosts {
		b.out.Addresses[h.addr] = h.node
	}
	for _, text := range cluster {
		b.out.Ranges = append(b.out.Ranges, netip.MustParsePrefix(text)) // we have just written it
	}
	for _, n := range nodes {
		b.encode(n, addresses[n.Name], cluster)
	}
	slices.SortFunc(b.out.Peers, func(x, y state.Resource) int { return strings.Compare(x.Name, y.Name) })
	return b.out
}

func (b *builder) find(node string, f Finding) {
	b.out.Findings[node] = append(b.out.Findings[node], f)
}

func nodeObject(name string) string { return "Node " + name }

func (b *builder) addCluster(cidrs []string) {
	for i, text := range cidrs {
		p, err := parsePrefix(text)
		if err != nil {
			b.find("", Finding{
				Object:  "controller flag --cluster-pod-cidrs",
				Field:   fmt.Sprintf("[%d]", i),
				Message: fmt.Sprintf("%q is not an address range: %v", text, err),
				Fix:     "write it as address/bits, e.g. 10.244.0.0/16",
			})
			continue
		}
		b.cluster = append(b.cluster, p)
	}
}

// parsePrefix reads a range in canonical form: bits behind the prefix are cleared.
func parsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("it cannot be read as address/bits")
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("it is an IPv4 range in IPv6 notation")
	}
	return p.Masked(), nil
}

// addresses picks one InternalIP of each family. Others that cannot be used are of
// no account as long as one can.
func (b *builder) addresses(n Node) []string {
	var out, useless []string
	var has [2]bool
	for _, text := range n.InternalIPs {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() {
			useless = append(useless, text)
			continue
		}
		b.hosts = append(b.hosts, host{a, n.Name})
		if f := family(a); !has[f] {
			has[f] = true
			out = append(out, a.String())
		}
	}
	if len(out) == 0 {
		message := "there is no InternalIP, so that no other node can reach its pods"
		if len(useless) > 0 {
			message = fmt.Sprintf("no InternalIP among %q can be reached by other nodes", useless)
		}
		b.find(n.Name, Finding{nodeObject(n.Name), "status.addresses", message,
			"set the kubelet's --node-ip, or correct what the cloud provider reports"})
	}
	return out
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// podCIDRs are the node's ranges that can be used: at most one of each family.
func (b *builder) podCIDRs(n Node) []string {
	if len(n.PodCIDRs) == 0 {
		b.find(n.Name, Finding{
			Object:  nodeObject(n.Name),
			Field:   "spec.podCIDRs",
			Message: "the node has no range for its pods yet",
			Fix: "let the controller manager assign one (--allocate-node-cidrs with --cluster-cidr; " +
				"is the cluster's range used up?)",
		})
		return nil
	}
	var out []string
	var has [2]bool
	for i, text := range n.PodCIDRs {
		field := fmt.Sprintf("spec.podCIDRs[%d]", i)
		p, err := parsePrefix(text)
		if err != nil {
			b.find(n.Name, Finding{nodeObject(n.Name), field,
				fmt.Sprintf("%q is not an address range: %v", text, err),
				"write it as address/bits, e.g. 10.244.1.0/24 (the field can be set once: re-create the Node object)"})
			continue
		}
		if f := family(p.Addr()); has[f] {
			b.find(n.Name, Finding{nodeObject(n.Name), field,
				fmt.Sprintf("%s is a second range of its family, and only the first one is used", p),
				"assign one IPv4 and one IPv6 range at most"})
			continue
		}
		if f, bad := b.conflict(n.Name, field, p); bad {
			b.find(n.Name, f)
			continue
		}
		has[family(p.Addr())] = true
		if b.claims[p.Bits()] == nil {
			b.claims[p.Bits()] = map[netip.Prefix]claim{}
		}
		b.claims[p.Bits()][p] = claim{p, n.Name, field}
		out = append(out, p.String())
	}
	return out
}

// conflict says why a range cannot be the node's.
func (b *builder) conflict(node, field string, p netip.Prefix) (Finding, bool) {
	if c, ok := b.overlapping(p); ok {
		return Finding{nodeObject(node), field,
			fmt.Sprintf("%s overlaps %s of %s (%s), which is older and keeps it", p, c.prefix, nodeObject(c.node), c.field),
			"give each node a range of its own (re-create the Node object so that another is assigned)"}, true
	}
	i, _ := slices.BinarySearchFunc(b.hosts, p.Addr(), func(h host, a netip.Addr) int { return h.addr.Compare(a) })
	if i < len(b.hosts) && p.Contains(b.hosts[i].addr) {
		h := b.hosts[i]
		return Finding{nodeObject(node), field,
			fmt.Sprintf("%s contains the node address %s of %s", p, h.addr, nodeObject(h.node)),
			"choose pod ranges outside of the node network (the cluster's pod CIDR)"}, true
	}
	return Finding{}, false
}

// overlapping finds a claim that shares addresses with p: the first by prefix
// length and address, so that the finding's words do not change from run to run.
func (b *builder) overlapping(p netip.Prefix) (claim, bool) {
	for _, bits := range slices.Sorted(maps.Keys(b.claims)) {
		if bits <= p.Bits() {
			if wider, err := p.Addr().Prefix(bits); err == nil {
				if c, ok := b.claims[bits][wider]; ok {
					return c, true
				}
			}
			continue
		}
		var found *claim
		for _, c := range b.claims[bits] {
			if p.Contains(c.prefix.Addr()) && (found == nil || c.prefix.Addr().Less(found.prefix.Addr())) {
				found = &c
			}
		}
		if found != nil {
			return *found, true
		}
	}
	return claim{}, false
}

// clusterRanges are the ranges that are never masqueraded: those of the cluster,
// and those of nodes outside of them.
func (b *builder) clusterRanges() []string {
	ranges := slices.Clone(b.cluster)
	for _, claims := range b.claims {
		for p := range claims {
			covered := slices.ContainsFunc(b.cluster, func(c netip.Prefix) bool {
				return c.Bits() <= p.Bits() && c.Contains(p.Addr())
			})
			if !covered {
				ranges = append(ranges, p)
			}
		}
	}
	slices.SortFunc(ranges, func(x, y netip.Prefix) int {
		return cmp.Or(x.Addr().Compare(y.Addr()), cmp.Compare(x.Bits(), y.Bits()))
	})
	var out []string
	for _, p := range slices.Compact(ranges) {
		out = append(out, p.String())
	}
	return out
}

func (b *builder) encode(n Node, addresses, cluster []string) {
	cidrs := b.out.PodCIDRs[n.Name]
	local, err := state.Encode(n.Name, &state.LocalNode{
		Name: n.Name, PodCidrs: cidrs, Addresses: addresses, ClusterPodCidrs: cluster, Zone: n.Zone,
	})
	if err != nil {
		b.find(n.Name, Finding{nodeObject(n.Name), "metadata.name", err.Error(), "use names of valid UTF-8"})
		return
	}
	b.out.Local[n.Name] = local
	if len(cidrs) == 0 || len(addresses) == 0 {
		return
	}
	peer, err := state.Encode(n.Name, &state.PeerNode{Name: n.Name, PodCidrs: cidrs, Addresses: addresses})
	if err != nil {
		b.find(n.Name, Finding{nodeObject(n.Name), "metadata.name", err.Error(), "use names of valid UTF-8"})
		return
	}
	b.out.Peers = append(b.out.Peers, peer)
}
