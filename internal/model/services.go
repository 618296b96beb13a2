// SPDX-License-Identifier: Apache-2.0

package model

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-io/fairlead/internal/state"
)

// MaxServicePorts bounds the ports of a Service that are served: each takes a row for every
// address of the Service on every node.
const MaxServicePorts = 1024

// Service is what the model needs of a Service object.
type Service struct {
	Namespace, Name string
	Created         time.Time
	// Headless, External (type ExternalName) and Proxy (label
	// service.kubernetes.io/service-proxy-name): Services that are not balanced here.
	Headless, External bool
	Proxy              string

	ClusterIPs      []string
	ExternalIPs     []string
	LoadBalancerIPs []string
	Ports           []ServicePort

	AffinitySeconds     int32
	InternalLocal       bool
	ExternalLocal       bool
	HealthCheckNodePort int32
	SourceRanges        []string
	PublishNotReady     bool
	// Distribution as in spec.trafficDistribution.
	Distribution string
}

// ServicePort is a port of a Service. Protocol is as in the object: TCP, UDP or SCTP.
type ServicePort struct {
	Name, Protocol string
	Port, NodePort int32
}

func (s *Service) key() string    { return s.Namespace + "/" + s.Name }
func (s *Service) object() string { return "Service " + s.key() }

// serviceClaim is what only one Service can have: an address and port, or a port of all nodes.
type serviceClaim struct {
	address  netip.Addr // invalid: of all nodes
	protocol uint32
	port     uint32
}

// ServiceBook holds the Services of a cluster and decides which has what: where two claim
// one address and port, the older keeps it (of equals, the first by name). It is not safe
// for concurrent use.
type ServiceBook struct {
	services map[string]Service
	claims   map[serviceClaim][]string // Services by name
	nodes    map[netip.Addr]string
	ranges   []netip.Prefix
}

// NewServiceBook returns an empty book.
func NewServiceBook() *ServiceBook {
	return &ServiceBook{services: map[string]Service{}, claims: map[serviceClaim][]string{}}
}

// ServiceChange is what a change of the book's input means for its output.
type ServiceChange struct {
	// Set are resources that may have changed, Removed names of those that are no more.
	Set     []state.Resource
	Removed []string
	// Findings of every Service that was looked at, none where all is well.
	Findings map[string][]Finding
}

// SetNetwork says which addresses are nodes' and which ranges are pods': no Service can
// have one. All Services are decided anew.
func (b *ServiceBook) SetNetwork(nodes map[netip.Addr]string, ranges []netip.Prefix) ServiceChange {
	if maps.Equal(b.nodes, nodes) && slices.Equal(b.ranges, ranges) {
		return ServiceChange{}
	}
	b.nodes, b.ranges = nodes, ranges
	all := make([]string, 0, len(b.services))
	for name := range b.services {
		all = append(all, name)
	}
	return b.build(all)
}

// Set takes over a Service that is new or has changed.
func (b *ServiceBook) Set(s Service) ServiceChange {
	touched := b.forget(s.key())
	if s.Headless || s.External || s.Proxy != "" {
		c := b.build(touched)
		c.Removed = append(c.Removed, s.key())
		return c
	}
	b.services[s.key()] = s
	for c := range claims(&s) {
		b.claims[c] = append(b.claims[c], s.key())
		touched = append(touched, b.claims[c]...)
	}
	return b.build(append(touched, s.key()))
}

// Remove takes over that a Service is gone.
func (b *ServiceBook) Remove(name string) ServiceChange {
	c := b.build(b.forget(name))
	c.Removed = append(c.Removed, name)
	return c
}

// forget removes a Service and returns those that claimed the same.
func (b *ServiceBook) forget(name string) (touched []string) {
	s, ok := b.services[name]
	if !ok {
		return nil
	}
	delete(b.services, name)
	for c := range claims(&s) {
		rest := slices.DeleteFunc(b.claims[c], func(n string) bool { return n == name })
		if len(rest) == 0 {
			delete(b.claims, c)
			continue
		}
		b.claims[c] = rest
		touched = append(touched, rest...)
	}
	return touched
}

// claims are what a Service wants to have for itself. Cluster IPs are among them, so that
// no other's external IP can take them.
func claims(s *Service) map[serviceClaim]bool {
	out := map[serviceClaim]bool{}
	for _, p := range s.Ports {
		protocol, ok := protocols[p.Protocol]
		if !ok {
			continue
		}
		for _, text := range slices.Concat(s.ClusterIPs, s.ExternalIPs, s.LoadBalancerIPs) {
			if a, err := netip.ParseAddr(text); err == nil {
				out[serviceClaim{a, protocol, uint32(p.Port)}] = true
			}
		}
		if p.NodePort != 0 {
			out[serviceClaim{protocol: protocol, port: uint32(p.NodePort)}] = true
		}
	}
	return out
}

// protocols that are balanced, by their names in objects.
var protocols = map[string]uint32{"TCP": 6, "UDP": 17, "": 6}

// holder is the Service that keeps what several claim.
func (b *ServiceBook) holder(c serviceClaim) string {
	names := b.claims[c]
	if len(names) == 0 {
		return ""
	}
	return slices.MinFunc(names, func(x, y string) int {
		s, t := b.services[x], b.services[y]
		// A cluster IP is given by the API server to one Service alone.
		return cmp.Or(cmp.Compare(rank(&s, c), rank(&t, c)), s.Created.Compare(t.Created), strings.Compare(x, y))
	})
}

func rank(s *Service, c serviceClaim) int {
	if c.address.IsValid() && slices.Contains(s.ClusterIPs, c.address.String()) {
		return 0
	}
	return 1
}

func (b *ServiceBook) build(names []string) ServiceChange {
	change := ServiceChange{Findings: map[string][]Finding{}}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		s, ok := b.services[name]
		if !ok {
			continue
		}
		r, findings, err := b.encode(&s)
		if err != nil {
			findings = append(findings, Finding{s.object(), "metadata.name", err.Error(), "use names of valid UTF-8"})
		} else {
			change.Set = append(change.Set, r)
		}
		change.Findings[name] = findings
	}
	return change
}

// serviceBuild is one Service on its way to its resource.
type serviceBuild struct {
	*ServiceBook
	s        *Service
	findings []Finding
}

func (b *serviceBuild) find(field, fix, format string, args ...any) {
	b.findings = append(b.findings, Finding{b.s.object(), field, fmt.Sprintf(format, args...), fix})
}

func (b *ServiceBook) encode(s *Service) (state.Resource, []Finding, error) {
	one := &serviceBuild{ServiceBook: b, s: s}
	m := &state.Service{
		Namespace: s.Namespace, Name: s.Name,
		ClusterIps:          one.addresses("spec.clusterIPs", s.ClusterIPs),
		ExternalIps:         one.addresses("spec.externalIPs", s.ExternalIPs),
		LoadBalancerIps:     one.addresses("status.loadBalancer.ingress", s.LoadBalancerIPs),
		Ports:               one.ports(),
		AffinitySeconds:     uint32(max(0, s.AffinitySeconds)),
		InternalLocal:       s.InternalLocal,
		ExternalLocal:       s.ExternalLocal,
		HealthCheckNodePort: uint32(max(0, s.HealthCheckNodePort)),
		SourceRanges:        one.sourceRanges(),
		PublishNotReady:     s.PublishNotReady,
		Distribution:        distributions[s.Distribution],
	}
	r, err := state.Encode(s.key(), m)
	return r, one.findings, err
}

var distributions = map[string]state.TrafficDistribution{
	"PreferClose":    state.TrafficDistribution_DISTRIBUTION_SAME_ZONE,
	"PreferSameZone": state.TrafficDistribution_DISTRIBUTION_SAME_ZONE,
	"PreferSameNode": state.TrafficDistribution_DISTRIBUTION_SAME_NODE,
}

// addresses are those of a field that the Service can have.
func (b *serviceBuild) addresses(field string, texts []string) (out [][]byte) {
	for i, text := range texts {
		at := fmt.Sprintf("%s[%d]", field, i)
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast():
			b.find(at, "use an address that clients can send to", "%q cannot be a Service's address", text)
			continue
		case b.nodes[a] != "":
			b.find(at, "choose an address that no node has; a port of the nodes is spec.ports[].nodePort", "%s is an address of %s, whose own connections it would take", a, nodeObject(b.nodes[a]))
			continue
		}
		if i := slices.IndexFunc(b.ranges, func(p netip.Prefix) bool { return p.Contains(a) }); i >= 0 {
			b.find(at, "choose an address outside of the cluster's pod ranges", "%s is in the pods' range %s", a, b.ranges[i])
			continue
		}
		if other := b.taken(a); other != "" {
			b.find(at, "choose another address, or other ports", "%s is that of Service %s at one of the same ports, which keeps it", a, other)
			continue
		}
		out = append(out, a.AsSlice())
	}
	return out
}

// taken names a Service that has an address at one of this one's ports.
func (b *serviceBuild) taken(a netip.Addr) string {
	for _, p := range b.s.Ports {
		if protocol, ok := protocols[p.Protocol]; ok {
			if h := b.holder(serviceClaim{a, protocol, uint32(p.Port)}); h != b.s.key() {
				return h
			}
		}
	}
	return ""
}

func (b *serviceBuild) ports() (out []*state.ServicePort) {
	if n := len(b.s.Ports); n > MaxServicePorts {
		b.find("spec.ports", "spread the ports over several Services", "there are %d ports, and the first %d are served", n, MaxServicePorts)
	}
	for i, p := range b.s.Ports[:min(len(b.s.Ports), MaxServicePorts)] {
		protocol, ok := protocols[p.Protocol]
		if !ok {
			b.find(fmt.Sprintf("spec.ports[%d].protocol", i), "use TCP or UDP", "%s is not balanced", p.Protocol)
			continue
		}
		if p.Port < 1 || p.Port > 65535 || p.NodePort < 0 || p.NodePort > 65535 {
			b.find(fmt.Sprintf("spec.ports[%d].port", i), "use ports from 1 to 65535", "%d, and node port %d, is no port", p.Port, p.NodePort)
			continue
		}
		nodePort := p.NodePort
		if nodePort != 0 {
			if h := b.holder(serviceClaim{protocol: protocol, port: uint32(nodePort)}); h != b.s.key() {
				b.find(fmt.Sprintf("spec.ports[%d].nodePort", i), "choose another port", "%d is that of Service %s, which keeps it", nodePort, h)
				nodePort = 0
			}
		}
		out = append(out, &state.ServicePort{Name: p.Name, Protocol: protocol, Port: uint32(p.Port), NodePort: uint32(nodePort)})
	}
	return out
}

func (b *serviceBuild) sourceRanges() (out []string) {
	for i, text := range b.s.SourceRanges {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil || p.Addr().Is4In6() {
			b.find(fmt.Sprintf("spec.loadBalancerSourceRanges[%d]", i), "write it as address/bits, e.g. 192.0.2.0/24", "%q is not a range of addresses: nobody is let in by it", text)
			continue
		}
		out = append(out, p.Masked().String())
	}
	if len(out) == 0 && len(b.s.SourceRanges) > 0 {
		// A range that nobody is in: a mistake must not open the Service to everybody.
		out = []string{"::/128"}
	}
	return out
}
