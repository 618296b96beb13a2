// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/balance"
)

// realisedPool is a pool in the maps.
type realisedPool struct {
	number   uint32
	slots    balance.Range // of size 0: none
	backends []realisedBackend
	// doubtful: what its slots hold is not known to be right.
	doubtful bool
}

// realisedBackend is a row of fl_backends.
type realisedBackend struct {
	at     netip.AddrPort
	number uint32
	flags  uint8
}

func addressesOf(backends []realisedBackend) []netip.AddrPort {
	out := make([]netip.AddrPort, len(backends))
	for i, b := range backends {
		out[i] = b.at
	}
	return out
}

// setPool plans the rows of a pool; nil makes one. A pool that stays of one size is changed
// in its place, backends that stay keep their numbers. The pool is as it was, nil if it is
// to be made, when there is no room.
func (t *serviceTable) setPool(p *realisedPool, want []Backend, rows *serviceRows) (*realisedPool, error) {
	if p == nil {
		n, err := t.pools.Take()
		if err != nil {
			return nil, err
		}
		p = &realisedPool{number: n}
		if len(want) == 0 {
			rows.pools[n] = bpf.Pool{}
		}
		defer func() {
			if p.slots.Size == 0 && len(want) > 0 { // there was no room
				rows.pools[n] = bpf.Pool{}
			}
		}()
	}
	next, taken, err := t.numbered(p, want, rows)
	if err != nil {
		return p, err
	}
	if len(taken) == 0 && len(next) == len(p.backends) && !p.doubtful {
		p.backends = next // their flags may have changed
		return p, nil
	}
	if err := t.fillSlots(p, next, rows); err != nil {
		for _, b := range taken {
			t.backends.Return(b.number)
			delete(rows.backends, b.number)
		}
		return p, err
	}
	for _, b := range p.backends {
		if !slices.ContainsFunc(next, func(n realisedBackend) bool { return n.number == b.number }) {
			rows.dropBackend(b.number)
		}
	}
	p.backends, p.doubtful = next, false
	return p, nil
}

// numbered gives the wanted backends their numbers, and plans their rows.
func (t *serviceTable) numbered(p *realisedPool, want []Backend, rows *serviceRows) (all, taken []realisedBackend, err error) {
	have := make(map[netip.AddrPort]realisedBackend, len(p.backends))
	for _, b := range p.backends {
		have[b.at] = b
	}
	all = make([]realisedBackend, 0, len(want))
	for _, w := range want {
		b, ok := have[netip.AddrPortFrom(w.Address, w.Port)]
		flags := t.flags(w)
		if !ok {
			n, err := t.backends.Take()
			if err != nil {
				for _, b := range taken {
					t.backends.Return(b.number)
					delete(rows.backends, b.number)
				}
				return nil, nil, err
			}
			b = realisedBackend{at: netip.AddrPortFrom(w.Address, w.Port), number: n}
			taken = append(taken, b)
		}
		if !ok || b.flags != flags {
			b.flags = flags
			rows.backends[b.number] = bpf.Backend{Address: bpf.AddressOf(w.Address), Port: bpf.Port(w.Port), Flags: flags, Pool: p.number}
		}
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b realisedBackend) int {
		return cmp.Or(a.at.Addr().Compare(b.at.Addr()), cmp.Compare(a.at.Port(), b.at.Port()))
	})
	return all, taken, nil
}

func (t *serviceTable) flags(b Backend) (flags uint8) {
	if b.Local {
		flags |= bpf.BackendLocal
	}
	if t.isPod(b.Address) {
		flags |= bpf.BackendPod
	}
	return flags
}

// fillSlots plans the slots of a pool for its next backends.
func (t *serviceTable) fillSlots(p *realisedPool, next []realisedBackend, rows *serviceRows) error {
	table := balance.Table(addressesOf(next))
	size := uint32(len(table))
	if size == p.slots.Size && size > 0 {
		former := balance.Table(addressesOf(p.backends))
		for i, at := range table {
			if p.doubtful || len(former) != len(table) || p.backends[former[i]].number != next[at].number {
				rows.slots.set(p.slots.Base+uint32(i), next[at].number)
			}
		}
		return nil
	}
	var slots balance.Range
	if size > 0 {
		var err error
		if slots, err = t.slots.Take(size); err != nil {
			return err
		}
		for i, at := range table {
			rows.slots.set(slots.Base+uint32(i), next[at].number)
		}
	}
	if p.slots.Size > 0 {
		rows.freed = append(rows.freed, p.slots)
	}
	p.slots = slots
	rows.pools[p.number] = bpf.Pool{Base: slots.Base, Slots: slots.Size}
	return nil
}

// dropPool plans the end of a pool that no frontend refers to any more.
func (t *serviceTable) dropPool(p *realisedPool, rows *serviceRows) {
	delete(rows.pools, p.number)
	rows.gonePools = append(rows.gonePools, p.number)
	for _, b := range p.backends {
		rows.dropBackend(b.number)
	}
	if p.slots.Size > 0 {
		rows.freed = append(rows.freed, p.slots)
	}
}
