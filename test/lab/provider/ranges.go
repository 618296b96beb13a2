// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"fmt"
	"net/netip"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// rangesOf reads a Cluster's ranges. The lab's clusters have both families, IPv4 first.
func rangesOf(c *clusterv1.Cluster) (pods, services []netip.Prefix, err error) {
	if pods, err = bothFamilies(c.Spec.ClusterNetwork.Pods); err != nil {
		return nil, nil, fmt.Errorf("spec.clusterNetwork.pods.cidrBlocks of Cluster %s/%s: %w", c.Namespace, c.Name, err)
	}
	if services, err = bothFamilies(c.Spec.ClusterNetwork.Services); err != nil {
		return nil, nil, fmt.Errorf("spec.clusterNetwork.services.cidrBlocks of Cluster %s/%s: %w", c.Namespace, c.Name, err)
	}
	return pods, services, nil
}

func bothFamilies(r clusterv1.NetworkRanges) ([]netip.Prefix, error) {
	if len(r.CIDRBlocks) != 2 {
		return nil, fmt.Errorf("%d ranges: name one of IPv4 and one of IPv6, or run an operator that does", len(r.CIDRBlocks))
	}
	var out []netip.Prefix
	for _, text := range r.CIDRBlocks {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no range: write it like 10.40.0.0/16 or fd00:40::/48", text)
		}
		out = append(out, p.Masked())
	}
	switch {
	case out[0].Addr().Is4() == out[1].Addr().Is4():
		return nil, fmt.Errorf("%s and %s are of one family: name one of IPv4 and one of IPv6", out[0], out[1])
	case out[0].Addr().Is6():
		out[0], out[1] = out[1], out[0]
	}
	return out, nil
}
