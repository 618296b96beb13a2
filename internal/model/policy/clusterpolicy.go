// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/state"
)

// ClusterNetworkPolicyName is the resource name of a ClusterNetworkPolicy.
func ClusterNetworkPolicyName(name string) string { return "policy/ClusterNetworkPolicy/" + name }

// SetClusterNetworkPolicy takes over a ClusterNetworkPolicy and returns what cannot be used of it.
func (x *Index) SetClusterNetworkPolicy(p *policyv1.ClusterNetworkPolicy) []model.Finding {
	return x.set(compileClusterPolicy(p))
}

// RemoveClusterNetworkPolicy takes over that it is gone.
func (x *Index) RemoveClusterNetworkPolicy(name string) {
	x.removePolicy(ClusterNetworkPolicyName(name))
}

func compileClusterPolicy(p *policyv1.ClusterNetworkPolicy) compiled {
	f := &faults{object: "ClusterNetworkPolicy " + p.Name}
	c := compiled{resource: ClusterNetworkPolicyName(p.Name), name: p.Name, priority: p.Spec.Priority}
	usable := true
	switch p.Spec.Tier {
	case policyv1.AdminTier:
		c.tier = state.PolicyTier_TIER_ADMIN
	case policyv1.BaselineTier:
		c.tier = state.PolicyTier_TIER_BASELINE
	default:
		f.add("spec.tier", fmt.Sprintf("%q is not a tier that is known here", p.Spec.Tier), "name Admin or Baseline; until then the policy selects no pod")
		usable = false
	}
	subject := f.clusterPeer("spec.subject", p.Spec.Subject.Namespaces, p.Spec.Subject.Pods)
	if usable {
		c.subject = subject
	}
	for i := range p.Spec.Ingress {
		r := &p.Spec.Ingress[i]
		if c.ingress == nil {
			c.ingress = &direction{}
		}
		reader := &clusterRule{f, fmt.Sprintf("spec.ingress[%d]", i), rule{place: uint32(i), name: r.Name}, true, false}
		for j := range r.From {
			reader.pods(fmt.Sprintf("from[%d]", j), r.From[j].Namespaces, r.From[j].Pods)
		}
		c.ingress.rules = append(c.ingress.rules, reader.finish("from", len(r.From), r.Action, r.Protocols)...)
	}
	for i := range p.Spec.Egress {
		r := &p.Spec.Egress[i]
		if c.egress == nil {
			c.egress = &direction{}
		}
		reader := &clusterRule{f, fmt.Sprintf("spec.egress[%d]", i), rule{place: uint32(i), name: r.Name}, true, true}
		for j := range r.To {
			reader.to(fmt.Sprintf("to[%d]", j), &r.To[j])
		}
		c.egress.rules = append(c.egress.rules, reader.finish("to", len(r.To), r.Action, r.Protocols)...)
	}
	c.findings = f.found
	return c
}

// clusterPeer reads who is meant by namespaces, or by namespaces and pods; nil, with a fault
// noted, when that cannot be used.
func (f *faults) clusterPeer(field string, namespaces *metav1.LabelSelector, pods *policyv1.NamespacedPod) *who {
	switch {
	case namespaces != nil && pods != nil:
		f.add(field, "it has both namespaces and pods", "set one of them")
	case namespaces != nil:
		if rs, ok := f.selector(field+".namespaces", namespaces); ok {
			return &who{namespaces: rs}
		}
	case pods != nil:
		in, ok := f.selector(field+".pods.namespaceSelector", &pods.NamespaceSelector)
		of, good := f.selector(field+".pods.podSelector", &pods.PodSelector)
		if ok && good {
			return &who{namespaces: in, pods: of}
		}
	default:
		f.add(field, "it says nothing that is known here", "set namespaces or pods")
	}
	return nil
}

// clusterRule reads one rule of a ClusterNetworkPolicy.
type clusterRule struct {
	*faults
	field  string
	rule   rule
	ok     bool // all of it can be used
	egress bool
}

func (r *clusterRule) bad(field, message, fix string) {
	r.add(r.field+"."+field, message, fix)
	r.ok = false
}

func (r *clusterRule) pods(field string, namespaces *metav1.LabelSelector, pods *policyv1.NamespacedPod) {
	w := r.clusterPeer(r.field+"."+field, namespaces, pods)
	if w == nil {
		r.ok = false
		return
	}
	r.rule.peers = append(r.rule.peers, w)
}

// to reads a peer that pods send to.
func (r *clusterRule) to(field string, p *policyv1.ClusterNetworkPolicyEgressPeer) {
	set := 0
	for _, is := range []bool{p.Namespaces != nil, p.Pods != nil, p.Nodes != nil, len(p.Networks) > 0, len(p.DomainNames) > 0} {
		if is {
			set++
		}
	}
	switch {
	case set > 1:
		r.bad(field, "it has more than one kind of peer", "make a peer of each")
	case len(p.DomainNames) > 0:
		r.bad(field+".domainNames", "domain names are not supported yet", "name networks instead")
	case len(p.Networks) > 0:
		for i, text := range p.Networks {
			n := r.network(fmt.Sprintf("%s.%s.networks[%d]", r.field, field, i), string(text))
			if n == nil {
				r.ok = false
				continue
			}
			r.rule.networks = append(r.rule.networks, n)
		}
	case p.Nodes != nil:
		rs, ok := r.selector(r.field+"."+field+".nodes", p.Nodes)
		r.ok = r.ok && ok
		r.rule.peers = append(r.rule.peers, &who{namespace: nodesNamespace, pods: rs})
	default:
		r.pods(field, p.Namespaces, p.Pods)
	}
}

// finish reads what remains and gives the rules that this one stands for. One that cannot be
// used fails closed, as the API has it.
func (r *clusterRule) finish(side string, peers int, action policyv1.ClusterNetworkPolicyRuleAction, ps []policyv1.ClusterNetworkPolicyProtocol) []rule {
	if peers == 0 {
		r.bad(side, "it names nobody", "name a peer")
	}
	switch action {
	case policyv1.ClusterNetworkPolicyRuleActionAccept:
		r.rule.action = state.PolicyAction_ACTION_ACCEPT
	case policyv1.ClusterNetworkPolicyRuleActionDeny:
		r.rule.action = state.PolicyAction_ACTION_DENY
	case policyv1.ClusterNetworkPolicyRuleActionPass:
		r.rule.action = state.PolicyAction_ACTION_PASS
	default:
		r.rule.action = state.PolicyAction_ACTION_DENY
		r.bad("action", fmt.Sprintf("%q is not an action that is known here", action), "name Accept, Deny or Pass")
	}
	r.rule.anyPort = len(ps) == 0
	var names []*state.PolicyPort
	for i := range ps {
		p := r.protocol(fmt.Sprintf("protocols[%d]", i), &ps[i])
		switch {
		case p == nil:
		case p.GetName() != "" && r.egress:
			names = append(names, p)
		default:
			r.rule.ports = append(r.rule.ports, p)
		}
	}
	fixed := func(w *who) bool { return w.namespace == nodesNamespace }
	if len(names) > 0 && (len(r.rule.networks) > 0 || slices.ContainsFunc(r.rule.peers, fixed)) {
		r.bad("protocols", "networks and nodes have no named ports", "name the port's number")
	}
	if r.ok {
		return withNames(r.rule, names)
	}
	if r.rule.action == state.PolicyAction_ACTION_ACCEPT {
		return nil
	}
	return []rule{{place: r.rule.place, name: r.rule.name, action: state.PolicyAction_ACTION_DENY, anyPeer: true, anyPort: true}}
}

// protocol reads a protocol and its ports; nil, with a fault noted, when they cannot be used.
func (r *clusterRule) protocol(field string, p *policyv1.ClusterNetworkPolicyProtocol) *state.PolicyPort {
	set := 0
	var out *state.PolicyPort
	number := func(name string, port *policyv1.Port) {
		set++
		out = r.portOf(field+"."+name, protocols[map[string]string{"tcp": "TCP", "udp": "UDP", "sctp": "SCTP"}[name]], port)
	}
	if p.TCP != nil {
		number("tcp", p.TCP.DestinationPort)
	}
	if p.UDP != nil {
		number("udp", p.UDP.DestinationPort)
	}
	if p.SCTP != nil {
		number("sctp", p.SCTP.DestinationPort)
	}
	if p.DestinationNamedPort != "" {
		set++
		out = &state.PolicyPort{Name: p.DestinationNamedPort}
	}
	if set != 1 {
		r.bad(field, fmt.Sprintf("it says %d things that are known here instead of one", set), "set one of tcp, udp, sctp and destinationNamedPort")
		return nil
	}
	return out
}

func (r *clusterRule) portOf(field string, protocol uint32, p *policyv1.Port) *state.PolicyPort {
	var out *state.PolicyPort
	switch {
	case p == nil || p.Number == 0 && p.Range == nil:
		r.bad(field, "it says nothing that is known here", "set destinationPort with a number or a range")
		return nil
	case p.Number != 0 && p.Range != nil:
		r.bad(field, "it has both a number and a range", "set one of them")
		return nil
	case p.Range != nil:
		out = r.numbers(r.field+"."+field+".destinationPort.range", protocol, p.Range.Start, p.Range.End)
	default:
		out = r.numbers(r.field+"."+field+".destinationPort.number", protocol, p.Number, p.Number)
	}
	r.ok = r.ok && out != nil
	return out
}
