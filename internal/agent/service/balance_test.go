// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

func addr(text string) []byte { return netip.MustParseAddr(text).AsSlice() }

// web is a Service with a port, all kinds of addresses and a node port.
func web(change func(*state.Service)) *state.Service {
	m := &state.Service{
		Namespace: "default", Name: "web", ClusterIps: [][]byte{addr("10.96.0.1")},
		ExternalIps: [][]byte{addr("192.0.2.7")}, LoadBalancerIps: [][]byte{addr("203.0.113.1")},
		Ports: []*state.ServicePort{{Name: "http", Protocol: 6, Port: 80, NodePort: 30080}},
	}
	if change != nil {
		change(m)
	}
	return m
}

// on makes an endpoint from words: its address, and what it is.
func on(words string) *state.ServiceEndpoint {
	f := strings.Fields(words)
	e := &state.ServiceEndpoint{Address: addr(f[0])}
	for _, w := range f[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "ready":
			e.Ready, e.Serving = true, true
		case "serving":
			e.Serving = true
		case "terminating":
			e.Terminating = true
		case "node":
			e.Node = value
		case "zone":
			e.Zone = value
		case "forzone":
			e.ZoneHints = append(e.ZoneHints, value)
		case "fornode":
			e.NodeHints = append(e.NodeHints, value)
		default:
			panic(w)
		}
	}
	return e
}

func slicesOf(endpoints ...string) *state.ServiceEndpoints {
	m := &state.ServiceEndpoints{Namespace: "default", Name: "web-x", Service: "web", Ports: []*state.EndpointPort{{Name: "http", Protocol: 6, Port: 8080}}}
	for _, words := range endpoints {
		m.Endpoints = append(m.Endpoints, on(words))
	}
	return m
}

// engine is node n1's, in zone z1.
func engine(t testing.TB, s *state.Service, slices ...*state.ServiceEndpoints) *Engine {
	t.Helper()
	e := New("n1")
	e.SetZone("z1")
	for _, m := range slices {
		if err := e.SetEndpoints(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.SetService(s); err != nil {
		t.Fatal(err)
	}
	return e
}

// frontend writes a frontend of a kind as "inside | outside" in backends, with its flags.
func frontend(t testing.TB, u datapath.ServiceUpdate, kind datapath.FrontendKind, address string) string {
	t.Helper()
	for _, s := range u.Set {
		for _, f := range s.Frontends {
			if f.Kind != kind || f.Address.String() != address {
				continue
			}
			pool := func(at int) string {
				var out []string
				for _, b := range s.Pools[at].Backends {
					out = append(out, netip.AddrPortFrom(b.Address, b.Port).String())
				}
				return strings.Join(out, " ")
			}
			text := pool(f.Inside) + " | " + pool(f.Outside)
			if f.KeepSource {
				text += " keep"
			}
			if f.DropOutside {
				text += " drop"
			}
			return text
		}
	}
	return "none"
}

func TestWhichEndpointsAreUsed(t *testing.T) {
	internalLocal := func(m *state.Service) { m.InternalLocal = true }
	externalLocal := func(m *state.Service) { m.ExternalLocal = true }
	for name, c := range map[string]struct {
		service   func(*state.Service)
		endpoints []string
		cluster   string // of the cluster IP: inside | outside
		port      string // of the node port
	}{
		"ready ones":                              {nil, []string{"10.0.0.2 ready", "10.0.0.1 ready", "10.0.0.3"}, "10.0.0.1:8080 10.0.0.2:8080 | 10.0.0.1:8080 10.0.0.2:8080", "10.0.0.1:8080 10.0.0.2:8080 | 10.0.0.1:8080 10.0.0.2:8080"},
		"none":                                    {nil, nil, " | ", " | "},
		"none is ready":                           {nil, []string{"10.0.0.1"}, " | ", " | "},
		"published unready":                       {func(m *state.Service) { m.PublishNotReady = true }, []string{"10.0.0.1"}, "10.0.0.1:8080 | 10.0.0.1:8080", "10.0.0.1:8080 | 10.0.0.1:8080"},
		"terminating while another is ready":      {nil, []string{"10.0.0.1 serving terminating", "10.0.0.2 ready"}, "10.0.0.2:8080 | 10.0.0.2:8080", "10.0.0.2:8080 | 10.0.0.2:8080"},
		"terminating when nothing else is left":   {nil, []string{"10.0.0.1 serving terminating", "10.0.0.2 terminating", "10.0.0.3"}, "10.0.0.1:8080 | 10.0.0.1:8080", "10.0.0.1:8080 | 10.0.0.1:8080"},
		"internal Local":                          {internalLocal, []string{"10.0.0.1 ready node=n1", "10.0.0.2 ready node=n2"}, "10.0.0.1:8080 | 10.0.0.1:8080", "10.0.0.1:8080 10.0.0.2:8080 | 10.0.0.1:8080 10.0.0.2:8080"},
		"internal Local, none here":               {internalLocal, []string{"10.0.0.2 ready node=n2"}, " | ", "10.0.0.2:8080 | 10.0.0.2:8080"},
		"internal Local, the one here terminates": {internalLocal, []string{"10.0.0.1 serving terminating node=n1", "10.0.0.2 ready node=n2"}, "10.0.0.1:8080 | 10.0.0.1:8080", "10.0.0.2:8080 | 10.0.0.2:8080"},
		"external Local":                          {externalLocal, []string{"10.0.0.1 ready node=n1", "10.0.0.2 ready node=n2"}, "10.0.0.1:8080 10.0.0.2:8080 | 10.0.0.1:8080 10.0.0.2:8080", "10.0.0.1:8080 10.0.0.2:8080 | 10.0.0.1:8080 keep drop"},
		"external Local, none here: another node may answer": {externalLocal, []string{"10.0.0.2 ready node=n2"}, "10.0.0.2:8080 | 10.0.0.2:8080", "10.0.0.2:8080 |  keep drop"},
		"external Local, none at all: refused":               {externalLocal, nil, " | ", " |  keep"},
		"external Local, the one here terminates":            {externalLocal, []string{"10.0.0.1 serving terminating node=n1", "10.0.0.2 ready node=n2"}, "10.0.0.2:8080 | 10.0.0.2:8080", "10.0.0.2:8080 | 10.0.0.1:8080 keep drop"},
		"Local does not mind hints":                          {internalLocal, []string{"10.0.0.1 ready node=n1 forzone=z2", "10.0.0.2 ready node=n2 forzone=z1"}, "10.0.0.1:8080 | 10.0.0.1:8080", "10.0.0.2:8080 | 10.0.0.2:8080"},
		"hints for this zone":                                {nil, []string{"10.0.0.1 ready forzone=z1", "10.0.0.2 ready forzone=z2"}, "10.0.0.1:8080 | 10.0.0.1:8080", "10.0.0.1:8080 | 10.0.0.1:8080"},
		"one lacks a hint":                                   {nil, []string{"10.0.0.1 ready forzone=z1", "10.0.0.2 ready"}, "10.0.0.1:8080 10.0.0.2:8080 | 10.0.0.1:8080 10.0.0.2:8080", "10.0.0.1:8080 10.0.0.2:8080 | 10.0.0.1:8080 10.0.0.2:8080"},
		"an unready one lacks a hint":                        {nil, []string{"10.0.0.1 ready forzone=z1", "10.0.0.2", "10.0.0.3 ready forzone=z2"}, "10.0.0.1:8080 | 10.0.0.1:8080", "10.0.0.1:8080 | 10.0.0.1:8080"},
		"no hint for this zone":                              {nil, []string{"10.0.0.1 ready forzone=z2", "10.0.0.2 ready forzone=z3"}, "10.0.0.1:8080 10.0.0.2:8080 | 10.0.0.1:8080 10.0.0.2:8080", "10.0.0.1:8080 10.0.0.2:8080 | 10.0.0.1:8080 10.0.0.2:8080"},
		"hints for this node before its zone":                {nil, []string{"10.0.0.1 ready fornode=n1 forzone=z1", "10.0.0.2 ready fornode=n2 forzone=z1"}, "10.0.0.1:8080 | 10.0.0.1:8080", "10.0.0.1:8080 | 10.0.0.1:8080"},
		"hints for other nodes, the zone counts":             {nil, []string{"10.0.0.1 ready fornode=n3 forzone=z1", "10.0.0.2 ready fornode=n2 forzone=z2"}, "10.0.0.1:8080 | 10.0.0.1:8080", "10.0.0.1:8080 | 10.0.0.1:8080"},
		"of the other family":                                {nil, []string{"fd00::1 ready", "10.0.0.1 ready"}, "10.0.0.1:8080 | 10.0.0.1:8080", "10.0.0.1:8080 | 10.0.0.1:8080"},
	} {
		t.Run(name, func(t *testing.T) {
			u := engine(t, web(c.service), slicesOf(c.endpoints...)).Take(true)
			if got := frontend(t, u, datapath.FrontendClusterIP, "10.96.0.1"); got != c.cluster {
				t.Errorf("cluster IP: %q, want %q", got, c.cluster)
			}
			for kind, address := range map[datapath.FrontendKind]string{datapath.FrontendNodePort: "0.0.0.0", datapath.FrontendExternal: "192.0.2.7"} {
				if got := frontend(t, u, kind, address); got != c.port {
					t.Errorf("%s: %q, want %q", address, got, c.port)
				}
			}
			if a, b := frontend(t, u, datapath.FrontendExternal, "203.0.113.1"), frontend(t, u, datapath.FrontendExternal, "192.0.2.7"); a != b {
				t.Errorf("the load balancer's address has %q, the external IP %q", a, b)
			}
		})
	}
}

func TestBothFamiliesHaveTheirOwn(t *testing.T) {
	six := slicesOf("fd00::1 ready")
	six.Name = "web-y"
	u := engine(t, web(func(m *state.Service) {
		m.ClusterIps = append(m.ClusterIps, addr("fd00:96::1"))
	}), slicesOf("10.0.0.1 ready"), six).Take(true)
	for address, want := range map[string]string{"10.96.0.1": "10.0.0.1:8080 | 10.0.0.1:8080", "fd00:96::1": "[fd00::1]:8080 | [fd00::1]:8080"} {
		if got := frontend(t, u, datapath.FrontendClusterIP, address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	if got := frontend(t, u, datapath.FrontendNodePort, "::"); got != "[fd00::1]:8080 | [fd00::1]:8080" {
		t.Errorf("node port of IPv6: %q", got)
	}
	// A Service of one family has its node port in that family only.
	u = engine(t, web(nil), slicesOf("10.0.0.1 ready"), six).Take(true)
	if got := frontend(t, u, datapath.FrontendNodePort, "::"); got != "none" {
		t.Errorf("node port of the other family: %q", got)
	}
}

// Ports are found by name and protocol, in each slice by itself, as two of one name may
// have different numbers.
func TestPortsByNameAndProtocol(t *testing.T) {
	s := web(func(m *state.Service) {
		m.Ports = []*state.ServicePort{{Name: "dns", Protocol: 6, Port: 53}, {Name: "dns", Protocol: 17, Port: 53}, {Name: "other", Protocol: 6, Port: 54}}
	})
	one, two := slicesOf("10.0.0.1 ready"), slicesOf("10.0.0.2 ready")
	one.Ports = []*state.EndpointPort{{Name: "dns", Protocol: 6, Port: 1053}, {Name: "dns", Protocol: 17, Port: 2053}}
	two.Name, two.Ports = "web-y", []*state.EndpointPort{{Name: "dns", Protocol: 17, Port: 3053}}
	u := engine(t, s, one, two).Take(true)
	var got []string
	for _, f := range u.Set[0].Frontends {
		if f.Kind == datapath.FrontendClusterIP {
			got = append(got, fmt.Sprint(f.Protocol, f.Port, u.Set[0].Pools[f.Inside].Backends))
		}
	}
	want := []string{"TCP53 [{10.0.0.1 1053 false}]", "UDP53 [{10.0.0.1 2053 false} {10.0.0.2 3053 false}]", "TCP54 []"}
	for i := range want {
		if strings.ReplaceAll(got[i], " ", "") != strings.ReplaceAll(want[i], " ", "") {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
}

// An endpoint that two slices have is one, and as ready as the readiest of them.
func TestDuplicatesAreOne(t *testing.T) {
	again := slicesOf("10.0.0.1 ready", "10.0.0.1")
	again.Name = "web-y"
	u := engine(t, web(nil), slicesOf("10.0.0.1"), again).Take(true)
	if got := frontend(t, u, datapath.FrontendClusterIP, "10.96.0.1"); got != "10.0.0.1:8080 | 10.0.0.1:8080" {
		t.Errorf("got %q", got)
	}
}

func TestAffinityAndSourceRanges(t *testing.T) {
	u := engine(t, web(func(m *state.Service) { m.AffinitySeconds, m.SourceRanges = 30, []string{"198.51.100.0/24"} })).Take(true)
	for _, f := range u.Set[0].Frontends {
		if f.Affinity != 30*time.Second {
			t.Errorf("frontend %+v", f)
		}
	}
	if got := u.Set[0].SourceRanges; !slices.Equal(got, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}) {
		t.Errorf("source ranges %v", got)
	}
}

func TestHostPorts(t *testing.T) {
	e := New("n1")
	e.SetHostPorts("c1/eth0", []HostPort{
		{HostPort: 8080, ContainerPort: 80, Protocol: datapath.TCP, Pod: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}},
		{HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 53, ContainerPort: 53, Protocol: datapath.UDP, Pod: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}},
	})
	u := e.Take(false)
	for address, want := range map[string]string{
		"0.0.0.0": "10.0.0.1:80 | 10.0.0.1:80 keep", "::": "[fd00::1]:80 | [fd00::1]:80 keep", "192.0.2.1": "10.0.0.1:53 | 10.0.0.1:53 keep",
	} {
		if got := frontend(t, u, datapath.FrontendHostPort, address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	e.SetHostPorts("c1/eth0", nil)
	if u := e.Take(false); len(u.Removed) != 1 || len(u.Gone) != 1 || u.Gone[0].Protocol != datapath.UDP {
		t.Errorf("when the pod is gone: %+v", u)
	}
}
