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
	d.ranges.Keep(func(p netip.Prefix, r bpf.Range) bool {
		_, wanted := want[p]
		return wanted || r.Flags&bpf.RangeLocal != 0
	})
	d.routes.Keep(func(p netip.Prefix, r route.Route) bool {
		_, wanted := want[p]
		return wanted || r.Ifindex != tunnel
	})
	for p, far := range want {
		d.ranges.SetDesired(p, rangeRow(far))
		d.routes.SetDesired(p, route.Route{Ifindex: tunnel, Source: d.gatewayOf(p)})
	}
	// Packets that the host still sends by a route without its row are dropped and
	// counted; nothing goes to a wrong place in between.
	foreign := func(_ netip.Prefix, r route.Route) bool { return r.Ifindex == tunnel }
	return errors.Join(wrong, d.ranges.Sync(), d.routes.Sync(), d.routes.Prune(foreign), d.ranges.Prune(nil))
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

func rangeRow(far netip.Addr) bpf.Range {
	r := bpf.Range{Tunnel: bpf.AddressOf(far)}
	if far.Is6() {
		r.Flags = bpf.RangeTunnelIPv6
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
