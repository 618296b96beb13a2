// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/bpf"
)

// rowsEvery is how often the table of connections is read at most: it has megabytes.
const rowsEvery = 30 * time.Second

// rowsBatch is how many rows are read in one system call.
const rowsBatch = 4096

// flowRows is what FlowRows found last.
type flowRows struct {
	at     time.Time
	counts map[string]int
}

// FlowRows counts the rows of the table of connections: free, established (answered and
// not closed), opening (nobody has answered yet) and closed. What it returns is up to half
// a minute old. Rows of connections that are over, and will be given away, count as what
// they were.
func (d *Datapath) FlowRows() (map[string]int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	if time.Since(d.flowRows.at) < rowsEvery {
		return d.flowRows.counts, nil
	}
	counts := map[string]int{"free": 0, "established": 0, "opening": 0, "closed": 0}
	var cursor ebpf.MapBatchCursor
	keys, rows := make([]uint32, rowsBatch), make([]bpf.Connection, rowsBatch)
	for {
		n, err := d.maps.Connections.BatchLookup(&cursor, keys, rows, nil)
		for _, c := range rows[:n] {
			counts[rowState(c)]++
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("table of connections: %w", err)
		}
	}
	d.flowRows = flowRows{at: time.Now(), counts: counts}
	return counts, nil
}

// rowState names the state of a row as connection.h computes it.
func rowState(c bpf.Connection) string {
	const answered, fins = bpf.ConnectionSeen | bpf.ConnectionSeen<<1, bpf.ConnectionFin | bpf.ConnectionFin<<1
	switch {
	case c.Flow.Protocol == 0:
		return "free"
	case c.Flow.Protocol == unix.IPPROTO_TCP && (c.Flags&bpf.ConnectionRst != 0 || c.Flags&fins == fins):
		return "closed"
	case c.Flags&answered == answered:
		return "established"
	}
	return "opening"
}
