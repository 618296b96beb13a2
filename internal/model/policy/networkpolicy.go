// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/state"
)

// NetworkPolicyName is the resource name of a NetworkPolicy.
func NetworkPolicyName(namespace, name string) string {
	return "policy/NetworkPolicy/" + namespace + "/" + name
}

// SetNetworkPolicy takes over a NetworkPolicy and returns what cannot be used of it.
func (x *Index) SetNetworkPolicy(p *networkingv1.NetworkPolicy) []model.Finding {
	return x.set(compileNetworkPolicy(p))
}

// RemoveNetworkPolicy takes over that it is gone.
func (x *Index) RemoveNetworkPolicy(namespace, name string) {
	x.removePolicy(NetworkPolicyName(namespace, name))
}

// policyReader reads one NetworkPolicy.
type policyReader struct {
	faults
	namespace string
}

func compileNetworkPolicy(p *networkingv1.NetworkPolicy) compiled {
	f := &policyReader{faults{object: "NetworkPolicy " + p.Namespace + "/" + p.Name}, p.Namespace}
	c := compiled{resource: NetworkPolicyName(p.Namespace, p.Name), namespace: p.Namespace, name: p.Name, tier: state.PolicyTier_TIER_NAMESPACE}
	pods, ok := f.selector("spec.podSelector", &p.Spec.PodSelector)
	if ok {
		c.subject = &who{namespace: p.Namespace, pods: pods}
	}
	in, out := f.directions(&p.Spec)
	if in {
		c.ingress = &direction{}
		for i := range p.Spec.Ingress {
			r := &p.Spec.Ingress[i]
			c.ingress.rules = append(c.ingress.rules, f.rules(fmt.Sprintf("spec.ingress[%d]", i), i, "from", r.From, r.Ports)...)
		}
	}
	if out {
		c.egress = &direction{}
		for i := range p.Spec.Egress {
			r := &p.Spec.Egress[i]
			c.egress.rules = append(c.egress.rules, f.rules(fmt.Sprintf("spec.egress[%d]", i), i, "to", r.To, r.Ports)...)
		}
	}
	c.findings = f.found
	return c
}

// directions says which a policy is about: those that it names, else ingress, and egress
// where it has rules for it.
func (f *policyReader) directions(s *networkingv1.NetworkPolicySpec) (ingress, egress bool) {
	if len(s.PolicyTypes) == 0 {
		return true, len(s.Egress) > 0
	}
	for i, t := range s.PolicyTypes {
		switch t {
		case networkingv1.PolicyTypeIngress:
			ingress = true
		case networkingv1.PolicyTypeEgress:
			egress = true
		default:
			f.add(fmt.Sprintf("spec.policyTypes[%d]", i), fmt.Sprintf("%q is not a direction", t), "name Ingress or Egress")
		}
	}
	return ingress, egress
}

// selector reads a label selector; false, with a fault noted, when it cannot be used.
func (f *faults) selector(field string, s *metav1.LabelSelector) (requirements, bool) {
	rs, err := parseSelector(s)
	if err != nil {
		f.add(field, err.Error(), "correct the selector")
		return nil, false
	}
	return rs, true
}

// rules are those that one of the object stands for: none when it cannot be used.
func (f *policyReader) rules(field string, place int, side string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) []rule {
	base := rule{place: uint32(place), anyPeer: len(peers) == 0}
	ok := true
	for i := range peers {
		ok = f.peer(fmt.Sprintf("%s.%s[%d]", field, side, i), &peers[i], &base) && ok
	}
	var numbers, names []*state.PolicyPort
	for i := range ports {
		p := f.port(fmt.Sprintf("%s.ports[%d]", field, i), &ports[i])
		switch {
		case p == nil:
			ok = false
		case p.GetName() != "":
			names = append(names, p)
		default:
			numbers = append(numbers, p)
		}
	}
	if !ok {
		return nil
	}
	base.anyPort = len(ports) == 0
	if side == "from" { // the agent knows what its own pods call their ports
		base.ports = slices.Concat(numbers, names)
		return []rule{base}
	}
	if len(names) > 0 && len(base.networks) > 0 {
		f.add(field+".ports", "ranges of addresses have no named ports: the named ones apply to the pods of this rule alone",
			"name the port's number for the ipBlocks")
	}
	base.ports = numbers
	return withNames(base, names)
}

// withNames are a rule's parts: for its numbers, and for each named port of its peers.
func withNames(base rule, names []*state.PolicyPort) (out []rule) {
	if base.anyPort || len(base.ports) > 0 {
		out = append(out, base)
	}
	for _, p := range names {
		peers := base.peers
		if base.anyPeer {
			peers = []*who{{}} // whoever has such a port
		}
		named := rule{place: base.place, name: base.name, action: base.action, named: true}
		for _, w := range peers {
			with := *w
			with.port = portFilter{p.GetName(), uint8(p.GetProtocol())}
			named.peers = append(named.peers, &with)
		}
		if len(named.peers) > 0 {
			out = append(out, named)
		}
	}
	return out
}

const fixPeer = "set podSelector, namespaceSelector, both of them, or ipBlock alone"

// peer adds a peer to a rule; false, with a fault noted, when it cannot be used.
func (f *policyReader) peer(field string, p *networkingv1.NetworkPolicyPeer, to *rule) bool {
	if p.IPBlock != nil {
		if p.PodSelector != nil || p.NamespaceSelector != nil {
			f.add(field, "it has an ipBlock and a selector", fixPeer)
			return false
		}
		n := f.block(field+".ipBlock", p.IPBlock.CIDR, p.IPBlock.Except)
		if n != nil {
			to.networks = append(to.networks, n)
		}
		return n != nil
	}
	if p.PodSelector == nil && p.NamespaceSelector == nil {
		f.add(field, "it says nothing that is known here", fixPeer)
		return false
	}
	w, ok := &who{}, true
	if p.PodSelector != nil {
		w.pods, ok = f.selector(field+".podSelector", p.PodSelector)
	}
	if p.NamespaceSelector == nil {
		w.namespace = f.namespace
	} else {
		var good bool
		w.namespaces, good = f.selector(field+".namespaceSelector", p.NamespaceSelector)
		ok = ok && good
	}
	if ok {
		to.peers = append(to.peers, w)
	}
	return ok
}

// port reads a port; nil, with a fault noted, when it cannot be used.
func (f *policyReader) port(field string, p *networkingv1.NetworkPolicyPort) *state.PolicyPort {
	name := "TCP"
	if p.Protocol != nil {
		name = string(*p.Protocol)
	}
	protocol, ok := protocols[name]
	if !ok {
		f.add(field+".protocol", fmt.Sprintf("%q is not a protocol", name), "name TCP, UDP or SCTP")
		return nil
	}
	if p.Port == nil {
		if p.EndPort != nil {
			f.add(field+".endPort", "there is no port that it would be the end of", "set port, or remove endPort")
			return nil
		}
		return &state.PolicyPort{Protocol: protocol}
	}
	if p.Port.Type == intstr.String {
		if p.EndPort != nil {
			f.add(field+".endPort", "a named port has no end", "name the first port by its number")
			return nil
		}
		if p.Port.StrVal == "" {
			f.add(field+".port", "the name is empty", "name a port")
			return nil
		}
		return &state.PolicyPort{Protocol: protocol, Name: p.Port.StrVal}
	}
	last := p.Port.IntVal
	if p.EndPort != nil {
		last = *p.EndPort
	}
	return f.numbers(field+".port", protocol, p.Port.IntVal, last)
}
