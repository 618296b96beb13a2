// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/link"
	"github.com/fairlead-io/fairlead/internal/datapath/netns"
)

// CheckEndpoint returns an error that says what of an endpoint is not as AddEndpoint made
// it: interface, addresses, routes, rows, attachments.
func (d *Datapath) CheckEndpoint(ctx context.Context, ep Endpoint) error {
	return d.locked(ctx, func() error {
		err := errors.New("it is not an endpoint of this node")
		if known, ok := d.live[hostIfOf(ep.ContainerID, ep.IfName)]; ok {
			err = d.check(known)
			if !slices.Equal(known.Addresses, ep.Addresses) {
				err = fmt.Errorf("it has addresses %v, not %v", known.Addresses, ep.Addresses)
			}
		}
		if err != nil {
			return fmt.Errorf("container %s: interface %s: %w", ep.ContainerID, ep.IfName, err)
		}
		return nil
	})
}

// check compares an endpoint of d.live with the kernel.
func (d *Datapath) check(ep Endpoint) error {
	if err := d.checkHost(ep); err != nil {
		return err
	}
	pod, err := netns.Open(ep.Netns)
	if err != nil {
		return err
	}
	defer pod.Close()
	return link.CheckPod(pod, podInterface(ep))
}

func (d *Datapath) checkHost(ep Endpoint) error {
	devices, err := link.List(d.nl)
	if err != nil {
		return err
	}
	dev, ok := devices[ep.HostIf]
	switch {
	case !ok:
		return fmt.Errorf("host device %s is gone", ep.HostIf)
	case dev.Index != ep.HostIfIndex:
		return fmt.Errorf("host device %s has index %d, not %d", ep.HostIf, dev.Index, ep.HostIfIndex)
	case !dev.Up:
		return fmt.Errorf("host device %s is down", ep.HostIf)
	}
	rows, err := d.endpointRows().List()
	if err != nil {
		return fmt.Errorf("endpoints: %w", err)
	}
	if err := d.routes.Resync(); err != nil {
		return err
	}
	for _, a := range ep.Addresses {
		if row, ok := rows[a]; !ok || row != d.endpointRow(ep, a) {
			return fmt.Errorf("the datapath's row of address %s is missing or wrong", a)
		}
		if r, ok := d.routes.Realised(hostPrefix(a)); !ok || r != d.endpointRoute(ep, a) {
			return fmt.Errorf("the host's route to %s is missing or wrong", a)
		}
	}
	if err := link.CheckAttached(d.pins.Link(ep.HostIf, "from"), ep.HostIfIndex, d.programs.At(bpf.HookFromPod)); err != nil {
		return err
	}
	return link.CheckAttached(d.pins.Link(ep.HostIf, "to"), ep.HostIfIndex, d.programs.At(bpf.HookToPod))
}
