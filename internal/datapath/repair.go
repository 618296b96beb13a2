// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/link"
)

// repairEndpoints puts right what somebody changed of pods' host ends behind our back: a
// device that was set down loses its neighbours and routes, even when it is up again, one
// whose qdisc was removed its programs. Endpoints whose device is gone are left to DEL.
func (d *Datapath) repairEndpoints() error {
	devices, err := link.List(d.nl)
	if err != nil {
		return err
	}
	neighbours, err := link.Neighbours(d.nl)
	if err != nil {
		return err
	}
	var errs []error
	repaired := false
	for _, ep := range d.live {
		dev, ok := devices[ep.HostIf]
		if !ok || dev.Index != ep.HostIfIndex {
			continue
		}
		wrong := d.wrongAtHost(ep, dev, neighbours)
		if wrong == nil {
			continue
		}
		d.log.Warn("an endpoint was changed by somebody, and is put right", "container", ep.ContainerID, "device", ep.HostIf, "wrong", wrong)
		repaired = true
		if err := d.connect(ep); err != nil {
			errs = append(errs, fmt.Errorf("container %s: interface %s: %w", ep.ContainerID, ep.IfName, err))
		}
	}
	if repaired {
		errs = append(errs, d.routes.Resync(), d.routes.Sync())
	}
	return errors.Join(errs...)
}

// wrongAtHost says what of an endpoint's device is not as connect made it.
func (d *Datapath) wrongAtHost(ep Endpoint, dev link.Device, neighbours map[link.Neighbour]bool) error {
	if !dev.Up {
		return errors.New("it is down")
	}
	for _, a := range ep.Addresses {
		if !neighbours[link.Neighbour{Ifindex: dev.Index, Address: a, MAC: ep.PodMAC.String()}] {
			return fmt.Errorf("the neighbour %s is not known", a)
		}
	}
	if d.waiting {
		return nil // what is attached is another layout's
	}
	return errors.Join(
		link.CheckAttached(d.pins.Link(ep.HostIf, "from"), ep.HostIfIndex, d.programs.At(bpf.HookFromPod)),
		link.CheckAttached(d.pins.Link(ep.HostIf, "to"), ep.HostIfIndex, d.programs.At(bpf.HookToPod)),
	)
}
