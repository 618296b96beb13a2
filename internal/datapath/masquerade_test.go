// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// TestMasqueradeExceptions: a destination that knows the way back sees the pod's own
// address, others the node's.
func TestMasqueradeExceptions(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	a := n.addPod()
	known := map[string]string{"IPv4": "192.168.101.7", "IPv6": "fd65::7"}
	for _, f := range families {
		up(t, w.outside, "lo", known[f]+map[string]string{"IPv4": "/32", "IPv6": "/128"}[f])
		must(t, w.outside.nl.RouteAdd(&netlink.Route{
			Dst: &net.IPNet{IP: a.ip(f).AsSlice(), Mask: net.CIDRMask(a.ip(f).BitLen(), a.ip(f).BitLen())},
			Gw:  n.uplinkIP(f).AsSlice(),
		}))
	}
	opts := n.opts
	opts.MasqueradeExceptions = []netip.Prefix{prefix("192.168.101.0/24"), prefix("fd65::/64")}
	n.restart(t, opts, []datapath.Endpoint{a.ep})
	for _, f := range families {
		checkPath(t, a.space, w.outside, addr(known[f]), a.ip(f))
		checkPath(t, a.space, w.outside, outsideIP(f), n.uplinkIP(f))
	}
}
