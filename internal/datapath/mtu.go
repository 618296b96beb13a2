// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"github.com/fairlead-io/fairlead/internal/datapath/link"
	"github.com/fairlead-io/fairlead/internal/datapath/netns"
)

// adjustMTUs does so for all pods. One that cannot be adjusted keeps its connections: it
// is told what fits by each packet that does not.
func (d *Datapath) adjustMTUs() {
	for _, ep := range d.live {
		if err := d.adjustMTU(ep); err != nil {
			d.log.Warn("a pod keeps its former MTU", "container", ep.ContainerID, "interface", ep.IfName, "error", err)
		}
	}
}

// adjustMTU gives a pod that was made under another routing, or when the uplink had
// another MTU, what holds now. A connection of the pod finds its new size by the packets
// that are too big meanwhile: the host's stack answers those.
func (d *Datapath) adjustMTU(ep Endpoint) error {
	if ep.MTU == d.plan.mtu && ep.LinkMTU == d.plan.linkMTU {
		return nil
	}
	pod, err := netns.Open(ep.Netns)
	if err != nil {
		return err
	}
	defer pod.Close()
	if err := link.SetMTU(d.nl, ep.HostIf, d.plan.linkMTU); err != nil {
		return err
	}
	ep.MTU, ep.LinkMTU = d.plan.mtu, d.plan.linkMTU
	if err := link.AdjustPod(pod, podInterface(ep)); err != nil {
		return err
	}
	d.live[ep.HostIf] = ep
	return nil
}
