// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/bpf/model"
)

// totals are all counters, over all CPUs.
type totals struct {
	metrics [int(bpf.HookCount) * int(bpf.ReasonSlots)]bpf.Counter
	events  [bpf.FlowEventCount]uint64
}

func (n *node) readTotals() (totals, error) {
	var sum totals
	keys, counters, err := readPerCPU[bpf.Counter](n.k.maps["fl_metrics"])
	if err != nil {
		return sum, err
	}
	for i, c := range counters {
		one := &sum.metrics[keys[i/ebpf.MustPossibleCPU()]]
		one.Packets += c.Packets
		one.Bytes += c.Bytes
	}
	keys, events, err := readPerCPU[uint64](n.k.maps["fl_flow_events"])
	if err != nil {
		return sum, err
	}
	for i, count := range events {
		sum.events[keys[i/ebpf.MustPossibleCPU()]] += count
	}
	return sum, nil
}

// readPerCPU returns all keys of an array, and for each of them a value of each CPU.
func readPerCPU[T any](m *ebpf.Map) ([]uint32, []T, error) {
	keys, values := make([]uint32, m.MaxEntries()), make([]T, int(m.MaxEntries())*ebpf.MustPossibleCPU())
	var cursor ebpf.MapBatchCursor
	if _, err := m.BatchLookup(&cursor, keys, values, nil); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, nil, fmt.Errorf("%v: %w", m, err)
	}
	return keys, values, nil
}

// compareTotals expects the counters to have moved as the model says, and no others.
func compareTotals(hook bpf.Hook, want model.Outcome, before, after totals) []string {
	var problems []string
	if want.Counted {
		one := &before.metrics[int(hook)*int(bpf.ReasonSlots)+int(want.Reason)]
		one.Packets++
		one.Bytes += uint64(len(want.Packet))
	}
	for slot, got := range after.metrics {
		if got != before.metrics[slot] {
			problems = append(problems, fmt.Sprintf("%s/%s counted %d packets and %d bytes more than expected",
				bpf.HookName(bpf.Hook(slot/int(bpf.ReasonSlots))), bpf.ReasonName(bpf.Reason(slot%int(bpf.ReasonSlots))),
				int64(got.Packets-before.metrics[slot].Packets), int64(got.Bytes-before.metrics[slot].Bytes)))
		}
	}
	for _, e := range want.Events {
		before.events[e]++
	}
	for e, got := range after.events {
		if got != before.events[e] {
			problems = append(problems, fmt.Sprintf("flow event %s counted %d more than expected", bpf.FlowEventName(bpf.FlowEvent(e)), int64(got-before.events[e])))
		}
	}
	return problems
}

// compareRows holds the table of connections against the model's, row by row, and looks for
// the note that the packet should have made. compareNotes looks at all.
func (n *node) compareRows(want model.Outcome) ([]string, error) {
	m := n.k.maps["fl_connections"]
	keys, rows := make([]uint32, n.shape.Rows), make([]bpf.Connection, n.shape.Rows)
	var cursor ebpf.MapBatchCursor
	if _, err := m.BatchLookup(&cursor, keys, rows, nil); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, fmt.Errorf("%v: %w", m, err)
	}
	var problems []string
	for i, key := range keys {
		if what := compareRow(&rows[i], &n.world.Table[key]); what != "" {
			problems = append(problems, fmt.Sprintf("row %d: %s:\n  %+v, want\n  %+v", key, what, rows[i], n.world.Table[key]))
		}
	}
	if want.Noted != nil {
		var note bpf.FlowNote
		if err := n.k.maps["fl_via_stack"].Lookup(want.Noted, &note); err != nil {
			problems = append(problems, fmt.Sprintf("flow %+v is not noted: %v", *want.Noted, err))
		}
	}
	return problems, nil
}

// compareRow says what is wrong with a row.
func compareRow(got, want *bpf.Connection) string {
	switch {
	case got.Sequence%2 != 0:
		return "is left as being written"
	case got.Flow != want.Flow:
		return "is another flow's"
	case got.Flow.Protocol == 0:
		return "" // free
	case got.Verdict != want.Verdict:
		return "what policies said differs"
	case got.Epoch != want.Epoch || got.Flags != want.Flags || got.Seen != want.Seen:
		return "epoch, flags or tick differ"
	}
	for i := range got.Path {
		p, q := got.Path[i], want.Path[i]
		if p.Kind == bpf.PathNone && q.Kind == bpf.PathNone {
			continue
		}
		if p.Kind == bpf.PathPod {
			p.Checked, q.Checked = 0, 0 // of ways to other nodes
		}
		if p != q {
			return fmt.Sprintf("path %d differs", i)
		}
		if (p.Kind == bpf.PathTunnel || p.Flags&bpf.PathFromTunnel != 0) && got.Remote != want.Remote {
			return "the other end of the tunnel differs"
		}
	}
	return ""
}

// compareNotes expects the same notes of flows via the stack on both sides.
func (n *node) compareNotes() ([]string, error) {
	var problems []string
	count := 0
	var f bpf.Flow
	var note bpf.FlowNote
	rows := n.k.maps["fl_via_stack"].Iterate()
	for rows.Next(&f, &note) {
		count++
		if !n.world.Noted[f] {
			problems = append(problems, fmt.Sprintf("flow %+v is noted", f))
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if count < len(n.world.Noted) {
		problems = append(problems, fmt.Sprintf("%d flows are noted, want %d", count, len(n.world.Noted)))
	}
	return problems, nil
}
