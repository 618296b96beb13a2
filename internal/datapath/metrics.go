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

// FlowEvent counts what happened to rows of the table of connections, summed over all
// CPUs since the table was made.
type FlowEvent struct {
	// Event is one of created, decided_anew, evicted_closed, evicted_unanswered,
	// table_full and contended.
	Event string
	Count uint64
}

// FlowEvents returns all events, those that have not happened too.
func (d *Datapath) FlowEvents() ([]FlowEvent, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	var events []FlowEvent
	for e := range bpf.FlowEventCount {
		var cpus []uint64
		if err := d.maps.FlowEvents.Lookup(uint32(e), &cpus); err != nil {
			return nil, fmt.Errorf("flow events: %w", err)
		}
		one := FlowEvent{Event: bpf.FlowEventName(e)}
		for _, n := range cpus {
			one.Count += n
		}
		events = append(events, one)
	}
	return events, nil
}
