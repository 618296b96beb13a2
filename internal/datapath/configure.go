// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/deferred"
	"github.com/fairlead-io/fairlead/internal/datapath/hostfilter"
	"github.com/fairlead-io/fairlead/internal/datapath/link"
	"github.com/fairlead-io/fairlead/internal/datapath/load"
	"github.com/fairlead-io/fairlead/internal/datapath/masquerade"
	"github.com/fairlead-io/fairlead/internal/datapath/route"
	"github.com/fairlead-io/fairlead/internal/datapath/sysctl"
)

// Reconfigure brings the datapath to a changed Node (other ranges, other addresses) or a
// changed machine (another uplink, or one with another MTU), and puts endpoints right that
// somebody has changed. It refuses, and changes nothing, when an endpoint would be left outside the new ranges.
func (d *Datapath) Reconfigure(ctx context.Context, node Node) error {
	if err := validateNode(node); err != nil {
		return err
	}
	return d.locked(ctx, func() error {
		plan, uplink, err := d.planNode(node)
		if err != nil {
			return err
		}
		if d.settled && reflect.DeepEqual(plan, d.plan) && reflect.DeepEqual(uplink, d.uplink) {
			return d.repairEndpoints()
		}
		for _, ep := range d.live {
			for _, a := range ep.Addresses {
				if !slices.ContainsFunc(node.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(a) && gatewayOf(p) != a }) {
					return fmt.Errorf("Node %s: spec.podCIDRs %v has no room for address %s of the pod with container %s: drain the node before its ranges change", node.Name, node.PodCIDRs, a, ep.ContainerID)
				}
			}
		}
		if err := d.configure(ctx, node); err != nil {
			return err
		}
		d.adjustMTUs()
		if d.peers == nil {
			return nil
		}
		return d.syncPeers()
	})
}

// configure does everything that depends on the node alone. It is idempotent. Rows come
// before programs, programs before the tunnel is up.
func (d *Datapath) configure(ctx context.Context, node Node) error {
	plan, uplink, err := d.planNode(node)
	if err != nil {
		return err
	}
	if err := d.hostSettings(plan); err != nil {
		return err
	}
	former := d.plan
	d.plan, d.uplink, d.settled = plan, uplink, false
	if !slices.Equal(former.gateways, plan.gateways) {
		// Routes to peers name our former address as their source; SyncPeers and
		// Reconfigure write them anew.
		d.routes.Keep(func(p netip.Prefix, r route.Route) bool { return !d.isRangeRoute(p, r) })
	}
	for _, r := range former.node.PodCIDRs {
		d.ranges.Unset(r)
		d.routes.Unset(r)
	}
	for _, r := range node.PodCIDRs {
		d.ranges.SetDesired(r, bpf.Range{Flags: bpf.RangeLocal})
	}
	before := d.rowChanges()
	if err := errors.Join(d.ranges.Sync(), d.epochAfter(before)); err != nil {
		return err
	}
	if err := d.syncNodeAddresses(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.configureTunnel(); err != nil {
		return err
	}
	// The unreachable route keeps packets to addresses of no pod from following the
	// default route out of the node.
	for _, r := range node.PodCIDRs {
		d.routes.SetDesired(r, route.Route{})
	}
	if err := errors.Join(d.routes.Resync(), d.routes.Sync()); err != nil {
		return err
	}
	if err := masquerade.Sync(d.ns.FD(), d.masqueradeRules()); err != nil {
		return err
	}
	if err := deferred.Sync(d.ns.FD(), d.deferredRules()); err != nil {
		return err
	}
	if err := hostfilter.Sync(d.ns.FD(), node.PodCIDRs); err != nil {
		d.log.Warn("pods may not reach what the host forwards to; it is tried again with the peers", "error", err)
	}
	d.settled = true
	return nil
}

func (d *Datapath) masqueradeRules() masquerade.Rules {
	node := d.plan.node
	rules := masquerade.Rules{
		Tunnel:     TunnelDevice,
		Router:     d.plan.gateways,
		Cluster:    slices.Concat(node.PodCIDRs, node.ClusterPodCIDRs),
		Exceptions: d.opts.MasqueradeExceptions,
	}
	if d.opts.Masquerade {
		rules.Pods = node.PodCIDRs
	}
	return rules
}

// deferredRules say by which devices packets leave that are judged there.
func (d *Datapath) deferredRules() deferred.Rules {
	r := deferred.Rules{Mark: bpf.MarkDeferred, Judged: []string{TunnelDevice, hostIfPrefix + "*"}}
	if d.uplink.Ethernet {
		r.Judged = append(r.Judged, d.plan.uplink)
	}
	if !d.opts.Policies || d.opts.Services {
		r = deferred.Rules{} // nothing is marked
	}
	return r
}

// planNode looks at the machine's devices and decides; it returns the uplink too.
func (d *Datapath) planNode(node Node) (nodePlan, link.Device, error) {
	devices, err := link.List(d.nl)
	if err != nil {
		return nodePlan{}, link.Device{}, err
	}
	names, mtus := map[int]string{}, map[string]int{}
	for name, dev := range devices {
		names[dev.Index], mtus[name] = name, dev.MTU
	}
	addrs, err := d.nl.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nodePlan{}, link.Device{}, fmt.Errorf("addresses of this machine: %w", err)
	}
	var found []deviceAddress
	for _, a := range addrs {
		addr, ok := netip.AddrFromSlice(a.IP)
		name := names[a.LinkIndex]
		if !ok || name == TunnelDevice || isHostIf(name) {
			continue
		}
		ones, _ := a.Mask.Size()
		found = append(found, deviceAddress{device: name, mtu: mtus[name], prefix: netip.PrefixFrom(addr.Unmap(), ones)})
	}
	plan, err := planNode(d.opts, node, found, mtus)
	return plan, devices[plan.uplink], err
}

// hostSettings makes the host forward, and keeps the uplink's router advertisements: the
// kernel ignores them on a host that forwards unless it is told to accept them anyway.
func (d *Datapath) hostSettings(plan nodePlan) error {
	for _, r := range plan.node.PodCIDRs {
		if r.Addr().Is4() {
			if err := errors.Join(d.sysctls.Set("net/ipv4/ip_forward", "1"), d.loosenUplink(plan.uplink)); err != nil {
				return err
			}
			continue
		}
		if !sysctl.Exists("net/ipv6/conf/all/forwarding") {
			return fmt.Errorf("Node %s: spec.podCIDRs has %s, but the kernel of this machine has no IPv6: enable it, or give the cluster IPv4 ranges only", plan.node.Name, r)
		}
		accept := "net/ipv6/conf/" + plan.uplink + "/accept_ra"
		if v, err := sysctl.Read(accept); err == nil && v == "1" {
			if err := d.sysctls.Set(accept, "2"); err != nil {
				return err
			}
		}
		if err := d.sysctls.Set("net/ipv6/conf/all/forwarding", "1"); err != nil {
			return err
		}
	}
	return nil
}

// configureTunnel makes the tunnel device, exchanges programs when their settings have
// changed, and gives the device the gateways' addresses.
func (d *Datapath) configureTunnel() error {
	mac := load.RouterMAC(d.plan.node.Name)
	index, err := link.EnsureTunnel(d.nl, link.Tunnel{Name: TunnelDevice, Port: d.opts.TunnelPort, MAC: mac, MTU: d.plan.tunnelMTU})
	if err != nil {
		return err
	}
	settings := d.settingsFor([6]byte(mac), index)
	if settings.HostNetnsCookie, err = hostNetnsCookie(); err != nil {
		return err
	}
	if err := d.exchangePrograms(settings); err != nil {
		return err
	}
	if err := link.SetUp(d.nl, TunnelDevice); err != nil {
		return fmt.Errorf("tunnel port %d: %w", d.opts.TunnelPort, err)
	}
	return link.SyncAddresses(d.nl, TunnelDevice, d.plan.gateways)
}

func (d *Datapath) settingsFor(mac [6]byte, tunnel int) load.Settings {
	s := load.Settings{
		RouterMAC: mac, TunnelIfindex: tunnel, TunnelPort: d.opts.TunnelPort,
		TunnelAddress: tunnelAddress(d.plan.node.Addresses, d.plan.tunnel4),
		FlowEntries:   uint32(d.opts.FlowEntries),
		Services:      d.opts.Services,
		DSR:           d.opts.ServiceForwarding == ForwardDSR,
		NodeAddress4:  d.plan.nodeAddress(true),
		NodeAddress6:  d.plan.nodeAddress(false),
	}
	if d.uplink.Ethernet {
		s.UplinkIfindex = d.uplink.Index
	}
	for i, r := range d.plan.node.PodCIDRs {
		if r.Addr().Is4() {
			s.Pods4, s.Gateway4 = r, d.plan.gateways[i]
		} else {
			s.Pods6, s.Gateway6 = r, d.plan.gateways[i]
		}
	}
	return s
}
