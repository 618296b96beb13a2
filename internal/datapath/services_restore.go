// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/balance"
	"github.com/fairlead-io/fairlead/internal/datapath/load"
)

// openServices reads what an earlier run left in the maps, so that nothing that is right
// is written again and no number is given away twice.
func openServices(m *load.Maps, isPod func(netip.Addr) bool) (*serviceTable, error) {
	t := &serviceTable{
		services: map[string]*realisedService{}, frontends: map[bpf.FrontendKey]ownedFrontend{}, losers: map[string]Service{},
		left: map[uint32]*realisedPool{}, room: int(m.Frontends.MaxEntries()), isPod: isPod,
	}
	numbers := map[uint32]bool{}
	err := each(m.Frontends, func(k bpf.FrontendKey, f bpf.Frontend) {
		t.frontends[k] = ownedFrontend{row: f}
		for _, n := range []uint32{f.Inside, f.Outside} {
			t.left[n] = &realisedPool{number: n}
		}
		if f.Service != 0 {
			numbers[f.Service] = true
		}
	})
	if err == nil {
		err = t.readPools(m)
	}
	if err != nil {
		return nil, fmt.Errorf("services: read what an earlier run left: %w", err)
	}
	pools, backends := map[uint32]bool{}, map[uint32]bool{}
	var taken []balance.Range
	for n, p := range t.left {
		pools[n] = true
		for _, b := range p.backends {
			backends[b.number] = true
		}
		taken = append(taken, p.slots)
	}
	t.pools = balance.NewNumbers(1, m.Pools.MaxEntries(), pools)
	t.backends = balance.NewNumbers(0, m.Backends.MaxEntries(), backends)
	t.slots = balance.NewRanges(m.Slots.MaxEntries(), taken)
	t.numbers = balance.NewNumbers(1, m.SourceRanges.MaxEntries()+1, numbers)
	return t, nil
}

// readPools fills in the pools that frontends refer to.
func (t *serviceTable) readPools(m *load.Maps) error {
	if len(t.left) == 0 {
		return nil
	}
	err := each(m.Pools, func(n uint32, row bpf.Pool) {
		if p := t.left[n]; p != nil {
			p.slots = balance.Range{Base: row.Base, Size: row.Slots}
		}
	})
	if err != nil {
		return err
	}
	err = each(m.Backends, func(n uint32, row bpf.Backend) {
		if p := t.left[row.Pool]; p != nil && row.Pool != 0 {
			at := netip.AddrPortFrom(bpf.Netip(row.Address), bpf.Port(row.Port))
			p.backends = append(p.backends, realisedBackend{at: at, number: n, flags: row.Flags})
		}
	})
	if err != nil {
		return err
	}
	end := uint32(0) // of the slots that are used; most of the map is beyond it
	for _, p := range t.left {
		end = max(end, min(p.slots.Base+p.slots.Size, m.Slots.MaxEntries()))
	}
	slots := make([]uint32, end)
	err = eachWhile(m.Slots, func(i, n uint32) bool {
		if i < end {
			slots[i] = n
		}
		return i < end
	})
	if err != nil {
		return err
	}
	for _, p := range t.left {
		p.doubtful = !p.agrees(slots)
	}
	return nil
}

// agrees says whether slots hold what the pool's backends call for: a run that was killed
// may have written only some.
func (p *realisedPool) agrees(slots []uint32) bool {
	table := balance.Table(addressesOf(p.backends))
	if uint32(len(table)) != p.slots.Size || uint64(p.slots.Base)+uint64(p.slots.Size) > uint64(len(slots)) {
		return false
	}
	for i, at := range table {
		if slots[int(p.slots.Base)+i] != p.backends[at].number {
			return false
		}
	}
	return true
}

// adopt finds what an earlier run made for a Service, by its frontends.
func (t *serviceTable) adopt(s Service) *realisedService {
	old := &realisedService{pools: make([]*realisedPool, len(s.Pools))}
	if len(t.left) == 0 {
		return old
	}
	take := func(place int, number uint32) {
		if p := t.left[number]; p != nil && old.pools[place] == nil {
			old.pools[place] = p
			delete(t.left, number)
		}
	}
	for _, f := range s.Frontends {
		if have, ok := t.frontends[frontendKey(f)]; ok && have.service == "" {
			take(f.Inside, have.row.Inside)
			take(f.Outside, have.row.Outside)
		}
	}
	return old
}

// each calls fn with every row of a map.
func each[K comparable, V any](m *ebpf.Map, fn func(K, V)) error {
	return eachWhile(m, func(k K, v V) bool { fn(k, v); return true })
}

// eachWhile calls fn with the rows of a map until it returns false.
func eachWhile[K comparable, V any](m *ebpf.Map, fn func(K, V) bool) error {
	const atOnce = 16384
	keys, values := make([]K, atOnce), make([]V, atOnce)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			if !fn(keys[i], values[i]) {
				return nil
			}
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return nil
		case errors.Is(err, ebpf.ErrNotSupported):
			var k K
			var v V
			rows := m.Iterate()
			for rows.Next(&k, &v) && fn(k, v) {
			}
			return rows.Err()
		case err != nil:
			return fmt.Errorf("map %s: %w", m.String(), err)
		}
	}
}
