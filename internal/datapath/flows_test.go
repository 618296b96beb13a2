// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"net/netip"
	"testing"
)

// TestFlowsAreCounted: a connection has one row on each node, whichever way it takes.
func TestFlowsAreCounted(t *testing.T) {
	w := newWorld(t, 2, false)
	one, two := w.nodes[0], w.nodes[1]
	a, b, far := one.addPod(), one.addPod(), two.addPod()
	for _, to := range []*pod{b, far} {
		for _, f := range families {
			at := netip.AddrPortFrom(to.ip(f), 7000)
			tcpServer(t, to.space, at)
			if _, err := tcpSend(a.space, at, bulk); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, n := range w.nodes {
		want := map[string]int{"free": 1<<17 - 4, "closed": 4, "established": 0, "opening": 0}
		if n == two {
			want["free"], want["closed"] = 1<<17-2, 2
		}
		rows, err := n.dp.FlowRows()
		must(t, err)
		for state, n := range want {
			if rows[state] != n {
				t.Errorf("%d rows are %s, want %d: %v", rows[state], state, n, rows)
			}
		}
		events, err := n.dp.FlowEvents()
		must(t, err)
		for _, e := range events {
			if e.Event == "created" && int(e.Count) != want["closed"] {
				t.Errorf("%d rows were created, want %d", e.Count, want["closed"])
			}
			if e.Event == "table_full" && e.Count > 0 {
				t.Errorf("%d connections found the table full", e.Count)
			}
		}
		if again, err := n.dp.FlowRows(); err != nil || again["closed"] != want["closed"] {
			t.Errorf("asked again at once: %v (%v)", again, err)
		}
	}
	// All but first packets of each direction came past the tunnel device.
	if device, uplink := count(t, two, "from_overlay", "local"), count(t, two, "from_uplink", "local"); device != 2 || uplink < 100 {
		t.Errorf("%d packets came by the tunnel device and %d past it, want 2 and nearly all", device, uplink)
	}
}
