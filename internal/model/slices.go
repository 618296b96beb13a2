// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"net/netip"

	"github.com/fairlead-io/fairlead/internal/state"
)

// Slice is what the model needs of an EndpointSlice.
type Slice struct {
	Namespace, Name string
	// Service is the name of the Service that the slice is of; empty: of none.
	Service string
	// Proxy and Headless as in the labels service.kubernetes.io/service-proxy-name and
	// service.kubernetes.io/headless: not balanced here.
	Proxy    string
	Headless bool
	// Family is the address type: IPv4, IPv6 or FQDN.
	Family    string
	Ports     []SlicePort
	Endpoints []SliceEndpoint
}

// SlicePort is a port of a slice. Port 0 stands for one that is not given.
type SlicePort struct {
	Name, Protocol string
	Port           int32
}

// SliceEndpoint is an endpoint of a slice.
type SliceEndpoint struct {
	Addresses                   []string
	Ready, Serving, Terminating bool
	Node, Zone                  string
	ZoneHints, NodeHints        []string
}

// BuildSlice computes the resource of an EndpointSlice; false if it has none. An endpoint
// that is wrong is left out, and found.
func BuildSlice(s Slice) (r state.Resource, ok bool, findings []Finding) {
	if s.Service == "" || s.Proxy != "" || s.Headless || (s.Family != "IPv4" && s.Family != "IPv6") {
		return r, false, nil
	}
	name := s.Namespace + "/" + s.Name
	object := "EndpointSlice " + name
	m := &state.ServiceEndpoints{Namespace: s.Namespace, Name: s.Name, Service: s.Service}
	for i, p := range s.Ports {
		protocol, ok := protocols[p.Protocol]
		if !ok || p.Port == 0 {
			continue
		}
		if p.Port < 0 || p.Port > 65535 {
			findings = append(findings, Finding{object, fmt.Sprintf("ports[%d].port", i), fmt.Sprintf("%d is no port", p.Port), "use a port from 1 to 65535"})
			continue
		}
		m.Ports = append(m.Ports, &state.EndpointPort{Name: p.Name, Protocol: protocol, Port: uint32(p.Port)})
	}
	for i, e := range s.Endpoints {
		for j, text := range e.Addresses {
			a, wrong := endpointAddress(text, s.Family)
			if wrong != "" {
				findings = append(findings, Finding{object, fmt.Sprintf("endpoints[%d].addresses[%d]", i, j), fmt.Sprintf("%q %s", text, wrong),
					"correct what writes the slice; the endpoint is left out"})
				continue
			}
			m.Endpoints = append(m.Endpoints, &state.ServiceEndpoint{
				Address: a.AsSlice(), Ready: e.Ready, Serving: e.Serving, Terminating: e.Terminating,
				Node: e.Node, Zone: e.Zone, ZoneHints: e.ZoneHints, NodeHints: e.NodeHints,
			})
		}
	}
	r, err := state.Encode(name, m)
	if err != nil {
		return r, false, append(findings, Finding{object, "metadata.name", err.Error(), "use names of valid UTF-8"})
	}
	return r, true, findings
}

// endpointAddress reads an endpoint's address, or says what is wrong with it.
func endpointAddress(text, family string) (a netip.Addr, wrong string) {
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil || a.Is4In6() || a.Zone() != "":
		return a, "is not an address"
	case a.Is4() != (family == "IPv4"):
		return a, "is not of the slice's addressType " + family
	case a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return a, "is no address of one other host"
	}
	return a, ""
}
