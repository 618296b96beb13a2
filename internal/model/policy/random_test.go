// SPDX-License-Identifier: Apache-2.0

package policy

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

// chance makes objects of a small world, so that they meet.
type chance struct{ *rand.Rand }

func pick[T any](c chance, of ...T) T { return of[c.IntN(len(of))] }

func (c chance) namespace() string { return pick(c, "n1", "n2", "n3") }

func (c chance) labels() map[string]string {
	out := map[string]string{}
	for _, k := range []string{"app", "tier"} {
		if c.IntN(3) > 0 {
			out[k] = pick(c, "x", "y", "z")
		}
	}
	return out
}

func (c chance) selector() *metav1.LabelSelector {
	s := &metav1.LabelSelector{}
	switch c.IntN(6) {
	case 0:
	case 1:
		s.MatchLabels = c.labels()
	default:
		op := pick(c, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist)
		e := metav1.LabelSelectorRequirement{Key: pick(c, "app", "tier", "kubernetes.io/metadata.name"), Operator: op}
		if op == metav1.LabelSelectorOpIn || op == metav1.LabelSelectorOpNotIn {
			e.Values = []string{pick(c, "x", "y", "n1"), pick(c, "x", "z", "n2")}
		}
		s.MatchExpressions = append(s.MatchExpressions, e)
	}
	return s
}

func (c chance) addresses() (out []netip.Addr) {
	for range c.IntN(3) {
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(c.IntN(40))})
		if c.IntN(2) == 0 {
			a = netip.AddrFrom16([16]byte{0xfd, 15: byte(c.IntN(40))})
		}
		out = append(out, a)
	}
	return out
}

func (c chance) pod() Pod {
	p := Pod{
		Namespace: c.namespace(), Name: fmt.Sprint("p", c.IntN(12)), UID: fmt.Sprint("u", c.IntN(2)), Node: fmt.Sprint("node", c.IntN(4)),
		Labels: c.labels(), Addresses: c.addresses(), HostNetwork: c.IntN(12) == 0, Finished: c.IntN(12) == 0,
	}
	if c.IntN(10) == 0 {
		p.Node = ""
	}
	if c.IntN(2) == 0 {
		p.Ports = append(p.Ports, NamedPort{"http", 6, uint16(8080 + c.IntN(2))})
	}
	if c.IntN(3) == 0 {
		p.Ports = append(p.Ports, NamedPort{"http", 17, 80}, NamedPort{"dns", 17, 53})
	}
	return p
}

func (c chance) peer() networkingv1.NetworkPolicyPeer {
	switch c.IntN(5) {
	case 0:
		return networkingv1.NetworkPolicyPeer{PodSelector: c.selector()}
	case 1:
		return networkingv1.NetworkPolicyPeer{NamespaceSelector: c.selector()}
	case 2:
		return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}}}
	}
	return networkingv1.NetworkPolicyPeer{PodSelector: c.selector(), NamespaceSelector: c.selector()}
}

func (c chance) port() networkingv1.NetworkPolicyPort {
	p := networkingv1.NetworkPolicyPort{}
	if c.IntN(2) == 0 {
		p.Protocol = new(pick(c, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP))
	}
	switch c.IntN(4) {
	case 0:
		p.Port = new(intstr.FromInt32(80))
	case 1:
		p.Port, p.EndPort = new(intstr.FromInt32(80)), new(int32(90))
	case 2:
		p.Port = new(intstr.FromString(pick(c, "http", "dns")))
	}
	return p
}

func some[T any](c chance, make func() T) (out []T) {
	for range c.IntN(3) {
		out = append(out, make())
	}
	return out
}

func (c chance) networkPolicy() *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace(), Name: fmt.Sprint("q", c.IntN(5))}}
	p.Spec.PodSelector = *c.selector()
	p.Spec.PolicyTypes = pick(c, nil, nil, []networkingv1.PolicyType{"Egress"}, []networkingv1.PolicyType{"Ingress"}, []networkingv1.PolicyType{"Ingress", "Egress"})
	p.Spec.Ingress = some(c, func() networkingv1.NetworkPolicyIngressRule {
		return networkingv1.NetworkPolicyIngressRule{From: some(c, c.peer), Ports: some(c, c.port)}
	})
	p.Spec.Egress = some(c, func() networkingv1.NetworkPolicyEgressRule {
		return networkingv1.NetworkPolicyEgressRule{To: some(c, c.peer), Ports: some(c, c.port)}
	})
	return p
}

func (c chance) namespacedPod() *policyv1.NamespacedPod {
	return &policyv1.NamespacedPod{NamespaceSelector: *c.selector(), PodSelector: *c.selector()}
}

func (c chance) protocol(named bool) policyv1.ClusterNetworkPolicyProtocol {
	switch c.IntN(3) {
	case 0:
		return policyv1.ClusterNetworkPolicyProtocol{TCP: &policyv1.ClusterNetworkPolicyProtocolTCP{DestinationPort: &policyv1.Port{Number: 80}}}
	case 1:
		if named {
			return policyv1.ClusterNetworkPolicyProtocol{DestinationNamedPort: "http"}
		}
	}
	return policyv1.ClusterNetworkPolicyProtocol{UDP: &policyv1.ClusterNetworkPolicyProtocolUDP{DestinationPort: &policyv1.Port{Range: &policyv1.PortRange{Start: 5, End: 9}}}}
}

func (c chance) clusterPolicy() *policyv1.ClusterNetworkPolicy {
	p := &policyv1.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", c.IntN(3))}}
	p.Spec.Tier, p.Spec.Priority = pick(c, policyv1.AdminTier, policyv1.BaselineTier), int32(c.IntN(3))
	if c.IntN(2) == 0 {
		p.Spec.Subject.Namespaces = c.selector()
	} else {
		p.Spec.Subject.Pods = c.namespacedPod()
	}
	action := func() policyv1.ClusterNetworkPolicyRuleAction {
		return pick(c, policyv1.ClusterNetworkPolicyRuleActionAccept, policyv1.ClusterNetworkPolicyRuleActionDeny, policyv1.ClusterNetworkPolicyRuleActionPass)
	}
	p.Spec.Ingress = some(c, func() policyv1.ClusterNetworkPolicyIngressRule {
		peer := policyv1.ClusterNetworkPolicyIngressPeer{Namespaces: c.selector()}
		if c.IntN(2) == 0 {
			peer = policyv1.ClusterNetworkPolicyIngressPeer{Pods: c.namespacedPod()}
		}
		return policyv1.ClusterNetworkPolicyIngressRule{Action: action(), From: []policyv1.ClusterNetworkPolicyIngressPeer{peer},
			Protocols: some(c, func() policyv1.ClusterNetworkPolicyProtocol { return c.protocol(true) })}
	})
	p.Spec.Egress = some(c, func() policyv1.ClusterNetworkPolicyEgressRule {
		to := []policyv1.ClusterNetworkPolicyEgressPeer{{Namespaces: c.selector()}}
		pods := c.IntN(2) == 0
		switch {
		case pods:
			to = append(to, policyv1.ClusterNetworkPolicyEgressPeer{Pods: c.namespacedPod()})
		case c.IntN(2) == 0:
			to = append(to, policyv1.ClusterNetworkPolicyEgressPeer{Nodes: c.selector()})
		default:
			to = append(to, policyv1.ClusterNetworkPolicyEgressPeer{Networks: []policyv1.CIDR{"10.2.0.0/16", "fd00:7::/32"}})
		}
		return policyv1.ClusterNetworkPolicyEgressRule{Action: action(), To: to,
			Protocols: some(c, func() policyv1.ClusterNetworkPolicyProtocol { return c.protocol(pods) })}
	})
	return p
}
