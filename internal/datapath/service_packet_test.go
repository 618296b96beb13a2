// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"net/netip"
	"testing"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// serviceShapes are the worlds that Services' packets are tried in.
var serviceShapes = []struct {
	name string
	shape
}{
	{"tunnel", shape{services: true}},
	{"tunnel over IPv6", shape{services: true, over6: true}},
	{"native", shape{services: true, routing: datapath.RoutingNative}},
	{"tunnel, direct answers", shape{services: true, forwarding: datapath.ForwardDSR}},
	{"native, direct answers", shape{services: true, forwarding: datapath.ForwardDSR, routing: datapath.RoutingNative}},
}

// checkBackend asks a Service over TCP and UDP, in small and large pieces, and sees that the
// backend takes the client for the right one. An error about a port that is closed comes back.
func checkBackend(t *testing.T, from, to space, service, at netip.AddrPort, seen netip.Addr) {
	t.Helper()
	tcpServer(t, to, at)
	udpServer(t, to, at)
	got, err := tcpSend(from, service, bulk)
	if err != nil || got != seen {
		t.Errorf("TCP: the backend saw %v (%v), want %v", got, err, seen)
	}
	for _, size := range []int{10, 1420, 8000} { // the last in fragments
		got, err := udpAsk(from, service, size, false)
		if err != nil || got != seen {
			t.Errorf("UDP of %d bytes: the backend saw %v (%v), want %v", size, got, err, seen)
		}
	}
	if err := udpSegments(from, service); err != nil {
		t.Errorf("UDP in segments: %v", err)
	}
}

// TestServicesFromOutside reaches every kind of backend through a port of a node.
func TestServicesFromOutside(t *testing.T) {
	for _, c := range serviceShapes {
		t.Run(c.name, func(t *testing.T) {
			w := newShapedWorld(t, 2, c.shape)
			one, two := w.nodes[0], w.nodes[1]
			here, there := one.addPod(), two.addPod()
			rows := []*serviceRows{one.serviceRows(t), two.serviceRows(t)}
			for _, f := range families {
				far := one.routerIP(f)
				if c.forwarding == datapath.ForwardDSR {
					far = outsideIP(f)
				}
				for i, to := range []struct {
					name    string
					backend backend
					space   space
					seen    netip.Addr
				}{
					{"pod of the node", toPod(here, f, 7100), here.space, outsideIP(f)},
					{"pod of another node", toPod(there, f, 7100), there.space, far},
					{"host", toHost(one, f, 7101), one.space, outsideIP(f)},
					{"another host", toHost(two, f, 7101), two.space, one.uplinkIP(f)},
				} {
					t.Run(f+"/"+to.name, func(t *testing.T) {
						port := uint16(30080 + i)
						closed := to.backend
						closed.at = netip.AddrPortFrom(closed.at.Addr(), 7999)
						for _, r := range rows {
							r.nodePort(f, port, to.backend)
							r.nodePort(f, port+100, closed)
						}
						service := netip.AddrPortFrom(one.uplinkIP(f), port)
						checkBackend(t, w.outside, to.space, service, to.backend.at, to.seen)
						checkRefused(t, w.outside, netip.AddrPortFrom(service.Addr(), port+100))
					})
				}
			}
		})
	}
}

// TestServicesFromPods: packets that no socket program has seen are translated too.
func TestServicesFromPods(t *testing.T) {
	for _, c := range serviceShapes[:3] {
		t.Run(c.name, func(t *testing.T) {
			w := newShapedWorld(t, 2, c.shape)
			one, two := w.nodes[0], w.nodes[1]
			a, b, far := one.addPod(), one.addPod(), two.addPod()
			rows := one.serviceRows(t)
			for _, f := range families {
				outside := backend{at: outsideAt(f, 7102)}
				for i, to := range []struct {
					name    string
					backend backend
					space   space
					seen    netip.Addr
				}{
					{"itself", toPod(a, f, 7100), a.space, one.routerIP(f)},
					{"pod of the node", toPod(b, f, 7100), b.space, a.ip(f)},
					{"pod of another node", toPod(far, f, 7100), far.space, a.ip(f)},
					{"host", toHost(one, f, 7101), one.space, a.ip(f)},
					{"another host", toHost(two, f, 7101), two.space, one.uplinkIP(f)},
					{"outside", outside, w.outside, one.uplinkIP(f)},
				} {
					t.Run(f+"/"+to.name, func(t *testing.T) {
						service := netip.AddrPortFrom(serviceIP(f, byte(i+1)), 80)
						pool := rows.pool(to.backend)
						rows.publish(service, bpf.Frontend{Inside: pool, Outside: pool, Flags: bpf.FrontendClusterIP})
						checkBackend(t, a.space, to.space, service, to.backend.at, to.seen)
					})
				}
			}
		})
	}
}

// TestServicesWithoutOffloads: checksums are right when nodes and pods compute them themselves.
func TestServicesWithoutOffloads(t *testing.T) {
	for _, c := range serviceShapes {
		t.Run(c.name, func(t *testing.T) {
			w := newShapedWorld(t, 2, c.shape)
			one, two := w.nodes[0], w.nodes[1]
			here, there := one.addPod(), two.addPod()
			rows := []*serviceRows{one.serviceRows(t), two.serviceRows(t)}
			for _, n := range w.nodes {
				n.withoutOffloads(t, "eth0")
			}
			for _, f := range families {
				far := one.routerIP(f)
				if c.forwarding == datapath.ForwardDSR {
					far = outsideIP(f)
				}
				for _, r := range rows {
					r.nodePort(f, 30080, toPod(there, f, 7100))
					r.nodePort(f, 30081, toPod(here, f, 7100))
					r.nodePort(f, 30082, toHost(one, f, 7101))
				}
				at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(one.uplinkIP(f), port) }
				checkBackend(t, w.outside, there.space, at(30080), toPod(there, f, 7100).at, far)
				checkBackend(t, w.outside, here.space, at(30081), toPod(here, f, 7100).at, outsideIP(f))
				checkBackend(t, w.outside, one.space, at(30082), toHost(one, f, 7101).at, outsideIP(f))
			}
		})
	}
}
