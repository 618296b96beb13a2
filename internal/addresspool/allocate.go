// SPDX-License-Identifier: Apache-2.0

package addresspool

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// holders are the Services that have an address: several, if they share it.
type holders struct {
	pool     *pool
	services []*Service
}

// allocation is a decision that is being made.
type allocation struct {
	pools []*pool
	held  map[netip.Addr]*holders
	// shared are addresses by the key that Services share them by.
	shared map[string][]netip.Addr
	got    map[string]Assignment
}

// Allocate decides anew on all Services. First all keep what they have, then those that
// ask for an address get it, then the others get what is free; each time the older
// Service comes first (of equals, the first by name).
func Allocate(pools []Pool, services []Service, taken []Taken) Result {
	a := &allocation{
		pools: preparePools(pools, taken), held: map[netip.Addr]*holders{},
		shared: map[string][]netip.Addr{}, got: make(map[string]Assignment, len(services)),
	}
	order := make([]*Service, 0, len(services))
	for i := range services {
		order = append(order, &services[i])
	}
	slices.SortFunc(order, func(x, y *Service) int {
		return cmp.Or(x.Created.Compare(y.Created), strings.Compare(x.Key(), y.Key()))
	})
	asked := make(map[string][]netip.Addr, len(order))
	for _, s := range order {
		asked[s.Key()] = a.request(s)
	}
	for _, s := range order {
		a.keep(s, asked[s.Key()])
	}
	for _, s := range order {
		for _, addr := range asked[s.Key()] {
			a.grant(s, addr)
		}
	}
	for _, s := range order {
		if len(s.Requested) == 0 {
			a.assign(s)
		}
	}
	return a.result(order)
}

// request reads what a Service asks for. A Service that asks for something that cannot
// be gets nothing else instead.
func (a *allocation) request(s *Service) (out []netip.Addr) {
	for _, text := range s.Requested {
		addr, err := parseAddr(text)
		switch {
		case err != nil:
			a.fail(s, v1alpha1.ReasonAddressInvalid, fmt.Sprintf("Service %s: annotation %s (or spec.loadBalancerIP) has %q, which is no address: "+
				"write one such as 192.0.2.10, or remove it", s.Key(), v1alpha1.AnnotationLoadBalancerIPs, text))
		case addr.Is4() && !s.IPv4 || addr.Is6() && !s.IPv6:
			a.fail(s, v1alpha1.ReasonAddressInvalid, fmt.Sprintf("Service %s: annotation %s (or spec.loadBalancerIP) asks for %s, a family that "+
				"spec.ipFamilies does not have: add it there, or ask for another address", s.Key(), v1alpha1.AnnotationLoadBalancerIPs, addr))
		case slices.ContainsFunc(out, func(o netip.Addr) bool { return o.Is4() == addr.Is4() }):
			a.fail(s, v1alpha1.ReasonAddressInvalid, fmt.Sprintf("Service %s: annotation %s asks for two addresses of one family: leave one",
				s.Key(), v1alpha1.AnnotationLoadBalancerIPs))
		default:
			out = append(out, addr)
		}
	}
	return out
}

// keep lets a Service hold on to what its status says, where it still may have it.
func (a *allocation) keep(s *Service, asked []netip.Addr) {
	for _, addr := range s.Has {
		p := a.poolOf(addr, s)
		wanted := addr.Is4() && s.IPv4 || addr.Is6() && s.IPv6
		if p == nil || !wanted || len(s.Requested) > 0 && !slices.Contains(asked, addr) {
			continue
		}
		if a.has(s, addr.Is4()) || a.conflict(s, addr) != "" {
			continue
		}
		a.take(s, addr, p)
	}
}

// grant gives a Service an address that it asks for.
func (a *allocation) grant(s *Service, addr netip.Addr) {
	if a.has(s, addr.Is4()) {
		return
	}
	p := a.poolOf(addr, s)
	switch other := a.conflict(s, addr); {
	case p == nil || p.frozen:
		a.fail(s, v1alpha1.ReasonAddressInvalid, fmt.Sprintf("Service %s: it asks for %s, which no AddressPool has that selects it and is "+
			"Accepted: ask for another address, or change a pool", s.Key(), addr))
	case other != "":
		a.fail(s, v1alpha1.ReasonAddressTaken, fmt.Sprintf("Service %s: it asks for %s, which Service %s has: ask for another, or let both share it "+
			"(annotation %s in one namespace, different ports, externalTrafficPolicy Cluster)", s.Key(), addr, other, v1alpha1.AnnotationSharingKey))
	default:
		a.take(s, addr, p)
	}
}

// assign gives a Service what it lacks.
func (a *allocation) assign(s *Service) {
	for _, is4 := range []bool{true, false} {
		if (is4 && !s.IPv4) || (!is4 && !s.IPv6) || a.has(s, is4) || a.join(s, is4) {
			continue
		}
		a.search(s, is4)
	}
}

// join gives a Service an address that others with its key have.
func (a *allocation) join(s *Service, is4 bool) bool {
	if s.SharingKey == "" || s.Local {
		return false
	}
	for _, addr := range a.shared[sharing(s)] {
		p := a.held[addr].pool
		if addr.Is4() == is4 && p.selects(s) && (p.Auto || s.Pool == p.Name) && a.conflict(s, addr) == "" {
			a.take(s, addr, p)
			return true
		}
	}
	return false
}

// search gives a Service the first free address of the first pool that has one.
func (a *allocation) search(s *Service, is4 bool) {
	family := map[bool]string{true: "IPv4", false: "IPv6"}[is4]
	var full []*pool
	for _, p := range a.pools {
		ofFamily := slices.ContainsFunc(p.ranges, func(r Range) bool { return r.First.Is4() == is4 })
		if p.frozen || !ofFamily || !p.selects(s) || !p.Auto && s.Pool != p.Name {
			continue
		}
		if addr, ok := p.free(is4, a.held); ok {
			a.take(s, addr, p)
			return
		}
		full = append(full, p)
	}
	if s.Optional == 4 && is4 || s.Optional == 6 && !is4 {
		return
	}
	for _, p := range full {
		p.wait(s)
	}
	switch {
	case len(full) > 0:
		a.fail(s, v1alpha1.ReasonAddressesExhausted, fmt.Sprintf("Service %s: no %s address is free in AddressPool %s: add addresses to spec.addresses, "+
			"or remove a Service", s.Key(), family, names(full)))
	case s.Pool != "":
		a.fail(s, v1alpha1.ReasonNoPool, fmt.Sprintf("Service %s: annotation %s names %q, which is no AddressPool that is Accepted, has %s addresses and "+
			"selects the Service: name another, or change that one", s.Key(), v1alpha1.AnnotationAddressPool, s.Pool, family))
	default:
		a.fail(s, v1alpha1.ReasonNoPool, fmt.Sprintf("Service %s: no AddressPool that is Accepted and has %s addresses to give away selects it: add one, "+
			"or look at spec.serviceSelector, spec.namespaces and spec.autoAssign", s.Key(), family))
	}
}

func names(pools []*pool) string {
	var out []string
	for _, p := range pools {
		out = append(out, p.Name)
	}
	return strings.Join(out, ", ")
}

// poolOf returns the oldest pool with an address that serves a Service.
func (a *allocation) poolOf(addr netip.Addr, s *Service) *pool {
	for _, p := range a.pools {
		if p.has(addr) && p.selects(s) {
			return p
		}
	}
	return nil
}

func (a *allocation) has(s *Service, is4 bool) bool {
	return slices.ContainsFunc(a.got[s.Key()].Addresses, func(o netip.Addr) bool { return o.Is4() == is4 })
}

func sharing(s *Service) string { return s.Namespace + "/" + s.SharingKey }

// conflict names a Service that has an address and does not share it with this one.
func (a *allocation) conflict(s *Service, addr netip.Addr) string {
	h := a.held[addr]
	if h == nil {
		return ""
	}
	for _, o := range h.services {
		if o.Key() == s.Key() {
			continue
		}
		alike := s.SharingKey != "" && o.SharingKey != "" && sharing(o) == sharing(s)
		twice := slices.ContainsFunc(s.Ports, func(p Port) bool { return slices.Contains(o.Ports, p) })
		if !alike || twice || s.Local || o.Local {
			return o.Key()
		}
	}
	return ""
}

func (a *allocation) take(s *Service, addr netip.Addr, p *pool) {
	h := a.held[addr]
	if h == nil {
		h = &holders{pool: p}
		a.held[addr] = h
		p.used[addr.Is4()]++
		if s.SharingKey != "" {
			a.shared[sharing(s)] = append(a.shared[sharing(s)], addr)
		}
	}
	h.services = append(h.services, s)
	got := a.got[s.Key()]
	got.Addresses = append(got.Addresses, addr)
	a.got[s.Key()] = got
}

// fail notes the first problem of a Service.
func (a *allocation) fail(s *Service, reason, message string) {
	got := a.got[s.Key()]
	if got.Problem == nil {
		got.Problem = &Problem{reason, message}
	}
	a.got[s.Key()] = got
}

func (a *allocation) result(order []*Service) Result {
	for _, s := range order {
		got := a.got[s.Key()]
		slices.SortFunc(got.Addresses, netip.Addr.Compare)
		a.got[s.Key()] = got
	}
	out := Result{Services: a.got, Pools: make(map[string]PoolState, len(a.pools))}
	for _, p := range a.pools {
		slices.Sort(p.waiting)
		out.Pools[p.Name] = PoolState{IPv4: p.counts(true), IPv6: p.counts(false), Accepted: p.problem, Waiting: p.waiting}
	}
	return out
}
