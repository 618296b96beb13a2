// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net/netip"
	"path/filepath"

	"github.com/fairlead-io/fairlead/test/lab/plan"
	"github.com/fairlead-io/fairlead/test/lab/wire"
)

const outsideBridge = "br-outside"

// ensureNetwork makes all that machines are plugged into. The router knows the node networks and the
// outside, and no pod range: a packet that leaves a cluster with a pod's address gets no answer.
func (l *Lab) ensureNetwork() error {
	if err := wire.EnsureRouter(l.Plan.Router); err != nil {
		return err
	}
	for _, c := range l.Plan.Clusters {
		if err := wire.EnsureBridge(l.Plan.Router, c.Bridge, inNetwork(c.Gateways, c.NodeNetworks)); err != nil {
			return err
		}
	}
	o := l.Plan.Outside
	if err := wire.EnsureBridge(l.Plan.Router, outsideBridge, inNetwork(o.Gateways, o.Networks)); err != nil {
		return err
	}
	if err := wire.Create(o.Netns); err != nil {
		return err
	}
	return wire.Plug(l.Plan.Router, wire.Port{
		Netns: o.Netns, Cable: "outside", Bridge: outsideBridge,
		Addresses: inNetwork([]netip.Addr{o.IPv4, o.IPv6}, o.Networks), Gateways: o.Gateways,
	})
}

// plug gives a machine a network namespace with a cable to its cluster's bridge.
func (l *Lab) plug(c plan.Cluster, m plan.Machine) error {
	if err := wire.Create(m.Netns); err != nil {
		return err
	}
	err := wire.Plug(l.Plan.Router, wire.Port{
		Netns: m.Netns, Cable: m.Cable, Bridge: c.Bridge, MAC: m.MAC,
		Addresses: inNetwork([]netip.Addr{m.IPv4, m.IPv6}, c.NodeNetworks), Gateways: c.Gateways,
	})
	if err != nil || m.Control {
		return err
	}
	return wire.Forwarding(m.Netns)
}

// removeNetwork removes every namespace that carries the lab's id, those of former settings too.
func (l *Lab) removeNetwork() error {
	names, err := filepath.Glob(wire.Path("fl" + l.Plan.ID + "-*"))
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := wire.Delete(filepath.Base(n)); err != nil {
			return err
		}
	}
	return nil
}

// inNetwork gives each address the prefix length of its network.
func inNetwork(addresses []netip.Addr, networks []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for i, a := range addresses {
		out = append(out, netip.PrefixFrom(a, networks[i].Bits()))
	}
	return out
}
