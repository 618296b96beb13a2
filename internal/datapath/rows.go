// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/fairlead-io/fairlead/bpf"
)

// addressRows is a map keyed by address as the backend of a table.
type addressRows[V any] struct {
	m    *ebpf.Map
	name string
	// remedy is what makes room in a full map.
	remedy string
}

// Put implements table.Backend.
func (r addressRows[V]) Put(a netip.Addr, v V) error {
	return put(r.m, r.name, r.remedy, bpf.AddressOf(a), v)
}

// Delete implements table.Backend.
func (r addressRows[V]) Delete(a netip.Addr, _ V) error {
	return ignoreMissing(r.m.Delete(bpf.AddressOf(a)))
}

// List implements table.Backend.
func (r addressRows[V]) List() (map[netip.Addr]V, error) {
	out := map[netip.Addr]V{}
	err := each(r.m, func(k bpf.Address, v V) { out[bpf.Netip(k)] = v })
	return out, err
}

func (d *Datapath) endpointRows() addressRows[bpf.Endpoint] {
	return addressRows[bpf.Endpoint]{d.maps.Endpoints, bpf.FromPodMapFlEndpoints, "remove pods from the node"}
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

func ignoreMissing(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}
