// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/link"
	"github.com/fairlead-io/fairlead/internal/datapath/route"
)

// RestoreEndpoints takes over, after a restart, exactly these endpoints: their programs
// are exchanged for the ones loaded by Open, rows and routes are made right, and what is
// left of any other endpoint is removed. Endpoints whose veth is gone (the machine was
// restarted, or their pod died meanwhile) are returned as lost and nothing of them stays.
// An error names the endpoints that could not be taken over; all others are.
func (d *Datapath) RestoreEndpoints(ctx context.Context, eps []Endpoint) (lost []Endpoint, err error) {
	err = d.locked(ctx, func() error {
		devices, err := link.List(d.nl)
		if err != nil {
			return err
		}
		var errs []error
		kept := map[string]bool{}
		for _, ep := range eps {
			dev, ok := devices[ep.HostIf]
			if !ok || dev.Type != "veth" || ep.HostIf != hostIfOf(ep.ContainerID, ep.IfName) || len(ep.PodMAC) != 6 {
				lost = append(lost, ep)
				continue
			}
			kept[ep.HostIf] = true
			ep.HostIfIndex = dev.Index
			d.live[ep.HostIf] = ep
			if err := d.connect(ep); err != nil {
				errs = append(errs, fmt.Errorf("container %s: interface %s: %w", ep.ContainerID, ep.IfName, err))
			}
		}
		errs = append(errs, d.prune(devices, kept))
		d.adjustMTUs()
		return errors.Join(errs...)
	})
	return lost, err
}

// prune removes what belongs to no endpoint that is kept.
func (d *Datapath) prune(devices map[string]link.Device, kept map[string]bool) error {
	var errs []error
	for hostIf := range d.live {
		if !kept[hostIf] {
			delete(d.live, hostIf)
		}
	}
	indexes := map[int]bool{}
	for name, dev := range devices {
		switch {
		case kept[name]:
			indexes[dev.Index] = true
		case isHostIf(name) && dev.Type == "veth":
			d.log.Info("removing the veth of a pod that is gone", "device", name)
			errs = append(errs, d.removeDevice(name))
		}
	}
	d.endpoints.Keep(func(_ netip.Addr, row bpf.Endpoint) bool { return indexes[int(row.Ifindex)] })
	d.subjects.Keep(func(device uint32, _ bpf.Subject) bool { return indexes[int(device)] })
	d.routes.Keep(func(p netip.Prefix, r route.Route) bool { return !isHostRoute(p, r) || indexes[r.Ifindex] })
	stale := func(p netip.Prefix, r route.Route) bool {
		return isHostRoute(p, r) && r.Ifindex != d.settings.TunnelIfindex
	}
	before := d.rowChanges()
	errs = append(errs, d.endpoints.Sync(), d.endpoints.Prune(nil), d.subjects.Sync(), d.subjects.Prune(nil), d.epochAfter(before),
		d.routes.Sync(), d.routes.Prune(stale), d.prunePins(kept))
	return errors.Join(errs...)
}

// isHostRoute tells the route to one pod from those to whole ranges.
func isHostRoute(p netip.Prefix, r route.Route) bool {
	return r.Ifindex != 0 && !r.Via.IsValid() && p.IsSingleIP()
}

// prunePins removes attachments to devices that are gone.
func (d *Datapath) prunePins(kept map[string]bool) error {
	entries, err := os.ReadDir(d.pins.Links())
	if err != nil {
		return fmt.Errorf("pins: %w", err)
	}
	var errs []error
	for _, e := range entries {
		device := strings.TrimSuffix(strings.TrimSuffix(e.Name(), "_from"), "_to")
		if device == TunnelDevice || device == uplinkPin || kept[device] || strings.HasPrefix(device, socketsPin+"_") {
			continue
		}
		errs = append(errs, link.Detach(d.pins.Links()+"/"+e.Name()))
	}
	return errors.Join(errs...)
}
