// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/fairlead-io/fairlead/internal/state"
)

// web is a Service of port 80 that is age hours younger than the first.
func web(name string, age int, change func(*Service)) Service {
	svc := Service{
		Namespace: "default", Name: name, Created: t0.Add(time.Duration(age) * time.Hour),
		ClusterIPs: s("10.96.0." + fmt.Sprint(len(name)%250+1)), Ports: []ServicePort{{Name: "http", Protocol: "TCP", Port: 80}},
	}
	if change != nil {
		change(&svc)
	}
	return svc
}

// served is what a book serves after changes, decoded.
type served struct {
	t        *testing.T
	services map[string]*state.Service
	findings map[string][]Finding
}

func newServed(t *testing.T) *served {
	return &served{t, map[string]*state.Service{}, map[string][]Finding{}}
}

func (v *served) take(c ServiceChange) {
	v.t.Helper()
	for _, name := range c.Removed {
		delete(v.services, name)
		delete(v.findings, name)
	}
	for _, r := range c.Set {
		m := &state.Service{}
		if err := proto.Unmarshal(r.Body, m); err != nil {
			v.t.Fatal(err)
		}
		v.services[r.Name] = m
	}
	for name, f := range c.Findings {
		v.findings[name] = f
		if len(f) == 0 {
			delete(v.findings, name)
		}
	}
}

func (v *served) finding(service string, words ...string) {
	v.t.Helper()
	for _, f := range v.findings[service] {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(f.String(), w) }) {
			return
		}
	}
	v.t.Errorf("no finding of %s has the words %q: %v", service, words, v.findings[service])
}

func texts(in [][]byte) (out []string) {
	for _, b := range in {
		a, _ := netip.AddrFromSlice(b)
		out = append(out, a.String())
	}
	return out
}

func TestServicesThatAreNotBalanced(t *testing.T) {
	for name, change := range map[string]func(*Service){
		"headless":      func(svc *Service) { svc.Headless = true },
		"ExternalName":  func(svc *Service) { svc.External = true },
		"another proxy": func(svc *Service) { svc.Proxy = "other" },
	} {
		t.Run(name, func(t *testing.T) {
			b, v := NewServiceBook(), newServed(t)
			v.take(b.Set(web("a", 0, nil)))
			if len(v.services) != 1 {
				t.Fatalf("served %v", v.services)
			}
			v.take(b.Set(web("a", 0, change)))
			if len(v.services)+len(v.findings) != 0 {
				t.Errorf("served %v, findings %v, want nothing", v.services, v.findings)
			}
		})
	}
}

func TestServiceFaultsAreFoundAndTheRestGoesOn(t *testing.T) {
	nodes, ranges := map[netip.Addr]string{netip.MustParseAddr("192.0.2.1"): "n1"}, []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}
	for name, c := range map[string]struct {
		change func(*Service)
		words  []string
		want   func(*state.Service) bool
	}{
		"an address of a node": {func(svc *Service) { svc.ExternalIPs = s("192.0.2.1", "192.0.2.9") },
			s("spec.externalIPs[0]", "Node n1"), func(m *state.Service) bool { return slices.Equal(texts(m.ExternalIps), s("192.0.2.9")) }},
		"an address of the pods": {func(svc *Service) { svc.LoadBalancerIPs = s("10.244.3.4") },
			s("status.loadBalancer.ingress[0]", "10.244.0.0/16"), func(m *state.Service) bool { return len(m.LoadBalancerIps) == 0 }},
		"loopback": {func(svc *Service) { svc.ExternalIPs = s("127.0.0.1") },
			s("spec.externalIPs[0]", "127.0.0.1"), func(m *state.Service) bool { return len(m.ExternalIps) == 0 }},
		"no address": {func(svc *Service) { svc.ExternalIPs = s("banana") },
			s("spec.externalIPs[0]", "banana"), func(m *state.Service) bool { return len(m.ExternalIps) == 0 }},
		"SCTP beside TCP": {func(svc *Service) { svc.Ports = append(svc.Ports, ServicePort{Name: "s", Protocol: "SCTP", Port: 81}) },
			s("spec.ports[1].protocol", "SCTP"), func(m *state.Service) bool { return len(m.Ports) == 1 }},
		"thousands of ports": {func(svc *Service) {
			for i := range 3000 {
				svc.Ports = append(svc.Ports, ServicePort{Name: fmt.Sprint(i), Protocol: "UDP", Port: int32(i + 1)})
			}
		}, s("spec.ports", "3001", fmt.Sprint(MaxServicePorts)), func(m *state.Service) bool { return len(m.Ports) == MaxServicePorts }},
		"a range that is none beside a good one": {func(svc *Service) { svc.SourceRanges = s("192.0.2.7/24", "all") },
			s("spec.loadBalancerSourceRanges[1]", "all"), func(m *state.Service) bool { return slices.Equal(m.SourceRanges, s("192.0.2.0/24")) }},
		"a port that is none": {func(svc *Service) {
			svc.Ports = append(svc.Ports, ServicePort{Name: "x", Protocol: "TCP", Port: 70000})
		},
			s("spec.ports[1].port", "70000"), func(m *state.Service) bool { return len(m.Ports) == 1 }},
		"only ranges that are none let nobody in": {func(svc *Service) { svc.SourceRanges = s("all") },
			s("spec.loadBalancerSourceRanges[0]"), func(m *state.Service) bool { return len(m.SourceRanges) == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			b, v := NewServiceBook(), newServed(t)
			v.take(b.SetNetwork(nodes, ranges))
			v.take(b.Set(web("a", 0, c.change)))
			v.finding("default/a", c.words...)
			if m := v.services["default/a"]; m == nil || !c.want(m) || len(m.ClusterIps) != 1 {
				t.Errorf("served %v", m)
			}
			v.take(b.Set(web("a", 0, nil)))
			if len(v.findings) != 0 {
				t.Errorf("there are findings after the repair: %v", v.findings)
			}
		})
	}
}

// A network that becomes known later, or another one, is minded too; one that stays the
// same changes nothing.
func TestServicesMindTheNetwork(t *testing.T) {
	b, v := NewServiceBook(), newServed(t)
	v.take(b.Set(web("a", 0, func(svc *Service) { svc.ExternalIPs = s("192.0.2.1") })))
	if len(v.findings) != 0 {
		t.Fatalf("findings %v", v.findings)
	}
	nodes := map[netip.Addr]string{netip.MustParseAddr("192.0.2.1"): "n1"}
	v.take(b.SetNetwork(nodes, nil))
	v.finding("default/a", "192.0.2.1", "Node n1")
	if c := b.SetNetwork(maps.Clone(nodes), nil); len(c.Set)+len(c.Findings) != 0 {
		t.Errorf("the same network changes %v", c)
	}
	v.take(b.SetNetwork(nil, nil))
	if len(v.findings) != 0 || len(v.services["default/a"].ExternalIps) != 1 {
		t.Errorf("served %v, findings %v", v.services, v.findings)
	}
}

func TestTheOlderServiceKeepsWhatTwoClaim(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Service)
		words  []string
		has    func(*state.Service) bool
	}{
		"a node port": {func(svc *Service) { svc.Ports[0].NodePort = 30080 }, s("spec.ports[0].nodePort", "30080", "default/old"),
			func(m *state.Service) bool { return m.Ports[0].NodePort == 30080 }},
		"an external IP": {func(svc *Service) { svc.ExternalIPs = s("192.0.2.9") }, s("spec.externalIPs[0]", "192.0.2.9", "default/old"),
			func(m *state.Service) bool { return len(m.ExternalIps) == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			b, v := NewServiceBook(), newServed(t)
			v.take(b.Set(web("younger", 1, c.change)))
			if !c.has(v.services["default/younger"]) {
				t.Fatal("alone it has not what it claims")
			}
			v.take(b.Set(web("old", 0, c.change)))
			v.finding("default/younger", c.words...)
			if !c.has(v.services["default/old"]) || c.has(v.services["default/younger"]) || v.findings["default/old"] != nil {
				t.Errorf("served %v, findings %v", v.services, v.findings)
			}
			v.take(b.Remove("default/old"))
			if !c.has(v.services["default/younger"]) || len(v.findings) != 0 {
				t.Errorf("when the other is gone: served %v, findings %v", v.services, v.findings)
			}
		})
	}
}

// A cluster IP is the API server's gift: no external IP of an older Service takes it.
func TestAClusterIPCannotBeTaken(t *testing.T) {
	b, v := NewServiceBook(), newServed(t)
	v.take(b.Set(web("old", 0, func(svc *Service) { svc.ExternalIPs = s("10.96.0.77") })))
	v.take(b.Set(web("young", 1, func(svc *Service) { svc.ClusterIPs = s("10.96.0.77") })))
	v.finding("default/old", "spec.externalIPs[0]", "default/young")
	if len(v.services["default/young"].ClusterIps) != 1 || len(v.services["default/old"].ExternalIps) != 0 {
		t.Errorf("served %v", v.services)
	}
}

// However Services come and go, the book serves what one that is given them at once does.
func TestServiceBookDependsOnNoOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		b, v := NewServiceBook(), newServed(t)
		now := map[string]Service{}
		for range 30 {
			name := fmt.Sprint("s", random.IntN(6))
			if random.IntN(4) == 0 {
				delete(now, "default/"+name)
				v.take(b.Remove("default/" + name))
				continue
			}
			svc := web(name, random.IntN(3), func(svc *Service) {
				svc.Headless = random.IntN(6) == 0
				svc.ClusterIPs = s(fmt.Sprint("10.96.1.", name[1:]))
				svc.Ports[0].NodePort = int32(random.IntN(3))
				svc.ExternalIPs = s(fmt.Sprint("192.0.2.", random.IntN(4)))[:random.IntN(2)]
			})
			now["default/"+name] = svc
			v.take(b.Set(svc))
		}
		fresh, want := NewServiceBook(), newServed(t)
		for _, name := range slices.Sorted(maps.Keys(now)) {
			want.take(fresh.Set(now[name]))
		}
		if got, want := fmt.Sprint(v.services, v.findings), fmt.Sprint(want.services, want.findings); got != want {
			t.Fatalf("round %d: it serves\n%s\nwant\n%s", round, got, want)
		}
	}
}

func sliceOf(change func(*Slice)) Slice {
	out := Slice{
		Namespace: "default", Name: "a-x", Service: "a", Family: "IPv4", Ports: []SlicePort{{"http", "TCP", 8080}},
		Endpoints: []SliceEndpoint{{Addresses: s("10.244.0.1"), Ready: true, Serving: true, Node: "n1", Zone: "z1", ZoneHints: s("z1")}},
	}
	if change != nil {
		change(&out)
	}
	return out
}

func TestBuildSlice(t *testing.T) {
	for name, c := range map[string]struct {
		change    func(*Slice)
		addresses []string // nil: no resource
		words     []string // nil: no finding
	}{
		"as it should be":              {nil, s("10.244.0.1"), nil},
		"of no Service":                {func(x *Slice) { x.Service = "" }, nil, nil},
		"headless":                     {func(x *Slice) { x.Headless = true }, nil, nil},
		"another proxy's":              {func(x *Slice) { x.Proxy = "other" }, nil, nil},
		"names":                        {func(x *Slice) { x.Family = "FQDN"; x.Endpoints[0].Addresses = s("example.org") }, nil, nil},
		"without endpoints":            {func(x *Slice) { x.Endpoints = nil }, []string{}, nil},
		"outside of the pod network":   {func(x *Slice) { x.Endpoints[0].Addresses = s("203.0.113.5") }, s("203.0.113.5"), nil},
		"several addresses":            {func(x *Slice) { x.Endpoints[0].Addresses = s("10.244.0.1", "10.244.0.2") }, s("10.244.0.1", "10.244.0.2"), nil},
		"of the other family":          {func(x *Slice) { x.Endpoints[0].Addresses = s("fd00::1") }, []string{}, s("endpoints[0].addresses[0]", "fd00::1", "IPv4")},
		"no address beside a good one": {func(x *Slice) { x.Endpoints[0].Addresses = s("banana", "10.244.0.1") }, s("10.244.0.1"), s("endpoints[0].addresses[0]", "banana")},
		"loopback":                     {func(x *Slice) { x.Endpoints[0].Addresses = s("127.0.0.1") }, []string{}, s("127.0.0.1")},
		"link-local":                   {func(x *Slice) { x.Endpoints[0].Addresses = s("169.254.1.1") }, []string{}, s("169.254.1.1")},
		"multicast":                    {func(x *Slice) { x.Endpoints[0].Addresses = s("224.0.0.1") }, []string{}, s("224.0.0.1")},
		"unspecified":                  {func(x *Slice) { x.Endpoints[0].Addresses = s("0.0.0.0") }, []string{}, s("0.0.0.0")},
		"a port that is none":          {func(x *Slice) { x.Ports[0].Port = 70000 }, s("10.244.0.1"), s("ports[0].port", "70000")},
		"mapped into the other family": {func(x *Slice) { x.Family, x.Endpoints[0].Addresses = "IPv6", s("::ffff:10.244.0.1") }, []string{}, s("::ffff:10.244.0.1")},
		"IPv6":                         {func(x *Slice) { x.Family, x.Endpoints[0].Addresses = "IPv6", s("fd00::1") }, s("fd00::1"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			r, ok, findings := BuildSlice(sliceOf(c.change))
			if ok != (c.addresses != nil) {
				t.Fatalf("it has a resource: %v", ok)
			}
			if (len(findings) > 0) != (c.words != nil) || len(findings) > 0 && slices.ContainsFunc(c.words, func(w string) bool { return !strings.Contains(findings[0].String(), w) }) {
				t.Errorf("findings %v, want the words %q", findings, c.words)
			}
			if !ok {
				return
			}
			m := &state.ServiceEndpoints{}
			if err := proto.Unmarshal(r.Body, m); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range m.Endpoints {
				got = append(got, texts([][]byte{e.Address})...)
			}
			if !slices.Equal(got, c.addresses) || r.Name != "default/a-x" || m.Service != "a" {
				t.Errorf("%s has %v, want %v", r.Name, m, c.addresses)
			}
		})
	}
}

// FuzzServices: whatever the API server holds, what is served can be read, and holds only
// addresses that a Service or an endpoint can have.
func FuzzServices(f *testing.F) {
	f.Add("default", "a", "10.96.0.1", "192.0.2.1", "10.244.0.1", "http", int32(80), int32(30080), "0.0.0.0/0")
	f.Add("", "\xff", "::ffff:1.2.3.4", "fe80::1%eth0", "::", "", int32(-1), int32(1<<30), "::/0")
	f.Fuzz(func(t *testing.T, namespace, name, clusterIP, externalIP, endpoint, port string, number, nodePort int32, source string) {
		b, v := NewServiceBook(), newServed(t)
		v.take(b.Set(Service{
			Namespace: namespace, Name: name, ClusterIPs: s(clusterIP), ExternalIPs: s(externalIP),
			Ports: []ServicePort{{port, "TCP", number, nodePort}}, SourceRanges: s(source),
		}))
		for _, m := range v.services {
			for _, a := range append(m.ClusterIps, m.ExternalIps...) {
				if addr, ok := netip.AddrFromSlice(a); !ok || addr.IsUnspecified() || addr.IsLoopback() || addr.Is4In6() {
					t.Fatalf("address %x is served", a)
				}
			}
			for _, p := range m.Ports {
				if p.Port == 0 || p.Port > 65535 || p.NodePort > 65535 {
					t.Fatalf("port %v is served", p)
				}
			}
			if len(m.SourceRanges) == 0 {
				t.Fatal("a range that is none opens the Service to everybody")
			}
		}
		r, ok, _ := BuildSlice(Slice{Namespace: namespace, Name: name, Service: name, Family: "IPv4", Ports: []SlicePort{{port, "UDP", number}},
			Endpoints: []SliceEndpoint{{Addresses: s(endpoint)}}})
		m := &state.ServiceEndpoints{}
		if ok && proto.Unmarshal(r.Body, m) != nil {
			t.Fatalf("%x cannot be read", r.Body)
		}
		for _, e := range m.Endpoints {
			if a, ok := netip.AddrFromSlice(e.Address); !ok || !a.Is4() || a.IsLoopback() {
				t.Fatalf("endpoint %x is served", e.Address)
			}
		}
	})
}
