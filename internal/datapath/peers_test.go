// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

func (n *node) asPeer() datapath.Peer {
	return datapath.Peer{Name: n.name, PodCIDRs: n.spec.PodCIDRs, Addresses: n.spec.Addresses}
}

func TestPeersComeGoAndChange(t *testing.T) {
	w := newWorld(t, 3, false)
	one, two, three := w.nodes[0], w.nodes[1], w.nodes[2]
	a, c := one.addPod(), two.addPod()
	must(t, ping(a.space, c.ip("IPv4")))

	wrong := datapath.Peer{Name: "wrong", PodCIDRs: []netip.Prefix{prefix("10.244.0.0/16")}, Addresses: three.spec.Addresses}
	err := one.dp.SyncPeers(context.Background(), []datapath.Peer{wrong, two.asPeer()})
	if err == nil || !strings.Contains(err.Error(), "peer wrong") || strings.Contains(err.Error(), two.name) {
		t.Errorf("got error %v, want one about peer wrong only", err)
	}
	must(t, ping(a.space, c.ip("IPv4"))) // the good one is in force

	before := one.snapshot(t)
	must(t, one.dp.SyncPeers(context.Background(), []datapath.Peer{two.asPeer()}))
	if diff := cmp.Diff(before, one.snapshot(t)); diff != "" {
		t.Errorf("the same peers again changed something (-before +after):\n%s", diff)
	}

	// The second node's ranges move to the third.
	must(t, two.dp.RemoveEndpoint(context.Background(), c.ep))
	for _, n := range []*node{two, three} {
		n.cleanup(t)
	}
	two.spec.PodCIDRs, three.spec.PodCIDRs = three.spec.PodCIDRs, two.spec.PodCIDRs
	for _, n := range []*node{two, three} {
		n.open()
		must(t, n.dp.SyncPeers(context.Background(), []datapath.Peer{one.asPeer()}))
	}
	must(t, one.dp.SyncPeers(context.Background(), []datapath.Peer{one.asPeer(), two.asPeer(), three.asPeer()}))
	moved := three.addPod()
	for _, f := range families {
		must(t, ping(a.space, moved.ip(f)))
		must(t, ping(moved.space, a.ip(f)))
		must(t, ping(one.space, moved.ip(f)))
	}

	must(t, one.dp.SyncPeers(context.Background(), nil))
	for _, line := range one.snapshot(t) {
		if strings.Contains(line, "10.244.2.0/24") || strings.Contains(line, "10.244.3.0/24") {
			t.Errorf("of peers that are gone is left: %s", line)
		}
	}
}

func TestTunnelDeviceComesBack(t *testing.T) {
	w := newWorld(t, 2, false)
	one, two := w.nodes[0], w.nodes[1]
	a, c := one.addPod(), two.addPod()
	l, err := one.nl.LinkByName(datapath.TunnelDevice)
	must(t, err)
	must(t, one.nl.LinkDel(l))
	must(t, one.dp.SyncPeers(context.Background(), []datapath.Peer{two.asPeer()}))
	for _, f := range families {
		must(t, ping(a.space, c.ip(f)))
		must(t, ping(c.space, a.ip(f)))
		must(t, ping(one.space, c.ip(f)))
	}
}

func TestOpenErrors(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	n.cleanup(t)
	must(t, n.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0o644) }))
	open := func(opts datapath.Options, spec datapath.Node) error {
		return n.Do(func() error {
			dp, err := datapath.Open(context.Background(), opts, spec)
			if err == nil {
				t.Cleanup(func() { must(t, dp.Close()) })
			}
			return err
		})
	}
	t.Run("range overlaps the node's network", func(t *testing.T) {
		spec := n.spec
		spec.PodCIDRs = []netip.Prefix{prefix("192.168.0.0/16")}
		err := open(n.opts, spec)
		for _, want := range []string{"Node node-1", "spec.podCIDRs[0] 192.168.0.0/16", "192.168.100.1/24", "eth0"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got error %v, want one with %q", err, want)
			}
		}
		for _, line := range n.snapshot(t) {
			if strings.Contains(line, datapath.TunnelDevice) || strings.Contains(line, "ip_forward = 1") {
				t.Errorf("a refused Open has made something: %s", line)
			}
		}
	})
	t.Run("tunnel port in use", func(t *testing.T) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "other-vxlan"
		other := &netlink.Vxlan{LinkAttrs: attrs, FlowBased: true, Port: 9999}
		must(t, n.nl.LinkAdd(other))
		defer n.nl.LinkDel(other)
		must(t, n.nl.LinkSetUp(other))
		opts := n.opts
		opts.TunnelPort = 9999
		if err := open(opts, n.spec); err == nil || !strings.Contains(err.Error(), "9999") {
			t.Errorf("got error %v, want one that names port 9999", err)
		}
	})
	t.Run("no BPF file system mounted", func(t *testing.T) {
		opts := n.opts
		opts.BPFFS = t.TempDir() + "/bpf"
		must(t, open(opts, n.spec))
		must(t, n.Do(func() error { return datapath.Cleanup(context.Background(), opts) }))
		must(t, unix.Unmount(opts.BPFFS, unix.MNT_DETACH))
	})
	t.Run("another port later", func(t *testing.T) {
		must(t, open(n.opts, n.spec))
		opts := n.opts
		opts.TunnelPort = 4789
		must(t, open(opts, n.spec))
		l, err := n.nl.LinkByName(datapath.TunnelDevice)
		must(t, err)
		if port := l.(*netlink.Vxlan).Port; port != 4789 {
			t.Errorf("the tunnel has port %d, want 4789", port)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		err := n.Do(func() error {
			_, err := datapath.Open(ctx, n.opts, n.spec)
			return err
		})
		if err == nil {
			t.Error("Open goes on with a context that is cancelled")
		}
	})
}

func TestClosed(t *testing.T) {
	n := newWorld(t, 1, false).nodes[0]
	must(t, n.dp.Close())
	must(t, n.dp.Close())
	if err := n.dp.SyncPeers(context.Background(), nil); err != datapath.ErrClosed {
		t.Errorf("SyncPeers: got error %v, want %v", err, datapath.ErrClosed)
	}
	if _, err := n.dp.Metrics(); err != datapath.ErrClosed {
		t.Errorf("Metrics: got error %v, want %v", err, datapath.ErrClosed)
	}
}
