// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/fairlead-io/fairlead/bpf"
)

// nodeAddressRows is fl_node_addrs as the backend of a table.
type nodeAddressRows struct{ m *ebpf.Map }

// Put implements table.Backend.
func (r nodeAddressRows) Put(a netip.Addr, v bpf.NodeAddress) error {
	return put(r.m, bpf.FromPodMapFlNodeAddrs, "remove addresses from the node", bpf.AddressOf(a), v)
}

// Delete implements table.Backend.
func (r nodeAddressRows) Delete(a netip.Addr, _ bpf.NodeAddress) error {
	return ignoreMissing(r.m.Delete(bpf.AddressOf(a)))
}

// List implements table.Backend.
func (r nodeAddressRows) List() (map[netip.Addr]bpf.NodeAddress, error) {
	out := map[netip.Addr]bpf.NodeAddress{}
	err := each(r.m, func(k bpf.Address, v bpf.NodeAddress) { out[bpf.Netip(k)] = v })
	return out, err
}

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
