// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/state"
)

// compiled is a policy as it was read, before anybody knows whom its selectors mean.
type compiled struct {
	resource        string
	namespace, name string
	tier            state.PolicyTier
	priority        int32
	subject         *who // nil: it selects nobody
	ingress, egress *direction
	findings        []model.Finding
}

// direction are the rules for what a pod receives, or sends.
type direction struct{ rules []rule }

// rule is one of the policy. Either it has ports (or any), or it is for a named port of its
// peers: then it stands for as many rules as that has numbers.
type rule struct {
	place    uint32
	name     string
	action   state.PolicyAction
	anyPeer  bool
	peers    []*who
	networks []*state.PolicyNetwork
	anyPort  bool
	ports    []*state.PolicyPort
	named    bool
}

// peers are whom the rules name, each once.
func (c *compiled) peers() []*who {
	var out []*who
	seen := map[string]bool{}
	for _, d := range []*direction{c.ingress, c.egress} {
		if d == nil {
			continue
		}
		for _, r := range d.rules {
			for _, w := range r.peers {
				if key := w.key(); !seen[key] {
					seen[key] = true
					out = append(out, w)
				}
			}
		}
	}
	return out
}

// encode makes the resource, with the names of the sets that the groups have now.
func (c *compiled) encode(groups map[string]*group) (state.Resource, error) {
	return state.Encode(c.resource, &state.PolicyObject{Object: &state.PolicyObject_Policy{Policy: &state.Policy{
		Namespace: c.namespace, Name: c.name, Tier: c.tier, Priority: c.priority,
		Ingress: c.ingress.encode(groups), Egress: c.egress.encode(groups),
	}}})
}

func (d *direction) encode(groups map[string]*group) *state.PolicyRules {
	if d == nil {
		return nil
	}
	out := &state.PolicyRules{}
	for i := range d.rules {
		out.Rules = append(out.Rules, d.rules[i].encode(groups)...)
	}
	return out
}

func (r *rule) encode(groups map[string]*group) []*state.PolicyRule {
	sets := map[number][]string{}
	for _, w := range r.peers {
		key := w.key()
		for n := range groups[key].sets {
			sets[n] = append(sets[n], setName(key, n))
		}
	}
	for n, names := range sets {
		slices.Sort(names)
		sets[n] = slices.Compact(names)
	}
	whole := state.PolicyRule{Place: r.place, Name: r.name, Action: r.action}
	if !r.named {
		whole.AnyPeer, whole.PeerSets, whole.Networks = r.anyPeer, sets[number{}], r.networks
		whole.AnyPort, whole.Ports = r.anyPort, r.ports
		return []*state.PolicyRule{&whole}
	}
	var out []*state.PolicyRule
	for _, n := range slices.SortedFunc(maps.Keys(sets), number.compare) {
		out = append(out, &state.PolicyRule{
			Place: r.place, Name: r.name, Action: r.action, PeerSets: sets[n],
			Ports: []*state.PolicyPort{{Protocol: uint32(n.protocol), First: uint32(n.port), Last: uint32(n.port)}},
		})
	}
	return out
}

func (n number) compare(o number) int {
	return cmp.Or(cmp.Compare(n.protocol, o.protocol), cmp.Compare(n.port, o.port))
}

// faults gathers what is wrong with an object.
type faults struct {
	object string
	found  []model.Finding
}

func (f *faults) add(field, message, fix string) {
	f.found = append(f.found, model.Finding{Object: f.object, Field: field, Message: strings.ToValidUTF8(message, "?"), Fix: fix})
}

// protocols that policies can name, by their names in objects.
var protocols = map[string]uint32{"TCP": 6, "UDP": 17, "SCTP": 132}
