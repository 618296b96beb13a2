// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/balance"
	"github.com/fairlead-io/fairlead/internal/datapath/load"
)

// serviceRows is a change of the maps of Services, in the order in which it is written.
type serviceRows struct {
	backends  map[uint32]bpf.Backend
	slots     slotRows
	pools     map[uint32]bpf.Pool
	ranges    map[bpf.SourceRangeKey]bpf.SourceRange
	frontends map[bpf.FrontendKey]bpf.Frontend

	goneFrontends []bpf.FrontendKey
	goneRanges    []bpf.SourceRangeKey
	gonePools     []uint32
	goneBackends  []uint32
	// freed and goneNumbers are given back when all is written.
	freed       []balance.Range
	goneNumbers []uint32
}

// slotRows are backends' numbers by slot; of two for one slot the latter holds. There are
// more than a million at a start with many Services: as a map they would be most of the
// memory that the agent ever needs.
type slotRows struct{ slots, backends []uint32 }

func (r *slotRows) set(slot, backend uint32) {
	r.slots, r.backends = append(r.slots, slot), append(r.backends, backend)
}

func newServiceRows() *serviceRows {
	return &serviceRows{
		backends: map[uint32]bpf.Backend{}, pools: map[uint32]bpf.Pool{},
		ranges: map[bpf.SourceRangeKey]bpf.SourceRange{}, frontends: map[bpf.FrontendKey]bpf.Frontend{},
	}
}

// setFrontend plans a frontend's row, which another Service may have given up in the same
// change.
func (r *serviceRows) setFrontend(key bpf.FrontendKey, row bpf.Frontend) {
	r.frontends[key] = row
	r.goneFrontends = slices.DeleteFunc(r.goneFrontends, func(k bpf.FrontendKey) bool { return k == key })
}

// setRange plans the row of a source range, dropRange its end: whichever comes later holds.
func (r *serviceRows) setRange(key bpf.SourceRangeKey) {
	r.ranges[key] = bpf.SourceRange{Allowed: 1}
	r.goneRanges = slices.DeleteFunc(r.goneRanges, func(k bpf.SourceRangeKey) bool { return k == key })
}

func (r *serviceRows) dropRange(key bpf.SourceRangeKey) {
	delete(r.ranges, key)
	r.goneRanges = append(r.goneRanges, key)
}

func (r *serviceRows) dropBackend(number uint32) {
	delete(r.backends, number)
	r.goneBackends = append(r.goneBackends, number)
}

// serviceMaps writes rows to the kernel.
type serviceMaps interface{ write(*serviceRows) error }

// kernelServiceMaps are the maps of a node.
type kernelServiceMaps struct{ m *load.Maps }

func (k kernelServiceMaps) write(r *serviceRows) error {
	gonePools := make(map[uint32]bpf.Pool, len(r.gonePools))
	for _, n := range r.gonePools {
		gonePools[n] = bpf.Pool{}
	}
	goneBackends := make(map[uint32]bpf.Backend, len(r.goneBackends))
	for _, n := range r.goneBackends {
		goneBackends[n] = bpf.Backend{}
	}
	// Each step is one that readers may meet: a frontend never refers to what is not there.
	for _, step := range []func() error{
		func() error { return writeRows(k.m.Backends, r.backends) },
		func() error { return writeInOrder(k.m.Slots, r.slots.slots, r.slots.backends) },
		func() error { return writeRows(k.m.Pools, r.pools) },
		func() error { return writeRows(k.m.SourceRanges, r.ranges) },
		func() error { return writeRows(k.m.Frontends, r.frontends) },
		func() error { return deleteRows(k.m.Frontends, r.goneFrontends) },
		func() error { return deleteRows(k.m.SourceRanges, r.goneRanges) },
		func() error { return writeRows(k.m.Pools, gonePools) },
		func() error { return writeRows(k.m.Backends, goneBackends) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// writeRows writes rows in one call to the kernel, but where it knows no such call for a
// kind of map.
func writeRows[K comparable, V any](m *ebpf.Map, rows map[K]V) error {
	keys, values := make([]K, 0, len(rows)), make([]V, 0, len(rows))
	for k, v := range rows {
		keys, values = append(keys, k), append(values, v)
	}
	return writeInOrder(m, keys, values)
}

func writeInOrder[K, V any](m *ebpf.Map, keys []K, values []V) error {
	if len(keys) > 1 {
		_, err := m.BatchUpdate(keys, values, nil)
		if err == nil || !errors.Is(err, ebpf.ErrNotSupported) {
			return wrapWrite(m, err)
		}
	}
	for i, key := range keys {
		if err := m.Put(key, values[i]); err != nil {
			return wrapWrite(m, err)
		}
	}
	return nil
}

func wrapWrite(m *ebpf.Map, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("services: write to map %s: %w", m.String(), err)
}

func deleteRows[K any](m *ebpf.Map, keys []K) error {
	for _, key := range keys {
		if err := ignoreMissing(m.Delete(key)); err != nil {
			return fmt.Errorf("services: delete from map %s: %w", m.String(), err)
		}
	}
	return nil
}
