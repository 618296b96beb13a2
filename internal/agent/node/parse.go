// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

// parseLocal reads the node's own state. A node without pod ranges is an error:
// it can serve no pod, and the controller shows these words on the node.
func parseLocal(n *state.LocalNode) (datapath.Node, error) {
	out := datapath.Node{Name: n.GetName()}
	if len(n.GetPodCidrs()) == 0 {
		return out, fmt.Errorf("Node %s: spec.podCIDRs is empty: let kube-controller-manager assign ranges "+
			"(--allocate-node-cidrs --cluster-cidr=...), or set spec.podCIDRs", n.GetName())
	}
	var errs [3]error
	out.PodCIDRs, errs[0] = prefixes(n.GetName(), "spec.podCIDRs", n.GetPodCidrs())
	out.Addresses, errs[1] = addrs(n.GetName(), n.GetAddresses())
	out.ClusterPodCIDRs, errs[2] = prefixes(n.GetName(), "the cluster's pod ranges", n.GetClusterPodCidrs())
	return out, errors.Join(errs[:]...)
}

// parsePeers reads the other nodes. One that cannot be read is left out and
// named in the error; the others are served.
func parsePeers(self string, peers map[string]*state.PeerNode) ([]datapath.Peer, error) {
	var out []datapath.Peer
	var errs []error
	for _, p := range peers {
		if p.GetName() == self {
			continue
		}
		cidrs, err1 := prefixes(p.GetName(), "spec.podCIDRs", p.GetPodCidrs())
		underlay, err2 := addrs(p.GetName(), p.GetAddresses())
		if err := errors.Join(err1, err2); err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, datapath.Peer{Name: p.GetName(), PodCIDRs: cidrs, Addresses: underlay})
	}
	slices.SortFunc(out, func(a, b datapath.Peer) int { return strings.Compare(a.Name, b.Name) })
	return out, errors.Join(errs...)
}

func prefixes(node, field string, in []string) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, 0, len(in))
	for i, s := range in {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("Node %s: %s[%d] is %q, want a prefix such as 10.1.2.0/24", node, field, i, s)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func addrs(node string, in []string) ([]netip.Addr, error) {
	out := make([]netip.Addr, 0, len(in))
	for _, s := range in {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("Node %s: status.addresses has InternalIP %q, want an IP address", node, s)
		}
		out = append(out, a.Unmap())
	}
	return out, nil
}
