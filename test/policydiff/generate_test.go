// SPDX-License-Identifier: Apache-2.0

package policydiff

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"
)

// dice make objects of few names, labels, networks and ports, so that they meet.
type dice struct{ *rand.Rand }

func pick[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

func (d dice) chance(percent int) bool { return d.IntN(100) < percent }

// upTo makes as many as that, or fewer.
func upTo[T any](d dice, most int, make func() T) (out []T) {
	for range d.IntN(most + 1) {
		out = append(out, make())
	}
	return out
}

var (
	namespaceNames = []string{"n1", "n2", "n3", "n4"}
	// usedPorts are those that connections go to; what policies name is around them.
	usedPorts = []uint16{53, 80, 81, 443, 8080, 8081, 9000}
	networks4 = []string{"0.0.0.0/0", "10.0.0.0/8", "10.244.0.0/16", "10.244.1.0/24", "10.244.2.0/24", "10.244.1.0/29", "10.244.1.4/30", "10.244.2.4/31", "10.244.1.5/32", "10.244.3.6/32", "192.168.100.0/24", "192.168.100.2/32", "203.0.113.0/24", "203.0.113.5/32"}
	networks6 = []string{"::/0", "fd00:10:244::/48", "fd00:10:244:1::/64", "fd00:10:244:2::/64", "fd00:10:244:1::/125", "fd00:10:244:1::4/126", "fd00:10:244:3::6/128", "fd64::/64", "fd64::2/128", "2001:db8::/32", "2001:db8::5/128"}
)

func (d dice) labels() map[string]string {
	out := map[string]string{}
	for _, k := range []string{"app", "tier"} {
		if d.chance(70) {
			out[k] = pick(d, "x", "y", "z")
		}
	}
	return out
}

// selector of labels, or, at times, of a namespace's name.
func (d dice) selector() *metav1.LabelSelector {
	s := &metav1.LabelSelector{}
	if d.chance(20) {
		return s
	}
	if d.chance(40) {
		s.MatchLabels = map[string]string{pick(d, "app", "tier"): pick(d, "x", "y", "z")}
	}
	for range d.IntN(3 - len(s.MatchLabels)) {
		op := pick(d, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist)
		e := metav1.LabelSelectorRequirement{Key: pick(d, "app", "tier"), Operator: op}
		if op == metav1.LabelSelectorOpIn || op == metav1.LabelSelectorOpNotIn {
			e.Values = []string{pick(d, "x", "y"), pick(d, "y", "z")}
		}
		s.MatchExpressions = append(s.MatchExpressions, e)
	}
	return s
}

func (d dice) namespaceSelector() *metav1.LabelSelector {
	if d.chance(25) {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
			Key: "kubernetes.io/metadata.name", Operator: pick(d, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn),
			Values: []string{pick(d, namespaceNames...), pick(d, namespaceNames...)},
		}}}
	}
	return d.selector()
}

func (d dice) block() *networkingv1.IPBlock {
	all := pick(d, networks4, networks6)
	b := &networkingv1.IPBlock{CIDR: pick(d, all...)}
	whole := netip.MustParsePrefix(b.CIDR)
	for range d.IntN(3) {
		x := netip.MustParsePrefix(pick(d, all...))
		if x.Bits() > whole.Bits() && whole.Contains(x.Addr()) {
			b.Except = append(b.Except, x.String())
		}
	}
	return b
}

func (d dice) peer() networkingv1.NetworkPolicyPeer {
	switch d.IntN(5) {
	case 0:
		return networkingv1.NetworkPolicyPeer{PodSelector: d.selector()}
	case 1:
		return networkingv1.NetworkPolicyPeer{NamespaceSelector: d.namespaceSelector()}
	case 2, 3:
		return networkingv1.NetworkPolicyPeer{IPBlock: d.block()}
	}
	return networkingv1.NetworkPolicyPeer{PodSelector: d.selector(), NamespaceSelector: d.namespaceSelector()}
}

func (d dice) portName() string { return pick(d, "http", "http", "dns", "metrics") }

func (d dice) port() networkingv1.NetworkPolicyPort {
	p := networkingv1.NetworkPolicyPort{}
	if d.chance(70) {
		p.Protocol = new(pick(d, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolUDP, corev1.ProtocolSCTP))
	}
	switch d.IntN(5) {
	case 0:
	case 1:
		first := int32(pick(d, 1, 53, 54, 79, 80, 81, 1000))
		p.Port, p.EndPort = new(intstr.FromInt32(first)), new(first+int32(pick(d, 0, 1, 28, 8000, 60000)))
	case 2, 3:
		p.Port = new(intstr.FromString(d.portName()))
	default:
		p.Port = new(intstr.FromInt32(int32(pick(d, usedPorts...))))
	}
	return p
}

func (d dice) networkPolicy() *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: pick(d, namespaceNames...), Name: fmt.Sprint("p", d.IntN(4))}}
	p.Spec.PodSelector = *d.selector()
	p.Spec.PolicyTypes = pick(d, nil, []networkingv1.PolicyType{"Egress"}, []networkingv1.PolicyType{"Ingress"}, []networkingv1.PolicyType{"Ingress", "Egress"})
	p.Spec.Ingress = upTo(d, 3, func() networkingv1.NetworkPolicyIngressRule {
		return networkingv1.NetworkPolicyIngressRule{From: upTo(d, 3, d.peer), Ports: upTo(d, 3, d.port)}
	})
	p.Spec.Egress = upTo(d, 3, func() networkingv1.NetworkPolicyEgressRule {
		return networkingv1.NetworkPolicyEgressRule{To: upTo(d, 3, d.peer), Ports: upTo(d, 3, d.port)}
	})
	return p
}

func (d dice) clusterPort() *policyv1.Port {
	if d.chance(50) {
		return &policyv1.Port{Number: int32(pick(d, usedPorts...))}
	}
	first := int32(pick(d, 1, 53, 54, 79, 80, 81, 1000))
	return &policyv1.Port{Range: &policyv1.PortRange{Start: first, End: first + int32(pick(d, 1, 28, 8000, 60000))}}
}

func (d dice) protocol() policyv1.ClusterNetworkPolicyProtocol {
	switch d.IntN(5) {
	case 0, 1:
		return policyv1.ClusterNetworkPolicyProtocol{UDP: &policyv1.ClusterNetworkPolicyProtocolUDP{DestinationPort: d.clusterPort()}}
	case 2, 3:
		return policyv1.ClusterNetworkPolicyProtocol{TCP: &policyv1.ClusterNetworkPolicyProtocolTCP{DestinationPort: d.clusterPort()}}
	}
	return policyv1.ClusterNetworkPolicyProtocol{SCTP: &policyv1.ClusterNetworkPolicyProtocolSCTP{DestinationPort: d.clusterPort()}}
}

func (d dice) namedPort() policyv1.ClusterNetworkPolicyProtocol {
	return policyv1.ClusterNetworkPolicyProtocol{DestinationNamedPort: d.portName()}
}

// protocols of a rule; those with names are for pods alone.
func (d dice) protocols(pods bool) []policyv1.ClusterNetworkPolicyProtocol {
	out := upTo(d, 2, d.protocol)
	if pods && d.chance(30) {
		out = append(out, d.namedPort())
	}
	return out
}

func (d dice) namespacedPod() *policyv1.NamespacedPod {
	return &policyv1.NamespacedPod{NamespaceSelector: *d.namespaceSelector(), PodSelector: *d.selector()}
}

// podsOf are a peer's or a subject's two ways to mean pods.
func (d dice) podsOf() (*metav1.LabelSelector, *policyv1.NamespacedPod) {
	if d.chance(40) {
		return d.namespaceSelector(), nil
	}
	return nil, d.namespacedPod()
}

func (d dice) action() policyv1.ClusterNetworkPolicyRuleAction {
	return pick(d, policyv1.ClusterNetworkPolicyRuleActionAccept, policyv1.ClusterNetworkPolicyRuleActionDeny, policyv1.ClusterNetworkPolicyRuleActionPass)
}

func (d dice) clusterPolicy() *policyv1.ClusterNetworkPolicy {
	p := &policyv1.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", d.IntN(4))}}
	p.Spec.Tier, p.Spec.Priority = pick(d, policyv1.AdminTier, policyv1.BaselineTier), int32(d.IntN(3))
	p.Spec.Subject.Namespaces, p.Spec.Subject.Pods = d.podsOf()
	p.Spec.Ingress = upTo(d, 3, func() policyv1.ClusterNetworkPolicyIngressRule {
		r := policyv1.ClusterNetworkPolicyIngressRule{Name: pick(d, "", "one"), Action: d.action(), Protocols: d.protocols(true)}
		for range 1 + d.IntN(2) {
			var from policyv1.ClusterNetworkPolicyIngressPeer
			from.Namespaces, from.Pods = d.podsOf()
			r.From = append(r.From, from)
		}
		return r
	})
	p.Spec.Egress = upTo(d, 3, func() policyv1.ClusterNetworkPolicyEgressRule {
		pods := d.chance(50)
		r := policyv1.ClusterNetworkPolicyEgressRule{Name: pick(d, "", "two"), Action: d.action(), Protocols: d.protocols(pods)}
		for range 1 + d.IntN(2) {
			r.To = append(r.To, d.egressPeer(pods))
		}
		return r
	})
	return p
}

func (d dice) egressPeer(pods bool) (to policyv1.ClusterNetworkPolicyEgressPeer) {
	switch {
	case pods || d.chance(30):
		to.Namespaces, to.Pods = d.podsOf()
	case d.chance(30):
		to.Nodes = d.selector()
	default:
		for range 1 + d.IntN(2) {
			to.Networks = append(to.Networks, policyv1.CIDR(pick(d, pick(d, networks4, networks6)...)))
		}
	}
	return to
}
