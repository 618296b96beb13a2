// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"

	"github.com/fairlead-io/fairlead/bpf"
)

// remember writes a connection's row as it is after a packet, and tells what the table
// counts: nothing when the path was known.
func (w *World) remember(out *Outcome, q plain, path bpf.Path, remote netip.Addr) {
	row, known := w.Rows[q.flow]
	if !known {
		row = &bpf.Connection{Flow: q.flow}
		w.Rows[q.flow] = row
	}
	current := known && row.Epoch == w.Epoch
	if !current {
		row.Path[0].Kind, row.Path[1].Kind = bpf.PathNone, bpf.PathNone
	}
	former := row.Path[q.direction]
	row.Epoch = w.Epoch
	if remote.IsValid() && (path.Kind == bpf.PathTunnel || path.Flags&bpf.PathFromTunnel != 0) {
		row.Remote = bpf.AddressOf(remote)
	}
	row.Path[q.direction] = path
	saw(row, q)
	switch {
	case !known:
		out.Created = true
	case !current || former != path || path.Flags&bpf.PathFromTunnel != 0:
		out.DecidedAnew = true // the tunnel device's program decides each time
	case path.Kind != bpf.PathPod:
		out.PerhapsAnew = true
	}
}

// saw notes what a packet says of its connection's state.
func saw(row *bpf.Connection, q plain) {
	const fin, syn, rst, ack = 1, 2, 4, 16
	flags := row.Flags
	if q.tcp&(syn|ack) == syn {
		flags = 0
	}
	flags |= bpf.ConnectionSeen << q.direction
	if q.tcp&fin != 0 {
		flags |= bpf.ConnectionFin << q.direction
	}
	if q.tcp&rst != 0 {
		flags |= bpf.ConnectionRst
	}
	row.Flags = flags
}
