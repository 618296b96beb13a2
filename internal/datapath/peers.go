// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"errors"
	"net/netip"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/link"
	"github.com/fairlead-io/fairlead/internal/datapath/route"
)

// SyncPeers makes exactly these nodes' pods reachable; the node itself may be among them.
// A peer that is wrong, or whose ranges overlap those of another, is left out: the error
// names each and why, and all others are in force.
func (d *Datapath) SyncPeers(ctx context.Context, peers []Peer) error {
	return d.locked(ctx, func() error {
		d.peers = append([]Peer{}, peers...)
		return d.syncPeers()
	})
}

func (d *Datapath) syncPeers() error {
	tunnel, err := d.tunnelIndex()
	if err != nil {
		return err
	}
	want, wrong := planRanges(d.plan, d.peers, func(p netip.Prefix) bool {
		_, ok := d.ranges.Realised(p)
		return ok
	})
	d.wantRanges(want)
	d.wantRoutes(want, tunnel)
	if err := d.routes.Resync(); err != nil { // somebody may have deleted some
		return err
	}
	// Packets that the host still sends by a route without its row are dropped and
	// counted; nothing goes to a wrong place in between. What another node may send is
	// known before anything is sent there.
	before := d.rowChanges()
	err = errors.Join(wrong, d.senders.Sync(), d.unrealised(d.ranges.Sync()), d.routes.Sync(),
		d.routes.Prune(d.isRangeRoute), d.ranges.Prune(nil), d.senders.Prune(nil), d.epochAfter(before))
	if err == nil {
		err = d.releaseUplink()
	}
	return errors.Join(err, d.takeOver(), d.repairFilters())
}

// wantRanges notes the rows of all peers.
func (d *Datapath) wantRanges(want map[netip.Prefix]far) {
	senders := map[netip.Addr]bool{}
	for _, f := range want {
		senders[f.tunnel] = true
	}
	d.senders.Keep(func(a netip.Addr, _ bpf.Peer) bool { return senders[a] })
	d.ranges.Keep(func(p netip.Prefix, r bpf.Range) bool {
		_, wanted := want[p]
		return wanted || r.Flags&bpf.RangeLocal != 0
	})
	for a := range senders {
		d.senders.SetDesired(a, bpf.Peer{Known: 1})
	}
	for p, f := range want {
		d.ranges.SetDesired(p, rangeRow(f))
	}
}

// wantRoutes notes the host's own routes to peers' pods: into the tunnel, or by the peer
// where it is on a network of this node. Where it is not, the host has a route, or not,
// by whoever routes between nodes.
func (d *Datapath) wantRoutes(want map[netip.Prefix]far, tunnel int) {
	routes := map[netip.Prefix]route.Route{}
	for p, f := range want {
		r := route.Route{Ifindex: tunnel, Source: d.gatewayOf(p)}
		if f.native {
			r.Ifindex, r.Via = d.uplink.Index, f.via
		}
		if f.native && !f.via.IsValid() {
			continue
		}
		if f.mtu < d.plan.mtu {
			r.MTU = f.mtu
		}
		routes[p] = r
	}
	d.routes.Keep(func(p netip.Prefix, r route.Route) bool {
		_, wanted := routes[p]
		return wanted || !d.isRangeRoute(p, r)
	})
	for p, r := range routes {
		d.routes.SetDesired(p, r)
	}
}

// isRangeRoute tells routes to peers' ranges from those to pods of this node.
func (d *Datapath) isRangeRoute(_ netip.Prefix, r route.Route) bool {
	return r.Ifindex == d.settings.TunnelIfindex || r.Via.IsValid()
}

// rowChanges counts changes of the rows that paths of connections are decided by.
func (d *Datapath) rowChanges() int { return d.endpoints.Changes() + d.ranges.Changes() }

// epochAfter makes connections' paths be decided anew when rows have changed since before.
func (d *Datapath) epochAfter(before int) error {
	if d.rowChanges() == before {
		return nil
	}
	return d.maps.NextEpoch()
}

func (d *Datapath) tunnelIndex() (int, error) {
	devices, err := link.List(d.nl)
	if err != nil {
		return 0, err
	}
	if dev, ok := devices[TunnelDevice]; ok && dev.Index == d.settings.TunnelIfindex && dev.Up {
		return dev.Index, nil
	}
	// Somebody removed it; make it anew before anything relies on it.
	d.log.Warn("the tunnel device is gone or down, making it again", "device", TunnelDevice)
	if err := d.configureTunnel(); err != nil {
		return 0, err
	}
	return d.settings.TunnelIfindex, d.routes.Resync()
}

func rangeRow(f far) bpf.Range {
	r := bpf.Range{Tunnel: bpf.AddressOf(f.tunnel), Mtu: uint16(f.mtu)}
	if f.native {
		r.Flags = bpf.RangeNative
	}
	return r
}

// gatewayOf returns our router address of a prefix's family, invalid for none.
func (d *Datapath) gatewayOf(p netip.Prefix) netip.Addr { return d.gatewayFor(p.Addr()) }

func (d *Datapath) gatewayFor(a netip.Addr) netip.Addr {
	for _, gw := range d.plan.gateways {
		if gw.Is4() == a.Is4() {
			return gw
		}
	}
	return netip.Addr{}
}
