// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/fairlead-io/fairlead/bpf"
)

// endpointRows is fl_endpoints as the backend of a table.
type endpointRows struct{ m *ebpf.Map }

// Put implements table.Backend.
func (r endpointRows) Put(a netip.Addr, v bpf.Endpoint) error {
	return put(r.m, bpf.FromPodMapFlEndpoints, "remove pods from the node", bpf.AddressOf(a), v)
}

// Delete implements table.Backend.
func (r endpointRows) Delete(a netip.Addr, _ bpf.Endpoint) error {
	return ignoreMissing(r.m.Delete(bpf.AddressOf(a)))
}

// List implements table.Backend.
func (r endpointRows) List() (map[netip.Addr]bpf.Endpoint, error) {
	out := map[netip.Addr]bpf.Endpoint{}
	var k bpf.Address
	var v bpf.Endpoint
	rows := r.m.Iterate()
	for rows.Next(&k, &v) {
		out[bpf.Netip(k)] = v
	}
	return out, rows.Err()
}

// rangeRows is fl_ranges as the backend of a table.
type rangeRows struct{ m *ebpf.Map }

// Put implements table.Backend.
func (r rangeRows) Put(p netip.Prefix, v bpf.Range) error {
	return put(r.m, bpf.FromPodMapFlRanges, "remove nodes from the cluster", bpf.RangeKeyOf(p), v)
}

// Delete implements table.Backend.
func (r rangeRows) Delete(p netip.Prefix, _ bpf.Range) error {
	return ignoreMissing(r.m.Delete(bpf.RangeKeyOf(p)))
}

// List implements table.Backend.
func (r rangeRows) List() (map[netip.Prefix]bpf.Range, error) {
	out := map[netip.Prefix]bpf.Range{}
	var k bpf.RangeKey
	var v bpf.Range
	rows := r.m.Iterate()
	for rows.Next(&k, &v) {
		out[bpf.Prefix(k)] = v
	}
	return out, rows.Err()
}

// peerRows is fl_peers as the backend of a table.
type peerRows struct{ m *ebpf.Map }

// Put implements table.Backend.
func (r peerRows) Put(a netip.Addr, v bpf.Peer) error {
	return put(r.m, bpf.FromOverlayMapFlPeers, "remove nodes from the cluster", bpf.AddressOf(a), v)
}

// Delete implements table.Backend.
func (r peerRows) Delete(a netip.Addr, _ bpf.Peer) error {
	return ignoreMissing(r.m.Delete(bpf.AddressOf(a)))
}

// List implements table.Backend.
func (r peerRows) List() (map[netip.Addr]bpf.Peer, error) {
	out := map[netip.Addr]bpf.Peer{}
	var k bpf.Address
	var v bpf.Peer
	rows := r.m.Iterate()
	for rows.Next(&k, &v) {
		out[bpf.Netip(k)] = v
	}
	return out, rows.Err()
}

func ignoreMissing(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}
