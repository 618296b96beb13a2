// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/fairlead-io/fairlead/internal/agent/policy"
	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

var seed = []byte("a node's secret")

// dice makes what a test tells an engine of.
type dice struct{ *rand.Rand }

func (d dice) of(list ...string) string { return list[d.IntN(len(list))] }

func (d dice) chance(percent int) bool { return d.IntN(100) < percent }

// address is one of few, so that sets and networks overlap.
func (d dice) address() netip.Addr {
	if d.chance(70) {
		return netip.AddrFrom4([4]byte{10, 0, byte(d.IntN(2)), byte(d.IntN(6))})
	}
	return netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(d.IntN(4))})
}

var prefixes = []string{"0.0.0.0/0", "::/0", "10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/24", "10.0.1.0/24", "10.0.0.0/30", "10.0.0.2/31", "10.0.0.3/32", "fd00::/16", "fd00::2/127", "fd00::1/128"}

func prefix(text string) *state.PolicyNetwork {
	p := netip.MustParsePrefix(text)
	return &state.PolicyNetwork{Address: p.Addr().AsSlice(), Bits: uint32(p.Bits())}
}

func (d dice) network() *state.PolicyNetwork {
	n := prefix(d.of(prefixes...))
	base, _ := netip.AddrFromSlice(n.Address)
	outer := netip.PrefixFrom(base, int(n.Bits))
	for range d.IntN(3) {
		x := netip.MustParsePrefix(d.of(prefixes...))
		if outer.Contains(x.Addr()) && x.Bits() >= outer.Bits() {
			n.Except = append(n.Except, prefix(x.String()))
		}
	}
	return n
}

func (d dice) port(egress bool) *state.PolicyPort {
	protocol := []uint32{6, 17, 132}[d.IntN(3)]
	switch d.IntN(5) {
	case 0:
		return &state.PolicyPort{Protocol: protocol}
	case 1, 2:
		if !egress {
			if d.chance(30) {
				protocol = 0
			}
			return &state.PolicyPort{Protocol: protocol, Name: d.of("web", "dns", "none")}
		}
		fallthrough
	case 3:
		n := uint32([]int{1, 53, 80, 443, 8080, 65535}[d.IntN(6)])
		return &state.PolicyPort{Protocol: protocol, First: n, Last: n}
	default:
		first := uint32([]int{0, 1, 50, 80, 1000}[d.IntN(5)])
		return &state.PolicyPort{Protocol: protocol, First: first, Last: first + uint32([]int{1, 30, 8000, 64000}[d.IntN(4)])}
	}
}

func (d dice) rules(tier state.PolicyTier, egress bool) *state.PolicyRules {
	if d.chance(30) {
		return nil
	}
	out := &state.PolicyRules{}
	for place := range d.IntN(4) {
		r := &state.PolicyRule{Place: uint32(place), AnyPeer: d.chance(20), AnyPort: d.chance(30)}
		if tier != state.PolicyTier_TIER_NAMESPACE {
			r.Name, r.Action = d.of("", "one", "two"), state.PolicyAction(d.IntN(3))
		}
		for range d.IntN(3) {
			r.PeerSets = append(r.PeerSets, d.of("s0", "s1", "s2", "s3"))
		}
		for range d.IntN(2) {
			r.Networks = append(r.Networks, d.network())
		}
		for range d.IntN(3) {
			r.Ports = append(r.Ports, d.port(egress))
		}
		out.Rules = append(out.Rules, r)
	}
	return out
}

var policyNames = []string{"NetworkPolicy/a/p0", "NetworkPolicy/a/p1", "NetworkPolicy/a/p2", "ClusterNetworkPolicy/c0", "ClusterNetworkPolicy/c1", "ClusterNetworkPolicy/c2"}

func (d dice) policy() *state.PolicyObject {
	p := &state.Policy{Namespace: "a", Name: d.of("p0", "p1", "p2"), Tier: state.PolicyTier_TIER_NAMESPACE}
	if d.chance(50) {
		p = &state.Policy{Name: d.of("c0", "c1", "c2"), Tier: state.PolicyTier(1 + d.IntN(2)), Priority: int32(d.IntN(3))}
	}
	p.Ingress, p.Egress = d.rules(p.Tier, false), d.rules(p.Tier, true)
	return &state.PolicyObject{Object: &state.PolicyObject_Policy{Policy: p}}
}

func (d dice) block() *state.PolicyObject {
	s := &state.PeerSet{Set: d.of("s0", "s1", "s2", "s3"), Block: uint32(d.IntN(2))}
	for range d.IntN(5) {
		if a := d.address(); a.Is4() {
			s.Ipv4 = append(s.Ipv4, a.AsSlice()...)
		} else {
			s.Ipv6 = append(s.Ipv6, a.AsSlice()...)
		}
	}
	return &state.PolicyObject{Object: &state.PolicyObject_Peers{Peers: s}}
}

func (d dice) subject() *state.PolicyObject {
	s := &state.PolicySubject{Namespace: d.of("a", "b"), Name: d.of("x", "y"), Uid: d.of("u", "u", "u", "v")}
	for _, name := range policyNames {
		if d.chance(40) {
			s.Policies = append(s.Policies, "policy/"+name)
		}
	}
	slices.Sort(s.Policies)
	for range d.IntN(3) {
		s.Ports = append(s.Ports, &state.NamedPort{Name: d.of("web", "dns"), Protocol: []uint32{6, 17}[d.IntN(2)], Port: []uint32{53, 80, 8080}[d.IntN(3)]})
	}
	return &state.PolicyObject{Object: &state.PolicyObject_Subject{Subject: s}}
}

// change changes something in the world, and tells an engine.
// It says whether that was about the addresses of a peer set.
func (d dice) change(t *testing.T, w *world, e *policy.Engine) (peers bool) {
	var m *state.PolicyObject
	switch d.IntN(12) {
	case 0:
		m = &state.PolicyObject{Object: &state.PolicyObject_Scope{Scope: &state.PolicyScope{Namespaces: [][]string{{"a"}, {"a", "b"}, {"b"}, {}}[d.IntN(4)]}}}
	case 1, 2, 3, 4:
		m = d.block()
	case 5, 6:
		m = d.policy()
	case 7, 8:
		m = d.subject()
	case 9, 10:
		names := slices.Sorted(maps.Keys(w.objects))
		if name := names[d.IntN(len(names))]; name != "cluster" {
			peers = w.objects[name].GetPeers() != nil
			delete(w.objects, name)
			e.Remove(name)
		}
		return peers
	default:
		d.changePod(w, e)
		return false
	}
	name := state.PolicyName(m)
	w.objects[name] = m
	if err := e.Set(name, m); err != nil {
		t.Fatal(err)
	}
	return m.GetPeers() != nil
}

func (d dice) changePod(w *world, e *policy.Engine) {
	i := d.IntN(4)
	key := fmt.Sprint("attachment", i)
	if _, there := w.pods[key]; there && d.chance(50) {
		delete(w.pods, key)
		e.RemovePod(key)
		return
	}
	p := policy.Pod{
		Namespace: []string{"a", "a", "b", "b"}[i], Name: []string{"x", "y", "x", "y"}[i], UID: d.of("u", "u", ""),
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(i)})},
	}
	w.pods[key] = p
	e.SetPod(key, p)
}

// probe is a connection to ask about.
type probe struct {
	pod policy.Pod
	q   datapath.PolicyQuery
}

// probes are connections of every pod with every address that sets and networks tell apart.
func (d dice) probes(w *world, count int) (out []probe) {
	peers := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("10.9.9.9")}
	for len(peers) < 3+count {
		peers = append(peers, d.address())
	}
	for _, p := range w.pods {
		for _, peer := range peers {
			for range count {
				own := p.Addresses[0]
				if !peer.Is4() {
					own = p.Addresses[1]
				}
				out = append(out, probe{p, datapath.PolicyQuery{
					Pod: own, Peer: peer, Direction: datapath.Direction(1 + d.IntN(2)), Protocol: []uint8{1, 6, 6, 17, 132}[d.IntN(5)],
					Port: []uint16{0, 1, 2, 50, 53, 79, 80, 81, 443, 1000, 8050, 8080, 9001, 65535}[d.IntN(14)],
				}})
			}
		}
	}
	return out
}

// check asks the model and the rows.
func check(t *testing.T, w *world, k *kernel, e *policy.Engine, probes []probe) {
	t.Helper()
	for _, one := range probes {
		want := w.verdict(one.pod, one.q.Peer, one.q.Direction, one.q.Protocol, one.q.Port)
		policed, allow, cause := k.verdict(one.q)
		got := answer{policed: policed, allow: allow}
		if cause != 0 {
			r, ok := e.Cause(cause)
			if !ok {
				t.Fatalf("%s: cause %x is unknown", describe(one), cause)
			}
			got.why = r.String()
		}
		if got != want {
			t.Fatalf("%s: the rows say %+v, the model %+v", describe(one), got, want)
		}
		if x := e.Explain(one.q); x.Allow != want.allow || x.Policed != want.policed || x.Why != want.why {
			t.Fatalf("%s: explained as %+v, the model says %+v", describe(one), x, want)
		}
	}
}

func describe(p probe) string {
	return fmt.Sprintf("pod %s/%s (%s), peer %s, direction %d, protocol %d, port %d", p.pod.Namespace, p.pod.Name, p.q.Pod, p.q.Peer, p.q.Direction, p.q.Protocol, p.q.Port)
}

// take brings an update into force. What was denied before and is denied after it must be
// denied at each moment in between, if only addresses or only others changed: else it may be
// as if addresses had come first. What was allowed and is not any more is Narrower.
func take(t *testing.T, k *kernel, e *policy.Engine, probes []probe, mixed bool) {
	t.Helper()
	u := e.Take()
	checkForm(t, u)
	type seen struct{ first, between, last, there bool }
	all := make([]seen, len(probes))
	allowed := func(i int) bool {
		_, allow, _ := k.verdict(probes[i].q)
		return allow
	}
	for i := range all {
		all[i].first, all[i].there = allowed(i), u.Complete || has(k.pods, probes[i].q.Pod)
	}
	step := func() {
		for i := range all {
			all[i].last = allowed(i)
			all[i].between = all[i].between || all[i].last
		}
	}
	k.apply(u, step)
	for i, s := range all {
		if u.Complete || !s.there {
			continue
		}
		if !mixed && !s.first && !s.last && s.between {
			t.Fatalf("%s: it is let through while an update is written that changes nothing of it", describe(probes[i]))
		}
		if s.first && !s.last && !u.Narrower {
			t.Fatalf("%s: it is not allowed any more, and connections are not judged anew", describe(probes[i]))
		}
	}
}

func has(m map[netip.Addr]datapath.PodPolicy, a netip.Addr) bool { _, ok := m[a]; return ok }

// checkForm checks what the datapath relies on.
func checkForm(t *testing.T, u datapath.PolicyUpdate) {
	t.Helper()
	for id, list := range u.PortTables {
		if id == 0 || len(list) == 0 || list[0].Protocol != 0 {
			t.Fatalf("port table %x is %+v", id, list)
		}
		for i, v := range list[1:] {
			before := list[i]
			if v.First > v.Last || v.Protocol < before.Protocol || v.Protocol == before.Protocol && v.First != before.Last+1 {
				t.Fatalf("port table %x is not sorted and disjoint: %+v", id, list)
			}
			if v.Protocol == before.Protocol && v.Allow == before.Allow && v.Cause == before.Cause {
				t.Fatalf("port table %x has ranges that could be one: %+v", id, list)
			}
		}
	}
	for _, k := range u.GoneTables {
		if _, put := u.Tables[k]; put {
			t.Fatalf("%v is put and gone", k)
		}
	}
	for _, p := range u.GoneClasses {
		if _, put := u.Classes[p]; put {
			t.Fatalf("%v is put and gone", p)
		}
	}
}

func play(t *testing.T, seed1, seed2 uint64, rounds int) (cases int) {
	d := dice{rand.New(rand.NewPCG(seed1, seed2))}
	w, k, e := newWorld(), newKernel(), policy.New(seed)
	scope := &state.PolicyObject{Object: &state.PolicyObject_Scope{Scope: &state.PolicyScope{Namespaces: []string{"a"}}}}
	w.objects["cluster"] = scope
	if err := e.Set("cluster", scope); err != nil {
		t.Fatal(err)
	}
	for range 25 {
		d.change(t, w, e)
	}
	for range rounds {
		var peers, others bool
		for range 1 + d.IntN(4) {
			is := d.change(t, w, e)
			peers, others = peers || is, others || !is
		}
		probes := d.probes(w, 3)
		take(t, k, e, probes, peers && others)
		check(t, w, k, e, probes)
		cases += len(probes)
		if d.chance(50) {
			continue // what is left over meets the next change
		}
		for i := 0; e.Leftovers(); i++ {
			if i == 4 {
				t.Fatal("there are leftovers for ever")
			}
			take(t, k, e, probes, false)
			check(t, w, k, e, probes)
		}
		same(t, k, w)
	}
	return cases
}

// same compares rows with those of an engine that was told the same at once.
func same(t *testing.T, k *kernel, w *world) {
	t.Helper()
	fresh := policy.New(seed)
	for name, m := range w.objects {
		if err := fresh.Set(name, proto.Clone(m).(*state.PolicyObject)); err != nil {
			t.Fatal(err)
		}
	}
	for key, p := range w.pods {
		fresh.SetPod(key, p)
	}
	want := newKernel()
	want.apply(fresh.Take(), func() {})
	for _, one := range []struct {
		what       string
		have, want any
	}{{"pods", k.pods, want.pods}, {"classes", k.classes, want.classes}, {"tables", k.tables, want.tables}, {"ports", k.ports, want.ports}} {
		if !reflect.DeepEqual(one.have, one.want) {
			t.Fatalf("%s are, after all changes,\n%+v\nand at once\n%+v", one.what, one.have, one.want)
		}
	}
}

func TestRowsGiveTheModelsVerdictsWhateverHappens(t *testing.T) {
	games, cases := 300, 0
	if testing.Short() {
		games = 30
	}
	for game := range games {
		cases += play(t, 8, uint64(game), 40)
	}
	t.Logf("%d connections", cases)
}

func FuzzChanges(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) { play(t, a, b, 20) })
}
