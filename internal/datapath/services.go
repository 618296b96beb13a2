// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/balance"
)

// serviceTable is what the maps of Services hold: who owns which rows.
type serviceTable struct {
	services  map[string]*realisedService
	frontends map[bpf.FrontendKey]ownedFrontend
	// losers want a frontend that another Service has.
	losers map[string]Service
	// left are pools that an earlier run made and no Service has taken over yet.
	left map[uint32]*realisedPool

	pools, backends, numbers *balance.Numbers
	slots                    *balance.Ranges
	room                     int // frontends
	isPod                    func(netip.Addr) bool
	unwritten                *serviceRows // planned, and refused by the kernel; nil for none
}

// realisedService is a Service in the maps.
type realisedService struct {
	number    uint32 // by which it has source ranges; 0: none
	ranges    []netip.Prefix
	frontends []bpf.FrontendKey
	pools     []*realisedPool
}

// ownedFrontend is a row of fl_frontends. Nobody's is one of an earlier run.
type ownedFrontend struct {
	service string
	row     bpf.Frontend
}

// UpdateServices brings a change of the node's Services into force. New rows come before
// what refers to them, and old ones go last, so that no connection meets a gap. An error
// names each Service that is not in force as it should be, and why; all others are.
func (d *Datapath) UpdateServices(ctx context.Context, u ServiceUpdate) error {
	return d.locked(ctx, func() error {
		if !d.opts.Services {
			return errors.New("services: this node leaves them to kube-proxy (agent flag --services)")
		}
		err := d.services.update(u, kernelServiceMaps{d.maps})
		d.servicesKnown = d.servicesKnown || u.Complete
		d.ending.end(u.Gone)
		return errors.Join(err, d.takeOver())
	})
}

// isPod says whether an address is one of the pod network.
func (d *Datapath) isPod(a netip.Addr) bool {
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	return slices.ContainsFunc(d.plan.node.ClusterPodCIDRs, in) || slices.ContainsFunc(d.plan.node.PodCIDRs, in)
}

// Usage is how full a map is.
type Usage struct {
	// Name says what of: frontends, backends, slots, pools.
	Name      string
	Used, Max int
}

// ServiceUsage tells how full the maps of Services are.
func (d *Datapath) ServiceUsage() []Usage {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.services == nil {
		return nil
	}
	t := d.services
	return []Usage{
		{"frontends", len(t.frontends), t.room},
		{"pools", t.pools.Used(), t.pools.Max()},
		{"backends", t.backends.Used(), t.backends.Max()},
		{"slots", t.slots.Used(), t.slots.Max()},
	}
}

// update plans all rows of a change, writes them, and then gives numbers back. What could
// not be written is part of the next change.
func (t *serviceTable) update(u ServiceUpdate, maps serviceMaps) error {
	rows := t.unwritten
	if rows == nil {
		rows = newServiceRows()
	}
	var errs []error
	for _, name := range u.Removed {
		t.remove(name, rows)
	}
	if u.Complete {
		t.keepOnly(u.Set, rows)
	}
	for _, s := range u.Set {
		errs = append(errs, t.set(s, rows))
	}
	if u.Complete {
		t.dropLeft(rows)
	}
	if len(rows.goneFrontends) > 0 && len(t.losers) > 0 {
		for _, s := range t.losers {
			_ = t.set(s, rows) // who still loses was told so before
		}
	}
	if err := maps.write(rows); err != nil {
		t.unwritten = rows
		return errors.Join(append(errs, err)...)
	}
	t.unwritten = nil
	for _, n := range rows.goneBackends {
		t.backends.Return(n)
	}
	for _, n := range rows.gonePools {
		t.pools.Return(n)
	}
	for _, r := range rows.freed {
		t.slots.Return(r)
	}
	for _, n := range rows.goneNumbers {
		t.numbers.Return(n)
	}
	return errors.Join(errs...)
}

// keepOnly removes the Services that are not among a complete set.
func (t *serviceTable) keepOnly(set []Service, rows *serviceRows) {
	keep := make(map[string]bool, len(set))
	for _, s := range set {
		keep[s.Name] = true
	}
	for name := range t.services {
		if !keep[name] {
			t.remove(name, rows)
		}
	}
	for name := range t.losers {
		if !keep[name] {
			delete(t.losers, name)
		}
	}
}

// dropLeft removes what an earlier run made and nobody wants any more.
func (t *serviceTable) dropLeft(rows *serviceRows) {
	for key, f := range t.frontends {
		if f.service == "" {
			t.dropFrontend(key, rows)
		}
	}
	for _, p := range t.left {
		t.dropPool(p, rows)
	}
	t.left = nil
}

func (t *serviceTable) remove(name string, rows *serviceRows) {
	delete(t.losers, name)
	s, ok := t.services[name]
	if !ok {
		return
	}
	delete(t.services, name)
	for _, key := range s.frontends {
		t.dropFrontend(key, rows)
	}
	for _, p := range s.pools {
		t.dropPool(p, rows)
	}
	t.setRanges(s, nil, rows)
}

func (t *serviceTable) dropFrontend(key bpf.FrontendKey, rows *serviceRows) {
	delete(t.frontends, key)
	delete(rows.frontends, key)
	rows.goneFrontends = append(rows.goneFrontends, key)
}

// set plans the rows of a Service. A Service that there is no room for stays as it was.
func (t *serviceTable) set(s Service, rows *serviceRows) error {
	old := t.services[s.Name]
	if old == nil {
		old = t.adopt(s)
	}
	keys := make([]bpf.FrontendKey, len(s.Frontends))
	fresh := 0
	for i, f := range s.Frontends {
		keys[i] = frontendKey(f)
		if _, have := t.frontends[keys[i]]; !have {
			fresh++
		}
	}
	if len(t.frontends)+fresh > t.room {
		return fmt.Errorf("Service %s: no room for its %d addresses and ports: %d of %d are used on this node; raise spec.cni.services.frontends (agent flag --service-frontends)",
			s.Name, len(keys), len(t.frontends), t.room)
	}
	var errs []error
	pools := make([]*realisedPool, len(s.Pools))
	for i, p := range s.Pools {
		if i < len(old.pools) && old.pools[i] != nil {
			pools[i] = old.pools[i]
		}
		got, err := t.setPool(pools[i], p.Backends, rows)
		if err != nil {
			errs = append(errs, fmt.Errorf("Service %s: no room for %d endpoints: %w; raise spec.cni.services.backends (agent flag --service-backends)", s.Name, len(p.Backends), err))
		}
		if got == nil {
			return errors.Join(errs...)
		}
		pools[i] = got
	}
	for _, p := range old.pools[min(len(pools), len(old.pools)):] {
		if p != nil {
			t.dropPool(p, rows)
		}
	}
	now := &realisedService{number: old.number, ranges: old.ranges, pools: pools}
	errs = append(errs, t.setRanges(now, s.SourceRanges, rows))
	t.services[s.Name] = now
	delete(t.losers, s.Name)
	for i, f := range s.Frontends {
		if err := t.setFrontend(s, now, f, keys[i], rows); err != nil {
			errs = append(errs, err)
			t.losers[s.Name] = s
		}
	}
	for _, key := range old.frontends {
		if owner, ok := t.frontends[key]; ok && owner.service == s.Name && !slices.Contains(keys, key) {
			t.dropFrontend(key, rows)
		}
	}
	return errors.Join(errs...)
}

func (t *serviceTable) setFrontend(s Service, now *realisedService, f Frontend, key bpf.FrontendKey, rows *serviceRows) error {
	have, ok := t.frontends[key]
	if ok && have.service != "" && have.service != s.Name {
		return fmt.Errorf("Service %s: %s port %d of %s is that of Service %s already, which keeps it: change one of them",
			s.Name, f.Protocol, f.Port, f.Address, have.service)
	}
	if slices.Contains(now.frontends, key) {
		return fmt.Errorf("Service %s: %s port %d of %s is named twice", s.Name, f.Protocol, f.Port, f.Address)
	}
	now.frontends = append(now.frontends, key)
	row := frontendRow(f, now)
	if !ok || have.row != row {
		rows.setFrontend(key, row)
	}
	t.frontends[key] = ownedFrontend{s.Name, row}
	return nil
}

func frontendKey(f Frontend) bpf.FrontendKey {
	return bpf.FrontendKey{Address: bpf.AddressOf(f.Address), Port: bpf.Port(f.Port), Protocol: uint8(f.Protocol)}
}

func frontendRow(f Frontend, s *realisedService) bpf.Frontend {
	row := bpf.Frontend{
		Inside: s.pools[f.Inside].number, Outside: s.pools[f.Outside].number,
		Service: s.number, Affinity: uint32(f.Affinity.Seconds()),
	}
	if f.Kind == FrontendClusterIP {
		row.Flags |= bpf.FrontendClusterIP
	}
	if f.Kind == FrontendExternal && s.number != 0 {
		row.Flags |= bpf.FrontendSourceRanges
	}
	if f.KeepSource {
		row.Flags |= bpf.FrontendKeepSource
	}
	if f.DropOutside {
		row.Flags |= bpf.FrontendDropOutside
	}
	return row
}

// setRanges plans the rows of a Service's source ranges.
func (t *serviceTable) setRanges(s *realisedService, want []netip.Prefix, rows *serviceRows) error {
	if len(want) > 0 && s.number == 0 {
		n, err := t.numbers.Take()
		if err != nil {
			return fmt.Errorf("source ranges: %w", err)
		}
		s.number = n
	}
	for _, p := range want {
		if !slices.Contains(s.ranges, p) {
			rows.setRange(sourceRangeKey(s.number, p))
		}
	}
	for _, p := range s.ranges {
		if !slices.Contains(want, p) {
			rows.dropRange(sourceRangeKey(s.number, p))
		}
	}
	s.ranges = slices.Clone(want)
	if len(want) == 0 && s.number != 0 {
		rows.goneNumbers = append(rows.goneNumbers, s.number)
		s.number = 0
	}
	return nil
}

func sourceRangeKey(service uint32, p netip.Prefix) bpf.SourceRangeKey {
	k := bpf.RangeKeyOf(p)
	return bpf.SourceRangeKey{Prefixlen: k.Prefixlen + 32, Service: service, Address: k.Address}
}
