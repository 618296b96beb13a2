// SPDX-License-Identifier: Apache-2.0

package policydiff

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"
)

// matches says whether a selector means who has these labels.
func matches(s *metav1.LabelSelector, labels map[string]string) bool {
	for key, value := range s.MatchLabels {
		if have, ok := labels[key]; !ok || have != value {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		have, ok := labels[e.Key]
		listed := ok && slices.Contains(e.Values, have)
		switch {
		case e.Operator == metav1.LabelSelectorOpIn && !listed,
			e.Operator == metav1.LabelSelectorOpNotIn && listed,
			e.Operator == metav1.LabelSelectorOpExists && !ok,
			e.Operator == metav1.LabelSelectorOpDoesNotExist && ok:
			return false
		}
	}
	return true
}

// means says whether a ClusterNetworkPolicy's subject or peer means a pod.
func (c *Cluster) means(namespaces *metav1.LabelSelector, pods *policyv1.NamespacedPod, p *corev1.Pod) bool {
	of := c.Namespaces[p.Namespace].Labels
	if namespaces != nil {
		return matches(namespaces, of)
	}
	return pods != nil && matches(&pods.NamespaceSelector, of) && matches(&pods.PodSelector, p.Labels)
}

// peers are the pods that have the peer's address.
func (j judge) peers() (out []*corev1.Pod) {
	for _, p := range j.cluster.Pods {
		if has(p, j.peer()) {
			out = append(out, p)
		}
	}
	return out
}

// dest is who has the named ports of a rule that a pod on the other end matches: the policed
// pod of what comes in, the peer of what goes out.
func (j judge) dest(peer *corev1.Pod) *corev1.Pod {
	if j.d == Ingress {
		return j.pod
	}
	return peer
}

// portNamed is the number of a pod's port of a name; 0: it has none.
func portNamed(p *corev1.Pod, name string, protocol uint8) uint16 {
	if p == nil {
		return 0
	}
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.Name == name && numberOf(port.Protocol) == protocol {
				return uint16(port.ContainerPort)
			}
		}
	}
	return 0
}

func numberOf(p corev1.Protocol) uint8 {
	switch p {
	case corev1.ProtocolUDP:
		return 17
	case corev1.ProtocolSCTP:
		return 132
	}
	return 6
}

// ruleMatches says whether a rule of a NetworkPolicy is about the connection.
func (j judge) ruleMatches(namespace string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) bool {
	if len(peers) == 0 {
		all := j.peers()
		if len(all) == 0 || j.d == Ingress {
			return j.portsMatch(j.dest(nil), ports)
		}
		return slices.ContainsFunc(all, func(p *corev1.Pod) bool { return j.portsMatch(p, ports) })
	}
	for _, one := range peers {
		if one.IPBlock != nil {
			if inBlock(one.IPBlock, j.peer()) && j.portsMatch(j.dest(nil), ports) {
				return true
			}
			continue
		}
		for _, p := range j.peers() {
			if one.NamespaceSelector == nil && p.Namespace != namespace ||
				one.NamespaceSelector != nil && !matches(one.NamespaceSelector, j.cluster.Namespaces[p.Namespace].Labels) ||
				one.PodSelector != nil && !matches(one.PodSelector, p.Labels) {
				continue
			}
			if j.portsMatch(j.dest(p), ports) {
				return true
			}
		}
	}
	return false
}

func inBlock(b *networkingv1.IPBlock, a netip.Addr) bool {
	if !netip.MustParsePrefix(b.CIDR).Contains(a) {
		return false
	}
	return !slices.ContainsFunc(b.Except, func(text string) bool { return netip.MustParsePrefix(text).Contains(a) })
}

// portsMatch says whether a NetworkPolicy's ports have that of the connection, whose
// destination is a pod; nil: it is none, and has no named ports.
func (j judge) portsMatch(dest *corev1.Pod, ports []networkingv1.NetworkPolicyPort) bool {
	for _, p := range ports {
		protocol := uint8(6)
		if p.Protocol != nil {
			protocol = numberOf(*p.Protocol)
		}
		if protocol != j.o.Protocol {
			continue
		}
		switch {
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			if n := portNamed(dest, p.Port.StrVal, protocol); n != 0 && n == j.o.Port {
				return true
			}
		case p.EndPort != nil:
			if int32(j.o.Port) >= p.Port.IntVal && int32(j.o.Port) <= *p.EndPort {
				return true
			}
		case p.Port.IntVal == int32(j.o.Port):
			return true
		}
	}
	return len(ports) == 0
}

// fromPods says whether the peer is a pod that a rule means, by a port that it means.
func (j judge) fromPods(namespaces *metav1.LabelSelector, pods *policyv1.NamespacedPod, protocols []policyv1.ClusterNetworkPolicyProtocol) bool {
	for _, p := range j.peers() {
		if j.cluster.means(namespaces, pods, p) && j.protocolsMatch(j.dest(p), protocols) {
			return true
		}
	}
	return false
}

func (j judge) toNode(to policyv1.ClusterNetworkPolicyEgressPeer, protocols []policyv1.ClusterNetworkPolicyProtocol) bool {
	if to.Nodes == nil {
		return false
	}
	for _, n := range j.cluster.Nodes {
		here := slices.ContainsFunc(n.Status.Addresses, func(a corev1.NodeAddress) bool { return a.Address == j.peer().String() })
		if here && matches(to.Nodes, n.Labels) && j.protocolsMatch(nil, protocols) {
			return true
		}
	}
	return false
}

func (j judge) toNetwork(to policyv1.ClusterNetworkPolicyEgressPeer, protocols []policyv1.ClusterNetworkPolicyProtocol) bool {
	for _, text := range to.Networks {
		if netip.MustParsePrefix(string(text)).Contains(j.peer()) && j.protocolsMatch(nil, protocols) {
			return true
		}
	}
	return false
}

// protocolsMatch says whether a ClusterNetworkPolicy's protocols have that of the connection.
func (j judge) protocolsMatch(dest *corev1.Pod, protocols []policyv1.ClusterNetworkPolicyProtocol) bool {
	for _, p := range protocols {
		var port *policyv1.Port
		switch {
		case p.TCP != nil && j.o.Protocol == 6:
			port = p.TCP.DestinationPort
		case p.UDP != nil && j.o.Protocol == 17:
			port = p.UDP.DestinationPort
		case p.SCTP != nil && j.o.Protocol == 132:
			port = p.SCTP.DestinationPort
		case p.DestinationNamedPort != "":
			if n := portNamed(dest, p.DestinationNamedPort, j.o.Protocol); n != 0 && n == j.o.Port {
				return true
			}
		}
		if port == nil {
			continue
		}
		if port.Range != nil && int32(j.o.Port) >= port.Range.Start && int32(j.o.Port) <= port.Range.End || port.Range == nil && port.Number == int32(j.o.Port) {
			return true
		}
	}
	return len(protocols) == 0
}
