// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/internal/agent/policy/view"
	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

// Explain goes through the policies of a pod of this node rule by rule, as they were told
// and not as they were compiled. A pod that the engine does not know is not policed.
func (e *Engine) Explain(q datapath.PolicyQuery) view.Trace {
	t := view.Trace{
		Address: q.Pod.String(), Peer: q.Peer.String(), Direction: directionName(q.Direction),
		Protocol: q.Protocol, Port: q.Port, Allow: true,
	}
	p := e.owners[q.Pod.Unmap()]
	if p == nil {
		return t
	}
	t.Pod = p.key()
	if r := p.rulesets[at(q.Direction)]; r != nil && len(r.causes) > 0 {
		why, _ := e.Cause(r.causes[0])
		t.Policed, t.Allow, t.Why = true, false, why.String()
		return t
	}
	s := e.subjects[p.key()]
	if s == nil || e.lacks(s) != "" {
		return t
	}
	x := explainer{e: e, q: q, subject: s, trace: &t}
	x.explain(e.order(s))
	return t
}

// lacks names a policy that selects a subject and has not come; empty: none.
func (e *Engine) lacks(s *subject) string {
	for _, name := range s.policies {
		if e.policies[name] == nil {
			return name
		}
	}
	return ""
}

// explainer holds one connection against policies.
type explainer struct {
	e       *Engine
	q       datapath.PolicyQuery
	subject *subject
	trace   *view.Trace
}

func (x *explainer) explain(list []*policy) {
	var isolates string
	passed, ended := false, false
	for _, p := range list {
		side := p.sides[at(x.q.Direction)]
		if side == nil {
			continue
		}
		x.trace.Policed = true
		one := view.Policy{Kind: p.kind, Namespace: p.namespace, Name: p.name, Tier: tierNames[p.tier], Priority: p.priority}
		switch {
		case p.tier == state.PolicyTier_TIER_ADMIN && passed:
			one.Skipped = "a rule before it passes on to the next tier"
		case p.tier == state.PolicyTier_TIER_BASELINE && isolates != "":
			one.Skipped = "a NetworkPolicy isolates the pod"
		case p.tier == state.PolicyTier_TIER_BASELINE && ended:
			one.Skipped = "a rule before it passes"
		}
		if one.Skipped != "" {
			x.trace.Policies = append(x.trace.Policies, one)
			continue
		}
		if p.tier == state.PolicyTier_TIER_NAMESPACE && isolates == "" {
			r, _ := x.e.Cause(side.isolates)
			isolates = r.String()
		}
		r := x.rules(side, &one)
		x.trace.Policies = append(x.trace.Policies, one)
		switch {
		case r == nil:
		case r.action == state.PolicyAction_ACTION_PASS:
			passed, ended = true, p.tier == state.PolicyTier_TIER_BASELINE
		default:
			why, _ := x.e.Cause(r.cause)
			x.trace.Allow, x.trace.Why = r.action == state.PolicyAction_ACTION_ACCEPT, why.String()
			return
		}
	}
	if isolates != "" {
		x.trace.Allow, x.trace.Why = false, isolates
	}
}

// rules writes down a policy's rules up to the one that decides, and returns that; nil: none.
func (x *explainer) rules(side *side, into *view.Policy) *rule {
	for i := range side.rules {
		r := &side.rules[i]
		one := view.Rule{Place: uint32(r.place), Name: r.name, Action: actionName(r.action)}
		one.Peer, one.PeerWhy = x.peer(r)
		one.Port, one.PortWhy = x.port(r)
		one.Decides = one.Peer && one.Port
		into.Rules = append(into.Rules, one)
		if one.Decides {
			return r
		}
	}
	return nil
}

func actionName(a state.PolicyAction) string {
	return strings.ToLower(strings.TrimPrefix(a.String(), "ACTION_"))
}

// peer says whether a rule's peers match, and why.
func (x *explainer) peer(r *rule) (bool, string) {
	if r.anyPeer {
		return true, "any peer"
	}
	a := x.q.Peer.Unmap()
	networks := 0
	for _, key := range r.sets {
		at := slices.IndexFunc(r.networks, func(n network) bool { return n.key == key })
		if at >= 0 {
			networks++
			if n := r.networks[at]; n.contains(a) {
				return true, fmt.Sprintf("%s is in %s", a, n)
			}
			continue
		}
		if s := x.e.sets[key]; s != nil && s.peers.want[a] > 0 {
			return true, fmt.Sprintf("%s is in peer set %s (%d addresses)", a, key[1:], len(s.peers.want))
		}
	}
	return false, fmt.Sprintf("%s is in none of %d peer sets and %d networks", a, len(r.sets)-networks, networks)
}

func (n network) contains(a netip.Addr) bool {
	return n.cidr.Contains(a) && !slices.ContainsFunc(n.excepts, func(x netip.Prefix) bool { return x.Contains(a) })
}

// String is the network for people.
func (n network) String() string {
	if len(n.excepts) == 0 {
		return n.cidr.String()
	}
	return fmt.Sprintf("%s except %v", n.cidr, n.excepts)
}

// port says whether a rule's ports match, and why.
func (x *explainer) port(r *rule) (bool, string) {
	if r.anyPort {
		return true, "any port"
	}
	for _, o := range r.ports {
		if o.has(x.q.Protocol, x.q.Port) {
			return true, o.String()
		}
	}
	for _, name := range r.named {
		for _, o := range x.subject.resolve(name) {
			if o.has(x.q.Protocol, x.q.Port) {
				return true, fmt.Sprintf("%s, the pod's port %q", o, name.name)
			}
		}
	}
	var all []string
	for _, o := range r.ports {
		all = append(all, o.String())
	}
	for _, name := range r.named {
		all = append(all, fmt.Sprintf("the pod's port %q", name.name))
	}
	if len(all) > maxWords {
		all = append(all[:maxWords], fmt.Sprintf("%d more", len(all)-maxWords))
	}
	return false, "only " + strings.Join(all, ", ")
}

// maxWords bounds the ports that are listed of a rule.
const maxWords = 8

func (o ports) has(protocol uint8, port uint16) bool {
	return o.protocol == protocol && port >= o.first && port <= o.last
}

var protocolNames = map[uint8]string{1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}

// String is ports for people.
func (o ports) String() string {
	name := protocolNames[o.protocol]
	if name == "" {
		name = fmt.Sprintf("protocol %d", o.protocol)
	}
	switch {
	case o.first == 0 && o.last == 65535:
		return name
	case o.first == o.last:
		return fmt.Sprintf("%s %d", name, o.first)
	}
	return fmt.Sprintf("%s %d-%d", name, o.first, o.last)
}

// Find returns the attachment of a pod ("namespace/name"); false if it has none here.
func (e *Engine) Find(name string) (Pod, bool) {
	list := e.byName[name]
	if len(list) == 0 {
		return Pod{}, false
	}
	return list[len(list)-1].Pod, true
}

// Pods are the attachments and what is enforced on them, sorted.
func (e *Engine) Pods() []view.Pod {
	out := make([]view.Pod, 0, len(e.pods))
	for _, p := range e.pods {
		one := view.Pod{Pod: p.key(), Ingress: p.rulesets[0] != nil, Egress: p.rulesets[1] != nil}
		for _, a := range p.Addresses {
			one.Addresses = append(one.Addresses, a.String())
		}
		if r := p.rulesets[0]; r != nil && len(r.causes) > 0 {
			why, _ := e.Cause(r.causes[0])
			one.Closed = why.String()
		}
		if s := e.subjects[p.key()]; s != nil {
			for _, name := range s.policies {
				kind, name, _ := strings.Cut(strings.TrimPrefix(name, "policy/"), "/")
				one.Policies = append(one.Policies, kind+" "+name)
			}
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b view.Pod) int { return strings.Compare(a.Pod, b.Pod) })
	return out
}
