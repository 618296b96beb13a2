// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/fairlead-io/fairlead/bpf"
)

// serviceRows writes the rows of Services into a node's maps: what a packet meets.
type serviceRows struct {
	t      *testing.T
	n      *node
	maps   map[string]*ebpf.Map
	pools  uint32
	slots  uint32
	number uint32
}

// serviceRows opens the maps of a node, and tells it its own addresses.
func (n *node) serviceRows(t *testing.T) *serviceRows {
	t.Helper()
	r := &serviceRows{t: t, n: n, maps: map[string]*ebpf.Map{}}
	for _, name := range []string{"fl_frontends", "fl_pools", "fl_slots", "fl_backends", "fl_src_ranges", "fl_node_addrs", "fl_translations"} {
		m, err := ebpf.LoadPinnedMap(n.mapPin(name), nil)
		must(t, err)
		t.Cleanup(func() { m.Close() })
		r.maps[name] = m
	}
	for _, f := range families {
		for _, a := range []netip.Addr{n.uplinkIP(f), n.routerIP(f)} {
			must(t, r.maps["fl_node_addrs"].Put(bpf.AddressOf(a), bpf.NodeAddress{Known: 1}))
		}
	}
	return r
}

// backend is where a Service's packets go.
type backend struct {
	at    netip.AddrPort
	local *node // nil: on no node
	pod   bool
}

// toPod is a backend in a pod, toHost one on a node's own network.
func toPod(p *pod, family string, port uint16) backend {
	return backend{netip.AddrPortFrom(p.ip(family), port), p.node, true}
}

func toHost(n *node, family string, port uint16) backend {
	return backend{netip.AddrPortFrom(n.uplinkIP(family), port), n, false}
}

func networkOrder(port uint16) uint16 { return port<<8 | port>>8 }

// pool writes backends, and returns the number of their pool.
func (r *serviceRows) pool(backends ...backend) uint32 {
	r.t.Helper()
	r.pools++
	slots := uint32(0)
	if len(backends) > 0 {
		slots = 16
	}
	first := r.number
	for _, b := range backends {
		row := bpf.Backend{Address: bpf.AddressOf(b.at.Addr()), Port: networkOrder(b.at.Port()), Pool: r.pools}
		if b.local == r.n {
			row.Flags |= bpf.BackendLocal
		}
		if b.pod {
			row.Flags |= bpf.BackendPod
		}
		must(r.t, r.maps["fl_backends"].Put(r.number, row))
		r.number++
	}
	for i := range slots {
		must(r.t, r.maps["fl_slots"].Put(r.slots+i, first+i%uint32(len(backends))))
	}
	must(r.t, r.maps["fl_pools"].Put(r.pools, bpf.Pool{Base: r.slots, Slots: slots}))
	r.slots += slots
	return r.pools
}

// publish makes a frontend, for TCP and UDP.
func (r *serviceRows) publish(at netip.AddrPort, f bpf.Frontend) {
	r.t.Helper()
	for _, protocol := range []uint8{6, 17} {
		key := bpf.FrontendKey{Address: bpf.AddressOf(at.Addr()), Port: networkOrder(at.Port()), Protocol: protocol}
		if at.Addr().IsUnspecified() && at.Addr().Is4() {
			key.Address = bpf.AddressOf(netip.IPv4Unspecified())
		}
		must(r.t, r.maps["fl_frontends"].Put(key, f))
	}
}

// nodePort makes a port of all addresses of the node.
func (r *serviceRows) nodePort(family string, port uint16, backends ...backend) {
	r.t.Helper()
	pool := r.pool(backends...)
	r.publish(netip.AddrPortFrom(unspecified(family), port), bpf.Frontend{Inside: pool, Outside: pool})
}

func unspecified(family string) netip.Addr {
	if family == "IPv4" {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
