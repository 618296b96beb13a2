// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/fairlead-io/fairlead/internal/state"
)

// fleet is what all nodes have been given.
type fleet map[string]map[string]state.Resource

func (f fleet) apply(t testing.TB, x *Index) Change {
	t.Helper()
	c, err := x.Take()
	if err != nil {
		t.Fatal(err)
	}
	for node, d := range c.Scopes {
		if f[node] == nil {
			f[node] = map[string]state.Resource{}
		}
		for _, r := range d.Set {
			f[node][r.Name] = r
		}
		for _, name := range d.Removed {
			delete(f[node], name)
		}
		if len(f[node]) == 0 {
			delete(f, node)
		}
	}
	return c
}

// text is what the nodes hold in the words of the naive model. It fails for a set that no
// policy of the node names, and for a policy that no subject of it names.
func (f fleet) text(t testing.TB) map[string]map[string]string {
	t.Helper()
	out := map[string]map[string]string{}
	for node, rows := range f {
		out[node] = map[string]string{}
		sets := map[string]map[netip.Addr]bool{}
		var policies []*state.Policy
		wanted := map[string]bool{}
		for name, r := range rows {
			o := &state.PolicyObject{}
			if err := proto.Unmarshal(r.Body, o); err != nil {
				t.Fatal(err)
			}
			switch {
			case o.GetScope() != nil:
				out[node][name] = fmt.Sprintln(o.GetScope().GetNamespaces())
			case o.GetPeers() != nil:
				p := o.GetPeers()
				if want := fmt.Sprintf("peers/%s/%d", p.GetSet(), p.GetBlock()); name != want {
					t.Fatalf("%s is named %s", want, name)
				}
				if sets[p.GetSet()] == nil {
					sets[p.GetSet()] = map[netip.Addr]bool{}
				}
				for _, a := range append(unpack(p.GetIpv4(), 4), unpack(p.GetIpv6(), 16)...) {
					sets[p.GetSet()][a] = true
				}
			case o.GetPolicy() != nil:
				policies = append(policies, o.GetPolicy())
			case o.GetSubject() != nil:
				s := o.GetSubject()
				var ports []NamedPort
				for _, p := range s.GetPorts() {
					ports = append(ports, NamedPort{p.GetName(), uint8(p.GetProtocol()), uint16(p.GetPort())})
				}
				for _, p := range s.GetPolicies() {
					wanted[p] = true
				}
				out[node][name] = fmt.Sprintln(s.GetUid(), s.GetPolicies(), ports, s.GetPeer())
			}
		}
		named := map[string]bool{}
		for _, p := range policies {
			name := ClusterNetworkPolicyName(p.GetName())
			if p.GetTier() == state.PolicyTier_TIER_NAMESPACE {
				name = NetworkPolicyName(p.GetNamespace(), p.GetName())
			}
			if !wanted[name] {
				t.Errorf("node %s has %s, which no subject of it names", node, name)
			}
			out[node][name] = policyText(p, sets, named)
		}
		for s := range sets {
			if !named[s] {
				t.Errorf("node %s has set %s, which no policy of it names", node, s)
			}
		}
	}
	return out
}

func unpack(b []byte, size int) (out []netip.Addr) {
	for c := range slices.Chunk(b, size) {
		a, _ := netip.AddrFromSlice(c)
		out = append(out, a)
	}
	return out
}

func policyText(p *state.Policy, sets map[string]map[netip.Addr]bool, named map[string]bool) string {
	var b strings.Builder
	fmt.Fprintln(&b, p.GetNamespace(), p.GetName(), p.GetTier(), p.GetPriority())
	direction := func(word string, d *state.PolicyRules) {
		if d == nil {
			return
		}
		fmt.Fprintln(&b, word)
		for _, r := range d.GetRules() {
			all := map[netip.Addr]bool{}
			for _, s := range r.GetPeerSets() {
				named[s] = true
				maps.Copy(all, sets[s])
			}
			var networks, ports []string
			for _, n := range r.GetNetworks() {
				var except []string
				for _, e := range n.GetExcept() {
					except = append(except, prefix(e))
				}
				networks = append(networks, prefix(n)+fmt.Sprint(except))
			}
			for _, port := range r.GetPorts() {
				if port.GetName() != "" {
					ports = append(ports, fmt.Sprintf("%d:%s", port.GetProtocol(), port.GetName()))
				} else {
					ports = append(ports, fmt.Sprintf("%d:%d-%d", port.GetProtocol(), port.GetFirst(), port.GetLast()))
				}
			}
			b.WriteString(naiveRule(int(r.GetPlace()), r.GetAction().String(), r.GetAnyPeer(), all, networks, r.GetAnyPort(), ports))
		}
	}
	direction("ingress", p.GetIngress())
	direction("egress", p.GetEgress())
	return b.String()
}

func prefix(n *state.PolicyNetwork) string {
	a, _ := netip.AddrFromSlice(n.GetAddress())
	return netip.PrefixFrom(a, int(n.GetBits())).String()
}

// step makes one random change in both.
func step(c chance, x *Index, w *naive) string {
	switch c.IntN(12) {
	case 0, 1, 2, 3:
		p := c.pod()
		key := p.Namespace + "/" + p.Name
		before, was := w.pods[key]
		on := was && before.Node != "" && !before.HostNetwork && !before.Finished
		if old := w.pods[key]; !on || old.UID != p.UID || old.Node != p.Node || len(p.Addresses) > 0 && !slices.Equal(p.Addresses, old.Addresses) || p.HostNetwork || p.Finished {
			delete(w.registered, key)
		}
		w.pods[key] = p
		x.SetPod(p)
		return fmt.Sprintf("pod %+v", p)
	case 4:
		p := c.pod()
		delete(w.pods, p.Namespace+"/"+p.Name)
		delete(w.registered, p.Namespace+"/"+p.Name)
		x.RemovePod(p.Namespace, p.Name)
		return "no pod " + p.Namespace + "/" + p.Name
	case 5:
		name, labels := c.namespace(), c.labels()
		labels["kubernetes.io/metadata.name"] = name
		if c.IntN(4) == 0 {
			delete(w.namespaces, name)
			x.RemoveNamespace(name)
			return "no namespace " + name
		}
		w.namespaces[name] = labels
		x.SetNamespace(name, labels)
		return fmt.Sprint("namespace ", name, labels)
	case 6, 7:
		p := c.networkPolicy()
		w.policies[p.Namespace+"/"+p.Name] = p
		x.SetNetworkPolicy(p)
		return fmt.Sprintf("policy %+v", p)
	case 8:
		p := c.networkPolicy()
		delete(w.policies, p.Namespace+"/"+p.Name)
		x.RemoveNetworkPolicy(p.Namespace, p.Name)
		return "no policy " + p.Namespace + "/" + p.Name
	case 9:
		p := c.clusterPolicy()
		if c.IntN(2) == 0 {
			delete(w.cluster, p.Name)
			x.RemoveClusterNetworkPolicy(p.Name)
			return "no cluster policy " + p.Name
		}
		w.cluster[p.Name] = p
		x.SetClusterNetworkPolicy(p)
		return fmt.Sprintf("cluster policy %+v", p)
	case 10:
		name, labels, addresses := fmt.Sprint("node", c.IntN(3)), c.labels(), c.addresses()
		if c.IntN(4) == 0 {
			delete(w.nodes, name)
			x.RemoveNode(name)
			return "no node " + name
		}
		w.nodes[name] = naiveNode{labels, addresses}
		x.SetNode(name, labels, addresses)
		return fmt.Sprint("node ", name, labels, addresses)
	}
	p := c.pod()
	addresses := c.addresses()
	if x.Register(p.Namespace, p.Name, p.UID, p.Node, addresses) {
		w.registered[p.Namespace+"/"+p.Name] = addresses
	}
	return fmt.Sprint("registered ", p.Namespace, p.Name, addresses)
}

// compare fails for everything that some node holds and should not, or should and does not.
func compare(t *testing.T, got, want map[string]map[string]string) {
	t.Helper()
	for node := range want {
		for name, text := range want[node] {
			if got[node][name] != text {
				t.Errorf("node %q has of %s\n%s\nand should have\n%s", node, name, got[node][name], text)
			}
		}
	}
	for node := range got {
		for name := range got[node] {
			if _, ok := want[node][name]; !ok {
				t.Errorf("node %q has %s, which it should not", node, name)
			}
		}
	}
}

// Whatever changes, in whatever order and however many changes are taken at once, every node
// holds what the objects say.
func TestNodesHoldWhatTheObjectsSay(t *testing.T) {
	seeds, steps := uint64(20), 150
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		run(t, seed, steps)
		if t.Failed() {
			return
		}
	}
}

func run(t *testing.T, seed uint64, steps int) {
	c := chance{rand.New(rand.NewPCG(seed, 1))}
	x, w, f := NewIndex(), newNaive(), fleet{}
	x.growAt, x.shrinkAt = 3, 1
	var last []string
	for i := range steps {
		last = append(last, step(c, x, w))
		if c.IntN(3) == 0 {
			continue // several changes are taken as one
		}
		f.apply(t, x)
		compare(t, f.text(t), w.holds())
		if t.Failed() {
			t.Fatalf("seed %d, step %d, after\n%s", seed, i, strings.Join(last, "\n"))
		}
		last = nil
	}
	// All goes, and nothing stays.
	for _, p := range w.pods {
		x.RemovePod(p.Namespace, p.Name)
	}
	for _, p := range w.policies {
		x.RemoveNetworkPolicy(p.Namespace, p.Name)
	}
	for name := range w.cluster {
		x.RemoveClusterNetworkPolicy(name)
	}
	for name := range w.namespaces {
		x.RemoveNamespace(name)
	}
	for name := range w.nodes {
		x.RemoveNode(name)
	}
	f.apply(t, x)
	if len(f) != 1 || len(f[Shared]) != 1 {
		t.Errorf("nodes still hold %v", f)
	}
	if n := len(x.groups) + len(x.namespaces) + len(x.policies) + len(x.wide) + len(x.fixed); n > 0 {
		t.Errorf("the index still has %v %v %v %v %v", x.groups, x.namespaces, x.policies, x.wide, x.fixed)
	}
}
