// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/bpf"
)

// Lives of connections after their last packet, in ticks of 2^30 ns: what RFC 5382 and RFC
// 4787 ask for.
const (
	lifeEstablished   = 6940
	lifeOpening       = 60
	lifeClosing       = 240
	lifeClosed        = 10
	lifeUDPAnswered   = 280
	lifeUDPUnanswered = 30
)

// Table is what is remembered of connections: a connection may stand in the bpf.FlowWays
// rows from that of its hash on.
type Table []bpf.Connection

// NewTable returns an empty table; rows is a power of two.
func NewTable(rows uint32) Table { return make(Table, rows) }

// ways returns the rows that a flow may have.
func (t Table) ways(f bpf.Flow) []*bpf.Connection {
	all := make([]*bpf.Connection, bpf.FlowWays)
	for i := range all {
		all[i] = &t[(int(Hash(f, Seed))+i)%len(t)]
	}
	return all
}

// find returns the row of a flow, nil for none.
func (t Table) find(f bpf.Flow) *bpf.Connection {
	for _, row := range t.ways(f) {
		if row.Flow == f {
			return row
		}
	}
	return nil
}

// forget frees the row of a flow.
func (t Table) forget(f bpf.Flow) {
	if row := t.find(f); row != nil {
		row.Flow.Protocol = 0
	}
}

// claim says how gladly a row is given away; the larger, the more.
type claim struct {
	rank claimRank
	idle uint32 // ticks
}

type claimRank int

const (
	isEstablished claimRank = iota // never
	isUnanswered
	isClosed
	isOver
	isFree
)

func (c claim) before(other claim) bool {
	return c.rank > other.rank || c.rank == other.rank && c.idle > other.idle
}

func claimOf(row *bpf.Connection, now uint32) claim {
	const fins = bpf.ConnectionFin | bpf.ConnectionFin<<1
	const seen = bpf.ConnectionSeen | bpf.ConnectionSeen<<1
	idle := uint32(max(0, int32(now-row.Seen)))
	closed := row.Flags&bpf.ConnectionRst != 0 || row.Flags&fins == fins
	answered := row.Flags&seen == seen
	switch {
	case row.Flow.Protocol == 0:
		return claim{isFree, idle}
	case idle > lifeOf(row):
		return claim{isOver, idle}
	case closed:
		return claim{isClosed, idle}
	case answered:
		return claim{isEstablished, 0}
	}
	return claim{isUnanswered, idle}
}

// lifeOf is how long a row's connection is remembered after its last packet.
func lifeOf(row *bpf.Connection) uint32 {
	const fins = bpf.ConnectionFin | bpf.ConnectionFin<<1
	const seen = bpf.ConnectionSeen | bpf.ConnectionSeen<<1
	tcp, answered := row.Flow.Protocol == unix.IPPROTO_TCP, row.Flags&seen == seen
	switch {
	case !tcp && answered:
		return lifeUDPAnswered
	case !tcp:
		return lifeUDPUnanswered
	case row.Flags&bpf.ConnectionRst != 0 || row.Flags&fins == fins:
		return lifeClosed
	case row.Flags&fins != 0:
		return lifeClosing
	case answered:
		return lifeEstablished
	}
	return lifeOpening
}

// place returns a row for a new connection: that whose own has the least use for it; nil
// when all are established. It tells what is counted.
func (t Table) place(f bpf.Flow, now uint32) (*bpf.Connection, []bpf.FlowEvent) {
	ways := t.ways(f)
	best := ways[0]
	for _, row := range ways[1:] {
		if claimOf(row, now).before(claimOf(best, now)) {
			best = row
		}
	}
	switch claimOf(best, now).rank {
	case isEstablished:
		return nil, []bpf.FlowEvent{bpf.FlowTableFull}
	case isUnanswered:
		return best, []bpf.FlowEvent{bpf.FlowEvictedUnanswered, bpf.FlowCreated}
	case isClosed:
		return best, []bpf.FlowEvent{bpf.FlowEvictedClosed, bpf.FlowCreated}
	}
	return best, []bpf.FlowEvent{bpf.FlowCreated}
}

// remember writes the way of a packet that was decided anew, unless the table has it: then
// nobody decided. always tells that somebody did all the same.
func (w *World) remember(out *Outcome, q plain, path bpf.Path, remote netip.Addr, now uint32, always bool) {
	row := w.Table.find(q.flow)
	if row != nil && !always && !w.judged.decided && row.Epoch == w.Epoch && row.Path[q.direction] == path {
		saw(row, q, now)
		return
	}
	w.write(out, q, path, remote, now)
}

// write writes the row of a packet's connection.
func (w *World) write(out *Outcome, q plain, path bpf.Path, remote netip.Addr, now uint32) {
	row := w.Table.find(q.flow)
	known := row != nil
	out.Events = []bpf.FlowEvent{bpf.FlowDecidedAnew}
	if !known {
		if row, out.Events = w.Table.place(q.flow, now); row == nil {
			return
		}
		row.Flow, row.Flags, row.Verdict = q.flow, 0, openerOf(q)
	}
	if w.judged.verdict != 0 {
		row.Verdict = w.judged.verdict
	}
	if !known || row.Epoch != w.Epoch {
		row.Epoch = w.Epoch
		row.Path[0].Kind, row.Path[1].Kind = bpf.PathNone, bpf.PathNone
	}
	if path.Kind == bpf.PathTunnel || path.Flags&bpf.PathFromTunnel != 0 {
		row.Remote = bpf.AddressOf(remote)
	}
	row.Path[q.direction] = path
	saw(row, q, now)
}

// saw notes what a packet says of its connection's state.
func saw(row *bpf.Connection, q plain, now uint32) {
	const fin, rst = 1, 4
	if isOpening(q.tcp) {
		row.Flags = 0 // the ports are used again
	}
	row.Flags |= bpf.ConnectionSeen << q.direction
	if q.tcp&fin != 0 {
		row.Flags |= bpf.ConnectionFin << q.direction
	}
	if q.tcp&rst != 0 {
		row.Flags |= bpf.ConnectionRst
	}
	row.Seen = now
}
