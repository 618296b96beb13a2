// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/internal/agent/policy"
	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

// world is all that an engine was told, and what follows from it in the plainest words.
type world struct {
	objects map[string]*state.PolicyObject
	pods    map[string]policy.Pod
}

func newWorld() *world {
	return &world{objects: map[string]*state.PolicyObject{}, pods: map[string]policy.Pod{}}
}

// answer is a verdict in words.
type answer struct {
	policed, allow bool
	why            string // the rule that decides; empty: none does
}

// verdict asks all policies of a pod, one after another.
func (w *world) verdict(p policy.Pod, peer netip.Addr, d datapath.Direction, protocol uint8, port uint16) answer {
	object := w.objects["subject/"+p.Namespace+"/"+p.Name]
	if object == nil || p.UID != "" && object.GetSubject().GetUid() != p.UID {
		if object == nil && !slices.Contains(w.objects["cluster"].GetScope().GetNamespaces(), p.Namespace) {
			return answer{allow: true}
		}
		return answer{policed: true, why: policy.Rule{Missing: policy.MissingSubject}.String()}
	}
	subject := object.GetSubject()
	var admin, namespace, baseline []*state.Policy
	policed := false
	for _, name := range subject.GetPolicies() {
		o := w.objects[name]
		if o == nil {
			parts := strings.Split(name, "/")
			return answer{policed: true, why: parts[1] + " " + strings.Join(parts[2:], "/") + ": " + policy.MissingPolicy}
		}
		one := o.GetPolicy()
		if rulesOf(one, d) == nil {
			continue
		}
		policed = true
		switch one.GetTier() {
		case state.PolicyTier_TIER_ADMIN:
			admin = append(admin, one)
		case state.PolicyTier_TIER_NAMESPACE:
			namespace = append(namespace, one)
		case state.PolicyTier_TIER_BASELINE:
			baseline = append(baseline, one)
		}
	}
	if a, decided := w.tier(admin, subject, peer, d, protocol, port); decided {
		return a
	}
	if len(namespace) > 0 {
		if a, decided := w.tier(namespace, subject, peer, d, protocol, port); decided {
			return a
		}
		return answer{policed: true, why: "NetworkPolicy " + namespace[0].GetNamespace() + "/" + namespace[0].GetName() + ": no rule allows it"}
	}
	if a, decided := w.tier(baseline, subject, peer, d, protocol, port); decided {
		return a
	}
	return answer{policed: policed, allow: true}
}

// tier asks the policies of a tier; decided is false if none says anything, or one passes.
func (w *world) tier(list []*state.Policy, s *state.PolicySubject, peer netip.Addr, d datapath.Direction, protocol uint8, port uint16) (a answer, decided bool) {
	slices.SortStableFunc(list, func(a, b *state.Policy) int {
		if a.GetPriority() != b.GetPriority() {
			return int(a.GetPriority()) - int(b.GetPriority())
		}
		return strings.Compare(a.GetName(), b.GetName())
	})
	for _, p := range list {
		for _, r := range rulesOf(p, d).GetRules() {
			if !w.matchesPeer(r, peer) || !matchesPort(r, s, protocol, port) {
				continue
			}
			kind, direction := state.KindClusterNetworkPolicy, "ingress"
			if p.GetTier() == state.PolicyTier_TIER_NAMESPACE {
				kind = state.KindNetworkPolicy
			}
			if d == datapath.Egress {
				direction = "egress"
			}
			why := kind + " " + strings.TrimPrefix(p.GetNamespace()+"/"+p.GetName(), "/") + " " + direction + "[" + string(rune('0'+r.GetPlace())) + "]"
			if r.GetName() != "" {
				why += ` "` + r.GetName() + `"`
			}
			if r.GetAction() == state.PolicyAction_ACTION_PASS {
				return answer{}, false
			}
			return answer{policed: true, allow: r.GetAction() == state.PolicyAction_ACTION_ACCEPT, why: why}, true
		}
	}
	return answer{}, false
}

func rulesOf(p *state.Policy, d datapath.Direction) *state.PolicyRules {
	if d == datapath.Egress {
		return p.GetEgress()
	}
	return p.GetIngress()
}

func (w *world) matchesPeer(r *state.PolicyRule, peer netip.Addr) bool {
	if r.GetAnyPeer() {
		return true
	}
	for _, o := range w.objects {
		if s := o.GetPeers(); s != nil && slices.Contains(r.GetPeerSets(), s.GetSet()) && slices.Contains(addressesOf(s), peer) {
			return true
		}
	}
	for _, n := range r.GetNetworks() {
		if contains(n, peer) && !slices.ContainsFunc(n.GetExcept(), func(x *state.PolicyNetwork) bool { return contains(x, peer) }) {
			return true
		}
	}
	return false
}

func addressesOf(s *state.PeerSet) (out []netip.Addr) {
	for b := range slices.Chunk(s.GetIpv4(), 4) {
		a, _ := netip.AddrFromSlice(b)
		out = append(out, a)
	}
	for b := range slices.Chunk(s.GetIpv6(), 16) {
		a, _ := netip.AddrFromSlice(b)
		out = append(out, a)
	}
	return out
}

func contains(n *state.PolicyNetwork, a netip.Addr) bool {
	base, _ := netip.AddrFromSlice(n.GetAddress())
	return netip.PrefixFrom(base, int(n.GetBits())).Contains(a)
}

func matchesPort(r *state.PolicyRule, s *state.PolicySubject, protocol uint8, port uint16) bool {
	if r.GetAnyPort() {
		return true
	}
	for _, o := range r.GetPorts() {
		if o.GetName() != "" {
			for _, n := range s.GetPorts() {
				if n.GetName() == o.GetName() && (o.GetProtocol() == 0 || o.GetProtocol() == n.GetProtocol()) && n.GetProtocol() == uint32(protocol) && n.GetPort() == uint32(port) {
					return true
				}
			}
			continue
		}
		all := o.GetFirst() == 0 && o.GetLast() == 0
		if o.GetProtocol() == uint32(protocol) && (all || uint32(port) >= o.GetFirst() && uint32(port) <= o.GetLast()) {
			return true
		}
	}
	return false
}

// kernel is what the datapath has, looked up as its programs do.
type kernel struct {
	ports   map[datapath.PortTableID][]datapath.PortVerdict
	tables  map[datapath.RulesetClass]datapath.PortTableID
	classes map[netip.Prefix]datapath.ClassID
	pods    map[netip.Addr]datapath.PodPolicy
}

func newKernel() *kernel {
	return &kernel{map[datapath.PortTableID][]datapath.PortVerdict{}, map[datapath.RulesetClass]datapath.PortTableID{}, map[netip.Prefix]datapath.ClassID{}, map[netip.Addr]datapath.PodPolicy{}}
}

// apply writes an update as the datapath does, and calls a function after each step.
func (k *kernel) apply(u datapath.PolicyUpdate, step func()) {
	if u.Complete {
		*k = *newKernel()
	}
	maps.Copy(k.ports, u.PortTables)
	maps.Copy(k.tables, u.Tables)
	step()
	for p, c := range u.Classes {
		k.classes[p] = c
		step()
	}
	for a, p := range u.Pods {
		k.pods[a] = p
		step()
	}
	for _, a := range u.GonePods {
		delete(k.pods, a)
	}
	for _, p := range u.GoneClasses {
		delete(k.classes, p)
		step()
	}
	for _, t := range u.GoneTables {
		delete(k.tables, t)
	}
	for _, id := range u.GonePortTables {
		delete(k.ports, id)
	}
	step()
}

func (k *kernel) verdict(q datapath.PolicyQuery) (policed, allow bool, cause datapath.CauseID) {
	row := k.pods[q.Pod]
	ruleset := row.Ingress
	if q.Direction == datapath.Egress {
		ruleset = row.Egress
	}
	if ruleset == 0 {
		return false, true, 0
	}
	var class datapath.ClassID
	longest := -1
	for p, c := range k.classes {
		if p.Contains(q.Peer) && p.Bits() > longest {
			class, longest = c, p.Bits()
		}
	}
	table, ok := k.tables[datapath.RulesetClass{Ruleset: ruleset, Class: class}]
	if !ok {
		table, ok = k.tables[datapath.RulesetClass{Ruleset: ruleset}]
	}
	list, there := k.ports[table]
	if !ok || !there {
		return true, false, 0
	}
	own := slices.ContainsFunc(list, func(v datapath.PortVerdict) bool { return v.Protocol == q.Protocol })
	for _, v := range list {
		if own && v.Protocol == q.Protocol && q.Port >= v.First && q.Port <= v.Last || !own && v.Protocol == 0 {
			return true, v.Allow, v.Cause
		}
	}
	return true, false, 0
}
