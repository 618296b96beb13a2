// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// reversePath sets the node's reverse path filter everywhere: 0 none, 1 strict, 2 loose.
// For IPv6 the kernel has none.
func (n *node) reversePath(t *testing.T, value int) {
	t.Helper()
	n.run(t, "sh", "-c", fmt.Sprintf("for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo %d > $f; done", value))
}

// TestReversePathFilters: every path works with each setting of the host, whether it was
// made before the datapath or after it.
func TestReversePathFilters(t *testing.T) {
	for _, routing := range []datapath.Routing{datapath.RoutingTunnel, datapath.RoutingNative} {
		t.Run(string(routing), func(t *testing.T) {
			w := newShapedWorld(t, 2, shape{routing: routing, families: []string{"IPv4"}})
			one, two := w.nodes[0], w.nodes[1]
			a, b, far := one.addPod(), one.addPod(), two.addPod()
			service := serviceIP("IPv4", 1)
			one.addService(t, service, far.ip("IPv4"))
			eps := []datapath.Endpoint{a.ep, b.ep}
			for value := range 3 {
				for _, when := range []string{"before", "after"} {
					t.Run(fmt.Sprintf("rp_filter %d set %s the datapath", value, when), func(t *testing.T) {
						if when == "before" {
							for _, n := range w.nodes {
								n.reversePath(t, value)
							}
							one.restart(t, one.opts, eps)
							two.restart(t, two.opts, []datapath.Endpoint{far.ep})
							a = one.addPod() // whose device begins with the default
							eps = append(eps, a.ep)
						} else {
							for _, n := range w.nodes {
								n.reversePath(t, value)
							}
						}
						checkAllPaths(t, one, two, a, b, far)
						t.Run("service", func(t *testing.T) { checkService(t, b.space, far, service, "IPv4", b.ip("IPv4")) })
					})
				}
			}
		})
	}
}

// TestReversePathFilterWhileRoutingChanges: one node sends natively, the other still in the
// tunnel, so that packets come in by another device than their answers leave by.
func TestReversePathFilterWhileRoutingChanges(t *testing.T) {
	w := newShapedWorld(t, 2, shape{families: []string{"IPv4"}})
	one, two := w.nodes[0], w.nodes[1]
	for _, n := range w.nodes {
		n.cleanup(t) // so that the datapath finds the filters as they are
		n.reversePath(t, 1)
		n.open()
		n.syncPeers(t)
	}
	a, b, far := one.addPod(), one.addPod(), two.addPod()
	native := one.opts
	native.Routing = datapath.RoutingNative
	one.restart(t, native, []datapath.Endpoint{a.ep, b.ep})
	checkAllPaths(t, one, two, a, b, far)
	checkPath(t, far.space, one.space, one.routerIP("IPv4"), far.ip("IPv4"))
	const uplink = "net/ipv4/conf/eth0/rp_filter"
	if got := one.sysctl(t, uplink); got != "2" {
		t.Errorf("%s is %s, want 2", uplink, got)
	}
	one.cleanup(t)
	if got := one.sysctl(t, uplink); got != "1" {
		t.Errorf("%s is %s after Cleanup, it was 1", uplink, got)
	}
}

// checkAllPaths is checkPath of every kind of path over IPv4.
func checkAllPaths(t *testing.T, one, two *node, a, b, far *pod) {
	t.Helper()
	const f = "IPv4"
	for _, path := range []struct {
		name     string
		from, to space
		address  netip.Addr
		seen     netip.Addr
	}{
		{"same node", a.space, b.space, b.ip(f), a.ip(f)},
		{"across nodes", a.space, far.space, far.ip(f), a.ip(f)},
		{"from the other node", far.space, a.space, a.ip(f), far.ip(f)},
		{"host to own pod", one.space, a.space, a.ip(f), one.routerIP(f)},
		{"host to other node's pod", one.space, far.space, far.ip(f), one.routerIP(f)},
		{"pod to own host", a.space, one.space, one.routerIP(f), a.ip(f)},
		{"pod to other host", a.space, two.space, two.routerIP(f), a.ip(f)},
		{"pod to outside", a.space, one.world.outside, outsideIP(f), one.uplinkIP(f)},
	} {
		t.Run(path.name, func(t *testing.T) { checkPath(t, path.from, path.to, path.address, path.seen) })
	}
}
