// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"

	"github.com/fairlead-io/fairlead/bpf"
)

// Metrics returns every counter that has counted something.
func (d *Datapath) Metrics() ([]Counter, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	var counters []Counter
	for h := range bpf.HookCount {
		for r := range bpf.ReasonSlots {
			var cpus []bpf.Counter
			if err := d.maps.Metrics.Lookup(uint32(h)*uint32(bpf.ReasonSlots)+uint32(r), &cpus); err != nil {
				return nil, fmt.Errorf("metrics: %s: %w", bpf.HookName(h), err)
			}
			c := Counter{Hook: bpf.HookName(h), Reason: bpf.ReasonName(r), Dropped: r >= bpf.ReasonDrop}
			for _, one := range cpus {
				c.Packets += one.Packets
				c.Bytes += one.Bytes
			}
			if c.Packets > 0 {
				counters = append(counters, c)
			}
		}
	}
	return counters, nil
}
