// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

// Engine holds what is known of Services and says what follows from it for one node. It is
// not safe for concurrent use.
type Engine struct {
	node, zone string

	services  map[string]*service      // by "namespace/name"
	slices    map[string]*slice        // by "namespace/slicename"
	byService map[string][]*slice      // the slices of a Service
	hostPorts map[string][]HostPort    // by attachment
	gone      map[netip.Addr]bool      // of pods of this node that are no more
	readiness map[netip.Addr]Readiness // of pods of this node, in place of what slices say
	used      map[string][]used        // by the names of Services in force
	dirty     map[string]bool          // names of Services to decide anew
	names     map[string]string        // interned
	health    map[string]int           // local endpoints of Services with a healthCheckNodePort
	endpoints int
}

// service is a Service as it was told.
type service struct {
	msg    *state.Service
	ranges []netip.Prefix
}

// slice is an EndpointSlice as it was told.
type slice struct {
	name, service string
	ports         []port
	endpoints     []endpoint
}

type port struct {
	name     string
	protocol datapath.Protocol
	number   uint16
}

type endpoint struct {
	address                     netip.Addr
	ready, serving, terminating bool
	node, zone                  string
	zoneHints, nodeHints        []string
}

// used is a backend that a Service in force leads to.
type used struct {
	at       netip.AddrPort
	protocol datapath.Protocol
}

// HostPort is a port of the node that leads to a pod on it.
type HostPort struct {
	// HostIP is the only address of the node that has it; invalid for all.
	HostIP                  netip.Addr
	HostPort, ContainerPort uint16
	Protocol                datapath.Protocol
	// Pod are the pod's addresses.
	Pod []netip.Addr
}

// hostPortPrefix begins the names of what stands for host ports; no namespace has a slash.
const hostPortPrefix = "hostport/"

// New returns an engine for a node that knows of no Service.
func New(node string) *Engine {
	return &Engine{
		node: node, services: map[string]*service{}, slices: map[string]*slice{}, byService: map[string][]*slice{},
		hostPorts: map[string][]HostPort{}, gone: map[netip.Addr]bool{}, used: map[string][]used{},
		dirty: map[string]bool{}, names: map[string]string{}, health: map[string]int{},
	}
}

// SetZone says in which zone the node is; empty: in none.
func (e *Engine) SetZone(zone string) {
	if e.zone == zone {
		return
	}
	e.zone = zone
	for name := range e.services {
		e.dirty[name] = true
	}
}

// SetService takes over a Service. An error names what is wrong with it; what was known of
// it before stays.
func (e *Engine) SetService(m *state.Service) error {
	name := m.GetNamespace() + "/" + m.GetName()
	wrong := func(field, format string, args ...any) error {
		return fmt.Errorf("the Service %s: %s %s", name, field, fmt.Sprintf(format, args...))
	}
	for field, addresses := range map[string][][]byte{"cluster_ips": m.GetClusterIps(), "external_ips": m.GetExternalIps(), "load_balancer_ips": m.GetLoadBalancerIps()} {
		for i, b := range addresses {
			if _, ok := netip.AddrFromSlice(b); !ok {
				return wrong(fmt.Sprintf("%s[%d]", field, i), "has %d bytes, want the 4 or 16 of an address", len(b))
			}
		}
	}
	for i, p := range m.GetPorts() {
		if !validPort(p.GetProtocol(), p.GetPort()) || p.GetNodePort() > 65535 {
			return wrong(fmt.Sprintf("ports[%d]", i), "is protocol %d, port %d, node port %d, want TCP (6) or UDP (17) and ports up to 65535", p.GetProtocol(), p.GetPort(), p.GetNodePort())
		}
	}
	if m.GetHealthCheckNodePort() > 65535 {
		return wrong("health_check_node_port", "is %d, want at most 65535", m.GetHealthCheckNodePort())
	}
	s := &service{msg: m}
	for i, text := range m.GetSourceRanges() {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return wrong(fmt.Sprintf("source_ranges[%d]", i), "is %q, want a range of addresses", text)
		}
		s.ranges = append(s.ranges, p.Masked())
	}
	e.services[name] = s
	e.dirty[name] = true
	return nil
}

func validPort(protocol, number uint32) bool {
	return (protocol == uint32(datapath.TCP) || protocol == uint32(datapath.UDP)) && number > 0 && number <= 65535
}

// RemoveService takes over that there is no such Service any more.
func (e *Engine) RemoveService(name string) {
	if _, ok := e.services[name]; ok {
		delete(e.services, name)
		delete(e.health, name)
		e.dirty[name] = true
	}
}

// SetEndpoints takes over a slice. An error names what is wrong with it; what was known of
// it before stays.
func (e *Engine) SetEndpoints(m *state.ServiceEndpoints) error {
	s := &slice{name: m.GetNamespace() + "/" + m.GetName(), service: e.intern(m.GetNamespace() + "/" + m.GetService())}
	wrong := func(field, format string, args ...any) error {
		return fmt.Errorf("EndpointSlice %s: %s %s", s.name, field, fmt.Sprintf(format, args...))
	}
	for i, p := range m.GetPorts() {
		if !validPort(p.GetProtocol(), p.GetPort()) {
			return wrong(fmt.Sprintf("ports[%d]", i), "is protocol %d, port %d, want TCP (6) or UDP (17) and a port from 1 to 65535", p.GetProtocol(), p.GetPort())
		}
		s.ports = append(s.ports, port{e.intern(p.GetName()), datapath.Protocol(p.GetProtocol()), uint16(p.GetPort())})
	}
	s.endpoints = make([]endpoint, 0, len(m.GetEndpoints()))
	for i, one := range m.GetEndpoints() {
		a, ok := netip.AddrFromSlice(one.GetAddress())
		if !ok {
			return wrong(fmt.Sprintf("endpoints[%d].address", i), "has %d bytes, want the 4 or 16 of an address", len(one.GetAddress()))
		}
		s.endpoints = append(s.endpoints, endpoint{
			address: a.Unmap(), ready: one.GetReady(), serving: one.GetServing(), terminating: one.GetTerminating(),
			node: e.intern(one.GetNode()), zone: e.intern(one.GetZone()),
			zoneHints: e.internAll(one.GetZoneHints()), nodeHints: e.internAll(one.GetNodeHints()),
		})
	}
	gone := e.stillGone(s)
	e.dropSlice(s.name)
	for _, a := range gone {
		e.gone[a] = true
	}
	e.slices[s.name] = s
	// By name, so that what is decided does not depend on what came first.
	list := e.byService[s.service]
	at, _ := slices.BinarySearchFunc(list, s.name, func(s *slice, name string) int { return strings.Compare(s.name, name) })
	e.byService[s.service] = slices.Insert(list, at, s)
	e.endpoints += len(s.endpoints)
	e.dirty[s.service] = true
	return nil
}

// RemoveEndpoints takes over that there is no such slice any more.
func (e *Engine) RemoveEndpoints(name string) { e.dropSlice(name) }

func (e *Engine) dropSlice(name string) {
	old, ok := e.slices[name]
	if !ok {
		return
	}
	delete(e.slices, name)
	e.endpoints -= len(old.endpoints)
	rest := slices.DeleteFunc(e.byService[old.service], func(s *slice) bool { return s == old })
	if len(rest) == 0 {
		delete(e.byService, old.service)
	} else {
		e.byService[old.service] = rest
	}
	e.dirty[old.service] = true
	for _, one := range old.endpoints { // whoever has the address next is another pod
		delete(e.gone, one.address)
	}
}

// stillGone are the endpoints of a slice that this node knows to be gone and that the slice
// merely calls terminating.
func (e *Engine) stillGone(s *slice) (out []netip.Addr) {
	for i := range s.endpoints {
		if one := &s.endpoints[i]; one.terminating && e.gone[one.address] {
			out = append(out, one.address)
		}
	}
	return out
}

func (e *Engine) intern(s string) string {
	if s == "" {
		return ""
	}
	if have, ok := e.names[s]; ok {
		return have
	}
	s = strings.Clone(s)
	e.names[s] = s
	return s
}

func (e *Engine) internAll(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, e.intern(s))
	}
	return out
}

// SetHostPorts says which ports of the node are those of a pod's attachment; none removes
// them.
func (e *Engine) SetHostPorts(key string, ports []HostPort) {
	if len(ports) == 0 {
		delete(e.hostPorts, key)
	} else {
		e.hostPorts[key] = ports
	}
	e.dirty[hostPortPrefix+key] = true
}

// PodGone says that a pod of this node with these addresses is no more: its endpoints are
// not used, whatever their slices say, until these are told anew.
func (e *Engine) PodGone(addresses []netip.Addr) {
	touched := false
	for _, a := range addresses {
		e.gone[a.Unmap()] = true
		touched = true
	}
	if !touched {
		return
	}
	found := map[netip.Addr]bool{}
	for name, list := range e.byService {
		for _, s := range list {
			for i := range s.endpoints {
				if one := &s.endpoints[i]; one.node == e.node && slices.Contains(addresses, one.address) {
					e.dirty[name] = true
					found[one.address] = true
				}
			}
		}
	}
	for _, a := range addresses {
		if !found[a.Unmap()] {
			delete(e.gone, a.Unmap())
		}
	}
}

// Readiness is what is known of a pod of this node otherwise than by EndpointSlices.
type Readiness struct {
	// Serving: its condition Ready is True. Terminating: it is to be deleted.
	Serving, Terminating bool
}

// SetReadiness says how ready the pods of this node are, whatever the slices say of those that
// they have; nil: what the slices say holds again.
func (e *Engine) SetReadiness(pods map[netip.Addr]Readiness) {
	before := e.readiness
	e.readiness = pods
	for name, list := range e.byService {
		for _, s := range list {
			for i := range s.endpoints {
				one := &s.endpoints[i]
				if one.node == e.node && one.conditions(before) != one.conditions(pods) {
					e.dirty[name] = true
				}
			}
		}
	}
}

// conditions are those of an endpoint.
type conditions struct{ ready, serving, terminating bool }

// conditions are what the slice says, or what is known of the pod. Ready follows from the
// other two as in EndpointSlices.
func (o *endpoint) conditions(pods map[netip.Addr]Readiness) conditions {
	r, known := pods[o.address]
	if !known {
		return conditions{o.ready, o.serving, o.terminating}
	}
	return conditions{r.Serving && !r.Terminating, r.Serving, r.Terminating}
}

// Take returns what has changed since the last call; all there is when complete is set.
func (e *Engine) Take(complete bool) datapath.ServiceUpdate {
	u := datapath.ServiceUpdate{Complete: complete}
	if complete {
		for name := range e.services {
			e.dirty[name] = true
		}
		for key := range e.hostPorts {
			e.dirty[hostPortPrefix+key] = true
		}
	}
	names := make([]string, 0, len(e.dirty))
	for name := range e.dirty {
		names = append(names, name)
	}
	slices.Sort(names)
	clear(e.dirty)
	for _, name := range names {
		e.take(name, &u)
	}
	return u
}

// Again has the next Take tell of a Service, or of its removal, as if it had just changed:
// what was taken of it could not be brought into force.
func (e *Engine) Again(name string) {
	e.dirty[name] = true
	if _, ok := e.used[name]; !ok {
		e.used[name] = nil // so that a removal is told again
	}
}

func (e *Engine) take(name string, u *datapath.ServiceUpdate) {
	before, inForce := e.used[name]
	decided, ok := e.decide(name)
	if !ok {
		delete(e.used, name)
		if inForce {
			u.Removed = append(u.Removed, name)
			u.Gone = append(u.Gone, e.unused(name, before, nil)...)
		}
		return
	}
	now := backendsOf(decided)
	e.used[name] = now
	u.Set = append(u.Set, decided)
	u.Gone = append(u.Gone, e.unused(name, before, now)...)
}

// decide is what the node does with a Service; false if there is none.
func (e *Engine) decide(name string) (datapath.Service, bool) {
	if key, ok := strings.CutPrefix(name, hostPortPrefix); ok {
		ports, ok := e.hostPorts[key]
		return hostPortService(name, ports), ok
	}
	s, ok := e.services[name]
	if !ok {
		return datapath.Service{}, false
	}
	return e.balance(name, s), true
}

// backendsOf lists what a Service leads to, sorted.
func backendsOf(s datapath.Service) []used {
	var out []used
	for _, f := range s.Frontends {
		for _, p := range []int{f.Inside, f.Outside} {
			for _, b := range s.Pools[p].Backends {
				out = append(out, used{netip.AddrPortFrom(b.Address, b.Port), f.Protocol})
			}
		}
	}
	slices.SortFunc(out, compareUsed)
	return slices.Clone(slices.Compact(out)) // it is kept, and half of it was the same
}

func compareUsed(a, b used) int {
	if c := a.at.Compare(b.at); c != 0 {
		return c
	}
	return int(a.protocol) - int(b.protocol)
}

// unused are the backends that sockets must not stay with: over UDP all that are not used
// any more, since nothing else tells a client; over TCP those that are in no slice, while
// others may end what they have begun.
func (e *Engine) unused(name string, before, now []used) (out []datapath.Gone) {
	for _, b := range before {
		if _, still := slices.BinarySearchFunc(now, b, compareUsed); still {
			continue
		}
		_, isService := e.services[name]
		if b.protocol == datapath.UDP || isService && !e.known(name, b) {
			out = append(out, datapath.Gone{Address: b.at.Addr(), Port: b.at.Port(), Protocol: b.protocol})
		}
	}
	return out
}

// known says whether a backend is in some slice of its Service.
func (e *Engine) known(name string, b used) bool {
	for _, s := range e.byService[name] {
		for i := range s.endpoints {
			if s.endpoints[i].address == b.at.Addr() && !e.gone[b.at.Addr()] {
				return true
			}
		}
	}
	return false
}

// Count returns how many Services and endpoints are known.
func (e *Engine) Count() (services, endpoints int) { return len(e.services), e.endpoints }

// Health is what to answer at a Service's healthCheckNodePort.
type Health struct {
	Namespace, Name string
	Port            uint16
	LocalEndpoints  int
}

// Health lists the Services with a healthCheckNodePort, sorted by port, as of the last Take.
func (e *Engine) Health() []Health {
	var out []Health
	for name, n := range e.health {
		m := e.services[name].msg
		out = append(out, Health{m.GetNamespace(), m.GetName(), uint16(m.GetHealthCheckNodePort()), n})
	}
	slices.SortFunc(out, func(a, b Health) int { return int(a.Port) - int(b.Port) })
	return out
}
