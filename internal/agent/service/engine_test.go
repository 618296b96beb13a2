// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

func TestBadResourcesAreNamedAndTheFormerStays(t *testing.T) {
	e := engine(t, web(nil), slicesOf("10.0.0.1 ready"))
	e.Take(true)
	for words, err := range map[string]error{
		"Service default/web: cluster_ips[0] has 3 bytes":     e.SetService(web(func(m *state.Service) { m.ClusterIps[0] = []byte{1, 2, 3} })),
		"Service default/web: ports[0] is protocol 132":       e.SetService(web(func(m *state.Service) { m.Ports[0].Protocol = 132 })),
		"Service default/web: ports[0] is protocol 6, port 0": e.SetService(web(func(m *state.Service) { m.Ports[0].Port = 0 })),
		"node port 70000":                                       e.SetService(web(func(m *state.Service) { m.Ports[0].NodePort = 70000 })),
		"health_check_node_port is 70000":                       e.SetService(web(func(m *state.Service) { m.HealthCheckNodePort = 70000 })),
		`source_ranges[0] is "all"`:                             e.SetService(web(func(m *state.Service) { m.SourceRanges = []string{"all"} })),
		"EndpointSlice default/web-x: endpoints[0].address has": e.SetEndpoints(&state.ServiceEndpoints{Namespace: "default", Name: "web-x", Service: "web", Endpoints: []*state.ServiceEndpoint{{}}}),
		"EndpointSlice default/web-x: ports[0] is protocol 6":   e.SetEndpoints(&state.ServiceEndpoints{Namespace: "default", Name: "web-x", Service: "web", Ports: []*state.EndpointPort{{Protocol: 6, Port: 70000}}}),
	} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
	if u := e.Take(false); len(u.Set)+len(u.Removed) != 0 {
		t.Errorf("something changed: %+v", u)
	}
	if got := frontend(t, e.Take(true), datapath.FrontendClusterIP, "10.96.0.1"); got != "10.0.0.1:8080 | 10.0.0.1:8080" {
		t.Errorf("the former is %q", got)
	}
}

// Sockets must not stay with a backend that is no more; those of TCP may end what they
// have begun with one that is only not used.
func TestWhoseSocketsAreEnded(t *testing.T) {
	both := func(m *state.Service) {
		m.Ports = []*state.ServicePort{{Name: "t", Protocol: 6, Port: 80}, {Name: "u", Protocol: 17, Port: 80}}
	}
	ports := []*state.EndpointPort{{Name: "t", Protocol: 6, Port: 8080}, {Name: "u", Protocol: 17, Port: 8080}}
	with := func(words ...string) *state.ServiceEndpoints {
		m := slicesOf(words...)
		m.Ports = ports
		return m
	}
	for name, c := range map[string]struct {
		change func(e *Engine) error
		want   []datapath.Protocol // of 10.0.0.1
	}{
		"it is in no slice":   {func(e *Engine) error { return e.SetEndpoints(with("10.0.0.2 ready")) }, []datapath.Protocol{datapath.TCP, datapath.UDP}},
		"its slice is gone":   {func(e *Engine) error { e.RemoveEndpoints("default/web-x"); return nil }, []datapath.Protocol{datapath.TCP, datapath.UDP}},
		"it is not ready":     {func(e *Engine) error { return e.SetEndpoints(with("10.0.0.1", "10.0.0.2 ready")) }, []datapath.Protocol{datapath.UDP}},
		"it terminates":       {func(e *Engine) error { return e.SetEndpoints(with("10.0.0.1 serving terminating", "10.0.0.2 ready")) }, []datapath.Protocol{datapath.UDP}},
		"another one comes":   {func(e *Engine) error { return e.SetEndpoints(with("10.0.0.1 ready", "10.0.0.2 ready")) }, nil},
		"the Service is gone": {func(e *Engine) error { e.RemoveService("default/web"); return nil }, []datapath.Protocol{datapath.UDP}},
		"its pod is gone": {func(e *Engine) error {
			e.node = "n1"
			e.PodGone([]netip.Addr{netip.MustParseAddr("10.0.0.1")})
			return nil
		}, []datapath.Protocol{datapath.TCP, datapath.UDP}},
	} {
		t.Run(name, func(t *testing.T) {
			e := engine(t, web(both), with("10.0.0.1 ready node=n1"))
			if u := e.Take(true); len(u.Gone) != 0 {
				t.Fatalf("gone at first: %v", u.Gone)
			}
			if err := c.change(e); err != nil {
				t.Fatal(err)
			}
			var got []datapath.Protocol
			for _, g := range e.Take(false).Gone {
				if g.Address != netip.MustParseAddr("10.0.0.1") || g.Port != 8080 {
					t.Errorf("gone: %v", g)
				}
				got = append(got, g.Protocol)
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("ended: %v, want %v", got, c.want)
			}
		})
	}
}

// A pod that is gone from this node is not used until its slice is told anew, whichever
// node's word for its end comes first.
func TestAPodThatIsGone(t *testing.T) {
	e := engine(t, web(nil), slicesOf("10.0.0.1 ready node=n1", "10.0.0.2 ready node=n2"))
	e.Take(true)
	e.PodGone([]netip.Addr{netip.MustParseAddr("10.0.0.2")}) // not of this node: its own agent knows
	if u := e.Take(false); len(u.Set) != 0 {
		t.Errorf("another node's pod: %+v", u)
	}
	e.PodGone([]netip.Addr{netip.MustParseAddr("10.0.0.1")})
	if got := frontend(t, e.Take(false), datapath.FrontendClusterIP, "10.96.0.1"); got != "10.0.0.2:8080 | 10.0.0.2:8080" {
		t.Errorf("after its end: %q", got)
	}
	if err := e.SetEndpoints(slicesOf("10.0.0.1 ready node=n1")); err != nil {
		t.Fatal(err)
	}
	if got := frontend(t, e.Take(false), datapath.FrontendClusterIP, "10.96.0.1"); got != "10.0.0.1:8080 | 10.0.0.1:8080" {
		t.Errorf("its address has another pod: %q", got)
	}
	if len(e.gone) != 0 {
		t.Errorf("kept: %v", e.gone)
	}
}

// What is known of this node's pods counts, and no other's: until the slices' word holds again.
func TestReadinessOfThisNodesPods(t *testing.T) {
	at := netip.MustParseAddr
	e := engine(t, web(nil), slicesOf("10.0.0.1 ready node=n1", "10.0.0.2 ready node=n2", "10.0.0.3 node=n1", "10.0.0.4 ready"))
	e.Take(true)
	for _, step := range []struct {
		name string
		pods map[netip.Addr]Readiness
		want string // "": nothing changes
	}{
		{"as it was told", map[netip.Addr]Readiness{at("10.0.0.1"): {Serving: true}, at("10.0.0.3"): {}}, ""},
		{"the other way round", map[netip.Addr]Readiness{at("10.0.0.1"): {}, at("10.0.0.3"): {Serving: true}},
			"10.0.0.2:8080 10.0.0.3:8080 10.0.0.4:8080 | 10.0.0.2:8080 10.0.0.3:8080 10.0.0.4:8080"},
		{"of pods of others", map[netip.Addr]Readiness{at("10.0.0.1"): {}, at("10.0.0.2"): {}, at("10.0.0.3"): {Serving: true}, at("10.0.0.4"): {}}, ""},
		{"terminating", map[netip.Addr]Readiness{at("10.0.0.3"): {Serving: true, Terminating: true}},
			"10.0.0.1:8080 10.0.0.2:8080 10.0.0.4:8080 | 10.0.0.1:8080 10.0.0.2:8080 10.0.0.4:8080"},
		{"that is not there", map[netip.Addr]Readiness{at("10.0.0.1"): {}, at("10.0.0.9"): {Serving: true}},
			"10.0.0.2:8080 10.0.0.4:8080 | 10.0.0.2:8080 10.0.0.4:8080"},
		{"none", nil, "10.0.0.1:8080 10.0.0.2:8080 10.0.0.4:8080 | 10.0.0.1:8080 10.0.0.2:8080 10.0.0.4:8080"},
	} {
		e.SetReadiness(step.pods)
		u := e.Take(false)
		if step.want == "" && len(u.Set) == 0 {
			continue
		}
		if got := frontend(t, u, datapath.FrontendClusterIP, "10.96.0.1"); got != step.want {
			t.Errorf("%s: %q, want %q", step.name, got, step.want)
		}
	}
}

func TestWhatFailedIsTakenAgain(t *testing.T) {
	e := engine(t, web(nil), slicesOf("10.0.0.1 ready"))
	e.Take(true)
	e.Again("default/web")
	if u := e.Take(false); len(u.Set) != 1 || len(u.Gone) != 0 {
		t.Errorf("taken again: %+v", u)
	}
	e.RemoveService("default/web")
	e.Take(false)
	e.Again("default/web")
	if u := e.Take(false); len(u.Removed) != 1 {
		t.Errorf("a removal taken again: %+v", u)
	}
	if u := e.Take(false); len(u.Removed)+len(u.Set) != 0 {
		t.Errorf("without need: %+v", u)
	}
}

func TestHealthCountsLocalEndpoints(t *testing.T) {
	health := func(m *state.Service) { m.ExternalLocal, m.HealthCheckNodePort = true, 30999 }
	e := engine(t, web(health), slicesOf("10.0.0.1 ready node=n1", "10.0.0.2 ready node=n2", "10.0.0.3 node=n1"))
	e.Take(true)
	if got := e.Health(); len(got) != 1 || got[0] != (Health{"default", "web", 30999, 1}) {
		t.Errorf("health %+v", got)
	}
	// One that is ending still serves, and load balancers are to go elsewhere.
	if err := e.SetEndpoints(slicesOf("10.0.0.1 serving terminating node=n1")); err != nil {
		t.Fatal(err)
	}
	if u := e.Take(false); len(u.Set) != 1 || e.Health()[0].LocalEndpoints != 0 {
		t.Errorf("health %+v after %+v", e.Health(), u)
	}
	e.RemoveService("default/web")
	e.Take(false)
	if got := e.Health(); len(got) != 0 {
		t.Errorf("health %+v", got)
	}
}

func TestViewSaysWhy(t *testing.T) {
	e := engine(t, web(nil), slicesOf("10.0.0.1 ready forzone=z1", "10.0.0.2 ready forzone=z2 zone=z2", "10.0.0.3 forzone=z1", "10.0.0.4 serving terminating"))
	v, ok := e.View("default/web")
	if !ok || v.Total != 4 || v.Usable != 1 || len(v.Frontends) != 4 || len(v.Digest) != 16 {
		t.Fatalf("view %+v", v)
	}
	for i, want := range []string{"", "zone z2", "not ready", "terminating"} {
		if b := v.Backends[i]; !strings.Contains(b.Why, want) || (b.Why == "") != (want == "") {
			t.Errorf("%s: %q, want %q", b.Address, b.Why, want)
		}
	}
	if _, ok := e.View("default/none"); ok {
		t.Error("there is a view of no Service")
	}
	before := v.Digest
	if err := e.SetEndpoints(slicesOf("10.0.0.1")); err != nil {
		t.Fatal(err)
	}
	if v, _ := e.View("default/web"); v.Digest == before {
		t.Error("another content has the same digest")
	}
}

// However changes come, what is in force is what an engine decides that is told all at once.
func TestChangesAddUp(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for round := range 300 {
		e := New("n1")
		inForce := map[string]datapath.Service{}
		services, slicesNow := map[string]*state.Service{}, map[string]*state.ServiceEndpoints{}
		zone := ""
		var pods map[netip.Addr]Readiness
		for range 40 {
			name := fmt.Sprint("s", random.IntN(3))
			switch random.IntN(9) {
			case 8:
				pods = someReadiness(random)
				e.SetReadiness(pods)
			case 0:
				delete(services, "default/"+name)
				e.RemoveService("default/" + name)
			case 1:
				zone = fmt.Sprint("z", random.IntN(2))
				e.SetZone(zone)
			case 2:
				key := fmt.Sprint("default/x", random.IntN(4))
				delete(slicesNow, key)
				e.RemoveEndpoints(key)
			case 3, 4:
				m := web(func(m *state.Service) {
					m.Name, m.ClusterIps = name, [][]byte{addr("10.96.0.1"), addr("fd00::1")}
					m.InternalLocal, m.ExternalLocal, m.PublishNotReady = random.IntN(3) == 0, random.IntN(3) == 0, random.IntN(5) == 0
				})
				services["default/"+name] = m
				if err := e.SetService(m); err != nil {
					t.Fatal(err)
				}
			default:
				m := slicesOf(someEndpoints(random)...)
				m.Name, m.Service = fmt.Sprint("x", random.IntN(4)), name
				slicesNow["default/"+m.Name] = m
				if err := e.SetEndpoints(proto.CloneOf(m)); err != nil {
					t.Fatal(err)
				}
			}
			if random.IntN(3) == 0 {
				bring(inForce, e.Take(false))
			}
		}
		bring(inForce, e.Take(false))
		fresh := New("n1")
		fresh.SetZone(zone)
		fresh.SetReadiness(pods)
		for _, name := range slices.Sorted(maps.Keys(services)) {
			if err := fresh.SetService(services[name]); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(slicesNow)) {
			if err := fresh.SetEndpoints(slicesNow[name]); err != nil {
				t.Fatal(err)
			}
		}
		want := map[string]datapath.Service{}
		bring(want, fresh.Take(true))
		if !reflect.DeepEqual(inForce, want) {
			t.Fatalf("round %d: in force\n%+v\nwant\n%+v", round, inForce, want)
		}
	}
}

func someEndpoints(random *rand.Rand) (out []string) {
	for range random.IntN(4) {
		words := fmt.Sprint("10.0.0.", random.IntN(5)+1)
		for _, w := range []string{"ready", "serving", "terminating", "node=n1", "node=n2", "zone=z1", "forzone=z1", "forzone=z0", "fornode=n1"} {
			if random.IntN(3) == 0 {
				words += " " + w
			}
		}
		out = append(out, words)
	}
	return out
}

// someReadiness is what is known of some pods; nil: of none.
func someReadiness(random *rand.Rand) map[netip.Addr]Readiness {
	if random.IntN(3) == 0 {
		return nil
	}
	pods := map[netip.Addr]Readiness{}
	for i := range 5 {
		if random.IntN(2) == 0 {
			pods[netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})] = Readiness{Serving: random.IntN(2) == 0, Terminating: random.IntN(3) == 0}
		}
	}
	return pods
}

// bring does what the datapath does with an update.
func bring(inForce map[string]datapath.Service, u datapath.ServiceUpdate) {
	for _, name := range u.Removed {
		delete(inForce, name)
	}
	for _, s := range u.Set {
		inForce[s.Name] = s
	}
}

// FuzzEngine: no message makes the engine fail otherwise than by an error.
func FuzzEngine(f *testing.F) {
	for _, m := range []proto.Message{web(nil), slicesOf("10.0.0.1 ready node=n1 forzone=z1")} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, b)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		e := New("n1")
		s, x := &state.Service{}, &state.ServiceEndpoints{}
		if proto.Unmarshal(a, s) != nil || proto.Unmarshal(b, x) != nil {
			return
		}
		s.Namespace, s.Name, x.Namespace, x.Service = "default", "web", "default", "web"
		if e.SetService(s) != nil || e.SetEndpoints(x) != nil {
			return
		}
		for _, one := range e.Take(true).Set {
			for _, f := range one.Frontends {
				for _, b := range one.Pools[f.Inside].Backends {
					if b.Address.Is4() != f.Address.Is4() || b.Port == 0 {
						t.Fatalf("frontend %+v leads to %+v", f, b)
					}
				}
			}
		}
		e.View("default/web")
		e.Health()
	})
}

// BenchmarkEngine tells what 10,000 Services with 100,000 endpoints cost: memory, time for
// all, and for one change.
func BenchmarkEngine(b *testing.B) {
	load := func() *Engine {
		e := New("n1")
		for i := range 10000 {
			name := fmt.Sprintf("service-%05d", i)
			if err := e.SetService(&state.Service{Namespace: "default", Name: name, ClusterIps: [][]byte{{10, 96, byte(i >> 8), byte(i)}},
				Ports: []*state.ServicePort{{Name: "http", Protocol: 6, Port: 80}}}); err != nil {
				b.Fatal(err)
			}
			if err := e.SetEndpoints(tenEndpoints(name, i)); err != nil {
				b.Fatal(err)
			}
		}
		return e
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			load().Take(true)
		}
	})
	b.Run("change", func(b *testing.B) {
		before := heap()
		e := load()
		e.Take(true)
		size := heap() - before
		i := 0
		for b.Loop() {
			i++
			if err := e.SetEndpoints(tenEndpoints("service-00007", i)); err != nil {
				b.Fatal(err)
			}
			e.Take(false)
		}
		b.ReportMetric(float64(size)/(1<<20), "MiB")
		runtime.KeepAlive(e)
	})
}

func tenEndpoints(service string, i int) *state.ServiceEndpoints {
	m := &state.ServiceEndpoints{Namespace: "default", Name: service + "-abcde", Service: service, Ports: []*state.EndpointPort{{Name: "http", Protocol: 6, Port: 8080}}}
	for j := range 10 {
		m.Endpoints = append(m.Endpoints, &state.ServiceEndpoint{Address: []byte{10, byte(i >> 8), byte(i), byte(j)}, Ready: true, Serving: true,
			Node: fmt.Sprintf("node-%d", (i+j)%100), Zone: fmt.Sprintf("zone-%d", j%3)})
	}
	return m
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
