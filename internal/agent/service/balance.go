// SPDX-License-Identifier: Apache-2.0

package service

import (
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

// candidate is an endpoint at one port of a Service.
type candidate struct {
	*endpoint
	port uint16
	// conditions are the endpoint's, as they are known here.
	ready, serving, terminating bool
	local                       bool
}

// candidates are the endpoints of a family at a port of a Service, sorted, each address and
// port once: an endpoint that several slices have is as ready as the readiest says.
func (e *Engine) candidates(name string, s *service, p *state.ServicePort, v4 bool) []candidate {
	var out []candidate
	for _, sl := range e.byService[name] {
		number, ok := sl.number(p)
		if !ok {
			continue
		}
		for i := range sl.endpoints {
			one := &sl.endpoints[i]
			if one.address.Is4() != v4 || e.gone[one.address] {
				continue
			}
			local := one.node != "" && one.node == e.node
			now := one.conditions(nil)
			if local {
				now = one.conditions(e.readiness)
			}
			now.ready = now.ready || s.msg.GetPublishNotReady()
			out = append(out, candidate{one, number, now.ready, now.serving, now.terminating, local})
		}
	}
	slices.SortStableFunc(out, func(a, b candidate) int {
		if c := a.address.Compare(b.address); c != 0 {
			return c
		}
		if c := int(a.port) - int(b.port); c != 0 {
			return c
		}
		return readiness(b) - readiness(a)
	})
	return slices.CompactFunc(out, func(a, b candidate) bool { return a.address == b.address && a.port == b.port })
}

func readiness(c candidate) int {
	switch {
	case c.ready:
		return 2
	case c.serving:
		return 1
	}
	return 0
}

// number is the port of the slice's endpoints that a port of a Service leads to.
func (s *slice) number(p *state.ServicePort) (uint16, bool) {
	for _, one := range s.ports {
		if one.name == p.GetName() && uint32(one.protocol) == p.GetProtocol() {
			return one.number, true
		}
	}
	return 0, false
}

// choice is which of the candidates are used: by the whole cluster's policy, and of this
// node alone.
type choice struct{ cluster, local []candidate }

// choose applies readiness and hints.
func (e *Engine) choose(all []candidate) choice {
	var c choice
	ready := keep(all, func(o candidate) bool { return o.ready })
	ending := keep(all, func(o candidate) bool { return o.serving && o.terminating })
	if len(ready) > 0 {
		c.cluster = e.near(ready)
	} else {
		c.cluster = ending
	}
	if c.local = keep(ready, func(o candidate) bool { return o.local }); len(c.local) == 0 {
		c.local = keep(ending, func(o candidate) bool { return o.local })
	}
	return c
}

// near are those of the ready endpoints that hints give to this node, else to its zone;
// all, when one has no hint, or none is for here.
func (e *Engine) near(ready []candidate) []candidate {
	all := func(hints func(candidate) []string) bool {
		return !slices.ContainsFunc(ready, func(o candidate) bool { return len(hints(o)) == 0 })
	}
	byNode := func(o candidate) []string { return o.nodeHints }
	byZone := func(o candidate) []string { return o.zoneHints }
	if all(byNode) {
		if some := keep(ready, func(o candidate) bool { return slices.Contains(o.nodeHints, e.node) }); len(some) > 0 {
			return some
		}
	}
	if e.zone != "" && all(byZone) {
		if some := keep(ready, func(o candidate) bool { return slices.Contains(o.zoneHints, e.zone) }); len(some) > 0 {
			return some
		}
	}
	return ready
}

func keep(list []candidate, wanted func(candidate) bool) []candidate {
	var out []candidate
	for _, c := range list {
		if wanted(c) {
			out = append(out, c)
		}
	}
	return out
}

// builder is a Service on its way to the datapath.
type builder struct{ datapath.Service }

// pool returns the place of a pool with these backends.
func (b *builder) pool(list []candidate) int {
	backends := make([]datapath.Backend, 0, len(list))
	for _, c := range list {
		backends = append(backends, datapath.Backend{Address: c.address, Port: c.port, Local: c.local})
	}
	for i, p := range b.Pools {
		// An empty pool is of no family, and may be anybody's.
		if slices.Equal(p.Backends, backends) {
			return i
		}
	}
	b.Pools = append(b.Pools, datapath.Pool{Backends: backends})
	return len(b.Pools) - 1
}

// balance decides what the node does with a Service.
func (e *Engine) balance(name string, s *service) datapath.Service {
	m := s.msg
	b := &builder{datapath.Service{Name: name, SourceRanges: s.ranges}}
	affinity := time.Duration(m.GetAffinitySeconds()) * time.Second
	local := map[netip.Addr]bool{}
	for _, p := range m.GetPorts() {
		for _, v4 := range []bool{true, false} {
			of := addressesOf(m, v4)
			if len(of.cluster)+len(of.external) == 0 {
				continue
			}
			c := e.choose(e.candidates(name, s, p, v4))
			for _, one := range c.local {
				if one.ready { // those that are ending serve, and want no more
					local[one.address] = true
				}
			}
			f := datapath.Frontend{Port: uint16(p.GetPort()), Protocol: datapath.Protocol(p.GetProtocol()), Affinity: affinity}
			b.clusterIPs(m, f, of.cluster, c)
			b.external(m, f, of.external, c)
			if p.GetNodePort() != 0 && len(of.cluster) > 0 {
				b.nodePort(m, f, uint16(p.GetNodePort()), v4, c)
			}
		}
	}
	if m.GetHealthCheckNodePort() != 0 {
		e.health[name] = len(local)
	} else {
		delete(e.health, name)
	}
	return b.Service
}

func (b *builder) clusterIPs(m *state.Service, f datapath.Frontend, addresses []netip.Addr, c choice) {
	inside := c.cluster
	if m.GetInternalLocal() {
		inside = c.local
	}
	f.Kind = datapath.FrontendClusterIP
	for _, a := range addresses {
		f.Address, f.Inside = a, b.pool(inside)
		f.Outside = f.Inside
		b.Frontends = append(b.Frontends, f)
	}
}

// outward fills in the pools of what is reached from outside.
func (b *builder) outward(m *state.Service, f *datapath.Frontend, c choice) {
	f.Inside = b.pool(c.cluster)
	f.Outside = f.Inside
	if m.GetExternalLocal() {
		// Another node may answer only if one has an endpoint: else clients are refused.
		f.Outside, f.KeepSource, f.DropOutside = b.pool(c.local), true, len(c.cluster) > 0
	}
}

func (b *builder) external(m *state.Service, f datapath.Frontend, addresses []netip.Addr, c choice) {
	f.Kind = datapath.FrontendExternal
	for _, a := range addresses {
		f.Address = a
		b.outward(m, &f, c)
		b.Frontends = append(b.Frontends, f)
	}
}

func (b *builder) nodePort(m *state.Service, f datapath.Frontend, port uint16, v4 bool, c choice) {
	f.Kind, f.Port, f.Address = datapath.FrontendNodePort, port, unspecified(v4)
	b.outward(m, &f, c)
	b.Frontends = append(b.Frontends, f)
}

func unspecified(v4 bool) netip.Addr {
	if v4 {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

type familyAddresses struct{ cluster, external []netip.Addr }

// addressesOf are a Service's addresses of a family, each once.
func addressesOf(m *state.Service, v4 bool) (out familyAddresses) {
	seen := map[netip.Addr]bool{}
	add := func(to *[]netip.Addr, list [][]byte) {
		for _, b := range list {
			a, _ := netip.AddrFromSlice(b)
			if a = a.Unmap(); a.IsValid() && a.Is4() == v4 && !seen[a] {
				seen[a] = true
				*to = append(*to, a)
			}
		}
	}
	add(&out.cluster, m.GetClusterIps())
	add(&out.external, m.GetLoadBalancerIps())
	add(&out.external, m.GetExternalIps())
	return out
}

// hostPortService is what stands for the ports of the node that lead to a pod.
func hostPortService(name string, ports []HostPort) datapath.Service {
	s := datapath.Service{Name: name}
	for _, p := range ports {
		for _, pod := range p.Pod {
			at := p.HostIP
			if !at.IsValid() {
				at = unspecified(pod.Is4())
			}
			if at.Is4() != pod.Is4() {
				continue
			}
			s.Pools = append(s.Pools, datapath.Pool{Backends: []datapath.Backend{{Address: pod, Port: p.ContainerPort, Local: true}}})
			i := len(s.Pools) - 1
			s.Frontends = append(s.Frontends, datapath.Frontend{
				Address: at, Port: p.HostPort, Protocol: p.Protocol, Kind: datapath.FrontendHostPort, Inside: i, Outside: i, KeepSource: true,
			})
		}
	}
	return s
}
