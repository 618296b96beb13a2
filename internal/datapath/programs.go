// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"os"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/link"
	"github.com/fairlead-io/fairlead/internal/datapath/load"
)

// uplinkPin stands for the uplink, whatever its name, in the names of pins.
const uplinkPin = "uplink"

// othersInForce says whether programs with maps of another layout are attached. They stay
// until ours are filled: by an upgrade, or a downgrade, no packet meets an empty map.
func (d *Datapath) othersInForce() (bool, error) {
	if !d.maps.Fresh {
		return false, nil
	}
	attached, err := os.ReadDir(d.pins.Links())
	if err != nil {
		return false, fmt.Errorf("pins: %w", err)
	}
	return len(attached) > 0, nil
}

// takeOver ends the wait for our maps to be filled, when they are.
func (d *Datapath) takeOver() error {
	if !d.waiting || d.peers == nil || d.opts.Services && !d.servicesKnown || d.opts.Policies && !d.policies.known {
		return nil
	}
	d.log.Info("programs of another layout are exchanged", "layout", d.opts.layout)
	d.waiting = false
	if err := d.attachAll(); err != nil {
		d.waiting = true
		return err
	}
	return d.pins.RemoveFormer()
}

// exchangePrograms loads programs for the settings, unless those in use have them, and
// puts them in force. Connections' paths are decided anew after that, since some may have
// been decided by the former settings until the last moment.
func (d *Datapath) exchangePrograms(settings load.Settings) error {
	changed := false
	if d.programs == nil || d.settings != settings {
		programs, err := d.maps.Load(settings)
		if err != nil {
			return err
		}
		if d.programs != nil {
			d.programs.Close()
			changed = true
		}
		d.programs, d.settings = programs, settings
	}
	if d.waiting {
		return nil
	}
	if err := d.attachAll(); err != nil || !changed {
		return err
	}
	return d.maps.NextEpoch()
}

// attachAll attaches the programs to the tunnel, the uplink, the node's sockets and every pod that is known.
// Those that note flows via the stack come before those that ask for the notes.
func (d *Datapath) attachAll() error {
	s, p := d.settings, d.programs
	errs := []error{
		link.Attach(link.BestWay, d.pins.Link(TunnelDevice, "to"), s.TunnelIfindex, link.Egress, p.At(bpf.HookToOverlay)),
		link.Attach(link.BestWay, d.pins.Link(TunnelDevice, "from"), s.TunnelIfindex, link.Ingress, p.At(bpf.HookFromOverlay)),
		d.attachUplink(),
		d.syncSockets(),
	}
	for _, ep := range d.live {
		errs = append(errs, d.attachEndpoint(ep))
	}
	return errors.Join(errs...)
}

// attachUplink attaches to the uplink what the routing needs there.
func (d *Datapath) attachUplink() error {
	to, from := d.pins.Link(uplinkPin, "to"), d.pins.Link(uplinkPin, "from")
	if d.settings.UplinkIfindex == 0 {
		return errors.Join(link.Detach(to), link.Detach(from))
	}
	// Where the routing was native until now, packets leave by the uplink until the
	// routes are changed: releaseUplink detaches.
	if _, err := os.Lstat(to); err == nil || d.plan.native || d.opts.Services {
		if err := link.Attach(link.BestWay, to, d.settings.UplinkIfindex, link.Egress, d.programs.At(bpf.HookToUplink)); err != nil {
			return err
		}
	}
	return link.Attach(link.BestWay, from, d.settings.UplinkIfindex, link.Ingress, d.programs.At(bpf.HookFromUplink))
}

// releaseUplink detaches from the uplink what only native routing and Services need, when no
// route of ours leads there any more.
func (d *Datapath) releaseUplink() error {
	if d.plan.native || d.opts.Services {
		return nil
	}
	return link.Detach(d.pins.Link(uplinkPin, "to"))
}
