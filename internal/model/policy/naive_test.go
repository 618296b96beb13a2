// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"
)

// naive is the model that the index is compared with: it holds the objects and answers from
// scratch, in the words of the API's documentation. Everything in it can be used.
type naive struct {
	pods       map[string]Pod
	registered map[string][]netip.Addr
	namespaces map[string]map[string]string
	nodes      map[string]naiveNode
	policies   map[string]*networkingv1.NetworkPolicy
	cluster    map[string]*policyv1.ClusterNetworkPolicy
}

type naiveNode struct {
	labels    map[string]string
	addresses []netip.Addr
}

func newNaive() *naive {
	return &naive{
		pods: map[string]Pod{}, registered: map[string][]netip.Addr{}, namespaces: map[string]map[string]string{}, nodes: map[string]naiveNode{},
		policies: map[string]*networkingv1.NetworkPolicy{}, cluster: map[string]*policyv1.ClusterNetworkPolicy{},
	}
}

func (w *naive) is(s *metav1.LabelSelector, l map[string]string) bool {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		panic(err)
	}
	return sel.Matches(labels.Set(l))
}

func (w *naive) labelsOf(namespace string) map[string]string {
	if l, ok := w.namespaces[namespace]; ok {
		return l
	}
	return map[string]string{"kubernetes.io/metadata.name": namespace}
}

// network are the pods that policies can see.
func (w *naive) network() (out []Pod) {
	for _, p := range w.pods {
		if p.Node != "" && !p.HostNetwork && !p.Finished {
			out = append(out, p)
		}
	}
	return out
}

func (w *naive) addressesOf(p Pod) []netip.Addr {
	if r := w.registered[p.Namespace+"/"+p.Name]; len(r) > 0 {
		return r
	}
	return p.Addresses
}

type naivePeer func(Pod) bool

func (w *naive) peer(own string, p networkingv1.NetworkPolicyPeer) naivePeer {
	return func(pod Pod) bool {
		if p.IPBlock != nil {
			return false
		}
		if p.NamespaceSelector == nil && pod.Namespace != own || p.NamespaceSelector != nil && !w.is(p.NamespaceSelector, w.labelsOf(pod.Namespace)) {
			return false
		}
		return p.PodSelector == nil || w.is(p.PodSelector, pod.Labels)
	}
}

func (w *naive) clusterPeer(namespaces *metav1.LabelSelector, pods *policyv1.NamespacedPod) naivePeer {
	return func(p Pod) bool {
		if namespaces != nil {
			return w.is(namespaces, w.labelsOf(p.Namespace))
		}
		return pods != nil && w.is(&pods.NamespaceSelector, w.labelsOf(p.Namespace)) && w.is(&pods.PodSelector, p.Labels)
	}
}

// selected says whether a policy selects a pod.
func (w *naive) selected(p *networkingv1.NetworkPolicy, pod Pod) bool {
	return p.Namespace == pod.Namespace && w.is(&p.Spec.PodSelector, pod.Labels)
}

func (w *naive) addresses(is naivePeer) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for _, p := range w.network() {
		if is(p) {
			for _, a := range w.addressesOf(p) {
				out[a] = true
			}
		}
	}
	return out
}

// naiveRule is a rule as text that does not depend on how sets are named and cut.
func naiveRule(place int, action string, anyPeer bool, addresses map[netip.Addr]bool, networks []string, anyPort bool, ports []string) string {
	var as []netip.Addr
	for a := range addresses {
		as = append(as, a)
	}
	slices.SortFunc(as, netip.Addr.Compare)
	return fmt.Sprintln(place, action, anyPeer, as, networks, anyPort, ports)
}

// about says whether a policy is about a direction: those that it names, else ingress, and
// egress where it has rules for it.
func about(p *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	if len(p.Spec.PolicyTypes) > 0 {
		return slices.Contains(p.Spec.PolicyTypes, direction)
	}
	return direction == networkingv1.PolicyTypeIngress || len(p.Spec.Egress) > 0
}

func (w *naive) policy(p *networkingv1.NetworkPolicy) string {
	var b strings.Builder
	fmt.Fprintln(&b, p.Namespace, p.Name, "TIER_NAMESPACE", 0)
	if about(p, networkingv1.PolicyTypeIngress) {
		fmt.Fprintln(&b, "ingress")
		for i, r := range p.Spec.Ingress {
			b.WriteString(w.rules(p.Namespace, i, r.From, r.Ports, false))
		}
	}
	if about(p, networkingv1.PolicyTypeEgress) {
		fmt.Fprintln(&b, "egress")
		for i, r := range p.Spec.Egress {
			b.WriteString(w.rules(p.Namespace, i, r.To, r.Ports, true))
		}
	}
	return b.String()
}

func (w *naive) rules(own string, place int, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, egress bool) string {
	is := func(p Pod) bool {
		return slices.ContainsFunc(peers, func(peer networkingv1.NetworkPolicyPeer) bool { return w.peer(own, peer)(p) })
	}
	var networks []string
	for _, p := range peers {
		if p.IPBlock != nil {
			networks = append(networks, p.IPBlock.CIDR+fmt.Sprint(p.IPBlock.Except))
		}
	}
	var numbers, named []string
	var out strings.Builder
	for _, p := range ports {
		protocol := 6
		if p.Protocol != nil {
			protocol = map[string]int{"TCP": 6, "UDP": 17, "SCTP": 132}[string(*p.Protocol)]
		}
		switch {
		case p.Port == nil:
			numbers = append(numbers, fmt.Sprintf("%d:0-0", protocol))
		case p.Port.Type == intstr.String && egress:
			named = append(named, fmt.Sprintf("%d:%s", protocol, p.Port.StrVal))
		case p.Port.Type == intstr.String:
			numbers = append(numbers, fmt.Sprintf("%d:%s", protocol, p.Port.StrVal))
		default:
			last := p.Port.IntVal
			if p.EndPort != nil {
				last = *p.EndPort
			}
			numbers = append(numbers, fmt.Sprintf("%d:%d-%d", protocol, p.Port.IntVal, last))
		}
	}
	slices.SortStableFunc(numbers, func(a, b string) int { return naiveNamed(a) - naiveNamed(b) })
	if len(ports) == 0 || len(numbers) > 0 {
		out.WriteString(naiveRule(place, "ACTION_ACCEPT", len(peers) == 0, w.addresses(is), networks, len(ports) == 0, numbers))
	}
	if len(peers) == 0 {
		is = func(Pod) bool { return true }
	}
	for _, n := range named {
		out.WriteString(w.named(place, "ACTION_ACCEPT", is, n))
	}
	return out.String()
}

// naiveNamed puts named ports behind numbers.
func naiveNamed(port string) int {
	if strings.Contains(port, "-") {
		return 0
	}
	return 1
}

// named are the rules of a named port of the peers: one for each number that they have.
func (w *naive) named(place int, action string, is naivePeer, port string) string {
	at := map[number]map[netip.Addr]bool{}
	for _, p := range w.network() {
		if !is(p) {
			continue
		}
		for _, o := range p.Ports {
			if port != fmt.Sprintf("%d:%s", o.Protocol, o.Name) && port != "0:"+o.Name {
				continue
			}
			n := number{o.Protocol, o.Port}
			if at[n] == nil {
				at[n] = map[netip.Addr]bool{}
			}
			for _, a := range w.addressesOf(p) {
				at[n][a] = true
			}
		}
	}
	var numbers []number
	for n := range at {
		numbers = append(numbers, n)
	}
	slices.SortFunc(numbers, number.compare)
	var b strings.Builder
	for _, n := range numbers {
		b.WriteString(naiveRule(place, action, false, at[n], nil, false, []string{fmt.Sprintf("%d:%d-%d", n.protocol, n.port, n.port)}))
	}
	return b.String()
}

func (w *naive) clusterPolicy(p *policyv1.ClusterNetworkPolicy) string {
	var b strings.Builder
	fmt.Fprintln(&b, "", p.Name, "TIER_"+strings.ToUpper(string(p.Spec.Tier)), p.Spec.Priority)
	ports := func(ps []policyv1.ClusterNetworkPolicyProtocol) (out []string) {
		for _, p := range ps {
			switch {
			case p.TCP != nil:
				out = append(out, fmt.Sprintf("6:%d-%d", p.TCP.DestinationPort.Number, p.TCP.DestinationPort.Number))
			case p.UDP != nil:
				out = append(out, fmt.Sprintf("17:%d-%d", p.UDP.DestinationPort.Range.Start, p.UDP.DestinationPort.Range.End))
			default:
				out = append(out, "0:"+p.DestinationNamedPort)
			}
		}
		return out
	}
	if len(p.Spec.Ingress) > 0 {
		fmt.Fprintln(&b, "ingress")
	}
	for i, r := range p.Spec.Ingress {
		is := func(pod Pod) bool {
			return slices.ContainsFunc(r.From, func(f policyv1.ClusterNetworkPolicyIngressPeer) bool { return w.clusterPeer(f.Namespaces, f.Pods)(pod) })
		}
		b.WriteString(naiveRule(i, "ACTION_"+strings.ToUpper(string(r.Action)), false, w.addresses(is), nil, len(r.Protocols) == 0, ports(r.Protocols)))
	}
	if len(p.Spec.Egress) > 0 {
		fmt.Fprintln(&b, "egress")
	}
	for i, r := range p.Spec.Egress {
		is := func(pod Pod) bool {
			return slices.ContainsFunc(r.To, func(f policyv1.ClusterNetworkPolicyEgressPeer) bool { return w.clusterPeer(f.Namespaces, f.Pods)(pod) })
		}
		addresses := w.addresses(is)
		var networks []string
		for _, to := range r.To {
			for _, n := range to.Networks {
				networks = append(networks, string(n)+"[]")
			}
			if to.Nodes != nil {
				for _, n := range w.nodes {
					if w.is(to.Nodes, n.labels) {
						for _, a := range n.addresses {
							addresses[a] = true
						}
					}
				}
			}
		}
		var numbers, named []string
		for _, port := range ports(r.Protocols) {
			if naiveNamed(port) == 1 {
				named = append(named, port)
			} else {
				numbers = append(numbers, port)
			}
		}
		action := "ACTION_" + strings.ToUpper(string(r.Action))
		if len(r.Protocols) == 0 || len(numbers) > 0 {
			b.WriteString(naiveRule(i, action, false, addresses, networks, len(r.Protocols) == 0, numbers))
		}
		for _, n := range named {
			b.WriteString(w.named(i, action, is, n))
		}
	}
	return b.String()
}

// holds is what every node should hold, and the scope, in texts by name.
func (w *naive) holds() map[string]map[string]string {
	out, texts := map[string]map[string]string{}, map[string]string{}
	for key, p := range w.policies {
		texts[key] = w.policy(p)
	}
	for key, p := range w.cluster {
		texts[key] = w.clusterPolicy(p)
	}
	for _, p := range w.network() {
		name := "subject/" + p.Namespace + "/" + p.Name
		var policies []string
		for _, q := range w.policies {
			if w.selected(q, p) {
				policies = append(policies, "policy/NetworkPolicy/"+q.Namespace+"/"+q.Name)
				w.put(out, p.Node, policies[len(policies)-1], texts[q.Namespace+"/"+q.Name])
			}
		}
		for _, q := range w.cluster {
			if w.clusterPeer(q.Spec.Subject.Namespaces, q.Spec.Subject.Pods)(p) {
				policies = append(policies, "policy/ClusterNetworkPolicy/"+q.Name)
				w.put(out, p.Node, policies[len(policies)-1], texts[q.Name])
			}
		}
		slices.Sort(policies)
		if w.inScope(p.Namespace) {
			w.put(out, p.Node, name, fmt.Sprintln(p.UID, policies, p.Ports, w.isPeer(p)))
		}
	}
	var scope []string
	for _, n := range w.allNamespaces() {
		if w.inScope(n) {
			scope = append(scope, n)
		}
	}
	w.put(out, Shared, "cluster", fmt.Sprintln(scope))
	return out
}

func (w *naive) put(out map[string]map[string]string, node, name, text string) {
	if out[node] == nil {
		out[node] = map[string]string{}
	}
	out[node][name] = text
}

// peersOf are the peers of the directions that a policy is about.
func (w *naive) peersOf(p *networkingv1.NetworkPolicy) (out []networkingv1.NetworkPolicyPeer) {
	if about(p, networkingv1.PolicyTypeIngress) {
		for _, r := range p.Spec.Ingress {
			out = append(out, r.From...)
		}
	}
	if about(p, networkingv1.PolicyTypeEgress) {
		for _, r := range p.Spec.Egress {
			if len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port == nil || p.Port.Type == intstr.Int }) {
				out = append(out, r.To...)
			}
		}
	}
	return out
}

// namedRules are the egress rules with named ports.
func (w *naive) namedRules(p *networkingv1.NetworkPolicy) (out []networkingv1.NetworkPolicyEgressRule) {
	if !about(p, networkingv1.PolicyTypeEgress) {
		return nil
	}
	for _, r := range p.Spec.Egress {
		if slices.ContainsFunc(r.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port != nil && p.Port.Type == intstr.String }) {
			out = append(out, r)
		}
	}
	return out
}

// isPeer says whether some policy names a pod as a peer.
func (w *naive) isPeer(pod Pod) bool {
	for _, p := range w.policies {
		for _, peer := range w.peersOf(p) {
			if w.peer(p.Namespace, peer)(pod) {
				return true
			}
		}
		for _, r := range w.namedRules(p) {
			means := len(r.To) == 0
			for _, peer := range r.To {
				means = means || w.peer(p.Namespace, peer)(pod)
			}
			for _, port := range r.Ports {
				if means && port.Port != nil && port.Port.Type == intstr.String && w.has(pod, port) {
					return true
				}
			}
		}
	}
	for _, p := range w.cluster {
		for _, r := range p.Spec.Ingress {
			for _, f := range r.From {
				if w.clusterPeer(f.Namespaces, f.Pods)(pod) {
					return true
				}
			}
		}
		for _, r := range p.Spec.Egress {
			for _, to := range r.To {
				if !w.clusterPeer(to.Namespaces, to.Pods)(pod) {
					continue
				}
				if len(r.Protocols) == 0 {
					return true
				}
				for _, port := range r.Protocols {
					if port.DestinationNamedPort == "" || slices.ContainsFunc(pod.Ports, func(o NamedPort) bool { return o.Name == port.DestinationNamedPort }) {
						return true
					}
				}
			}
		}
	}
	return false
}

func (w *naive) has(pod Pod, port networkingv1.NetworkPolicyPort) bool {
	protocol := uint8(6)
	if port.Protocol != nil {
		protocol = map[string]uint8{"TCP": 6, "UDP": 17, "SCTP": 132}[string(*port.Protocol)]
	}
	return slices.ContainsFunc(pod.Ports, func(o NamedPort) bool { return o.Name == port.Port.StrVal && o.Protocol == protocol })
}

// allNamespaces are those that somebody speaks of.
func (w *naive) allNamespaces() []string {
	all := map[string]bool{}
	for n := range w.namespaces {
		all[n] = true
	}
	for _, p := range w.network() {
		all[p.Namespace] = true
	}
	for _, p := range w.policies {
		all[p.Namespace] = true
	}
	var out []string
	for n := range all {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// inScope says whether a policy may select or name pods of a namespace.
func (w *naive) inScope(n string) bool {
	is := func(s *metav1.LabelSelector) bool { return s != nil && w.is(s, w.labelsOf(n)) }
	of := func(namespaces *metav1.LabelSelector, pods *policyv1.NamespacedPod) bool {
		return is(namespaces) || pods != nil && is(&pods.NamespaceSelector)
	}
	for _, p := range w.policies {
		if p.Namespace == n {
			return true
		}
		peers := w.peersOf(p)
		for _, r := range w.namedRules(p) {
			if len(r.To) == 0 {
				return true
			}
			peers = append(peers, r.To...)
		}
		for _, peer := range peers {
			if is(peer.NamespaceSelector) {
				return true
			}
		}
	}
	for _, p := range w.cluster {
		if of(p.Spec.Subject.Namespaces, p.Spec.Subject.Pods) {
			return true
		}
		for _, r := range p.Spec.Ingress {
			for _, f := range r.From {
				if of(f.Namespaces, f.Pods) {
					return true
				}
			}
		}
		for _, r := range p.Spec.Egress {
			for _, to := range r.To {
				if of(to.Namespaces, to.Pods) {
					return true
				}
			}
		}
	}
	return false
}
