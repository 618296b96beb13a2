// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/datapath/route"
)

// The datapath repairs itself when it is told, as the agent does it, and the two come to
// rest: what the datapath writes is a change only where something was to repair.
func TestADatapathThatIsToldOfChangesRepairsAndRests(t *testing.T) {
	s := newSpace(t)
	bpffs := t.TempDir()
	must(t, unix.Mount("bpf", bpffs, "bpf", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(bpffs, unix.MNT_DETACH)) })
	self := datapath.Node{Name: "a", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}, Addresses: []netip.Addr{netip.MustParseAddr("192.168.100.1")}}
	peers := []datapath.Peer{{Name: "b", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.2.0/24")}, Addresses: []netip.Addr{netip.MustParseAddr("192.168.100.2")}}}
	var dp *datapath.Datapath
	must(t, s.Do(func() (err error) {
		dp, err = datapath.Open(t.Context(), datapath.Options{BPFFS: bpffs, Masquerade: true}, self)
		return err
	}))
	t.Cleanup(func() { must(t, dp.Close()) })

	ctx, cancel := context.WithCancel(context.Background())
	looks, done := make(chan bool, 1024), make(chan error, 1)
	var book logbook
	w := &watcher{ns: s.NS, log: book.logger(), looked: func(changed bool) { looks <- changed }, changed: func() {
		if err := errors.Join(dp.Reconfigure(ctx, self), dp.SyncPeers(ctx, peers)); err != nil && ctx.Err() == nil {
			t.Errorf("repairing: %v", err)
		}
	}}
	go func() { done <- w.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	rest(t, looks)

	must(t, s.LinkDel(s.device(datapath.TunnelDevice)))
	start := time.Now()
	for s.peerRoutes() == 0 {
		if time.Since(start) > patience {
			t.Fatal("the tunnel and its route did not come back")
		}
		<-looks
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("the repair took %s", took)
	}
	rest(t, looks)
}

// rest waits until nothing more is looked at; it fails when changes do not end.
func rest(t *testing.T, looks <-chan bool) {
	t.Helper()
	changes := 0
	for {
		select {
		case changed := <-looks:
			if changed {
				changes++
			}
			if changes > 5 {
				t.Fatal("each repair brings another one")
			}
		case <-time.After(3 * between):
			return
		}
	}
}

// peerRoutes counts the routes into the tunnel.
func (s *space) peerRoutes() int {
	tunnel, err := s.LinkByName(datapath.TunnelDevice)
	if err != nil {
		return 0
	}
	routes, err := s.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: route.Protocol, LinkIndex: tunnel.Attrs().Index},
		netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_OIF)
	must(s.t, err)
	return len(routes)
}
