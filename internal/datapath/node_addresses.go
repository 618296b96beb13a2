// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/fairlead-io/fairlead/bpf"
)

// syncNodeAddresses says at which addresses the node's ports are Services': those of its
// Node object, those on its uplink, and for its own processes the loopback's.
func (d *Datapath) syncNodeAddresses() error {
	want := map[netip.Addr]bool{}
	if d.opts.Services {
		for _, a := range slices.Concat(d.plan.node.Addresses, d.plan.gateways) {
			want[a] = true
		}
		want[netip.AddrFrom4([4]byte{127, 0, 0, 1})], want[netip.IPv6Loopback()] = true, true
		addrs, err := d.nl.AddrList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("addresses of this machine: %w", err)
		}
		for _, a := range addrs {
			addr, ok := netip.AddrFromSlice(a.IP)
			if ok && a.LinkIndex == d.uplink.Index && !addr.IsLinkLocalUnicast() {
				want[addr.Unmap()] = true
			}
		}
	}
	d.nodeAddresses.Keep(func(a netip.Addr, _ bpf.NodeAddress) bool { return want[a] })
	for a := range want {
		d.nodeAddresses.SetDesired(a, bpf.NodeAddress{Known: 1})
	}
	if err := d.nodeAddresses.Sync(); err != nil {
		return err
	}
	return d.nodeAddresses.Prune(nil)
}
