// SPDX-License-Identifier: Apache-2.0

package policydiff

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"
)

// Cluster is what the API server has. Objects are replaced, never changed.
type Cluster struct {
	Namespaces map[string]*corev1.Namespace
	Nodes      map[string]*corev1.Node
	// Pods and NetworkPolicies by "namespace/name".
	Pods            map[string]*corev1.Pod
	NetworkPolicies map[string]*networkingv1.NetworkPolicy
	ClusterPolicies map[string]*policyv1.ClusterNetworkPolicy
}

// Direction of a connection, as the policed pod sees it.
type Direction string

// Directions, in the words of the objects' fields.
const (
	Ingress Direction = "ingress"
	Egress  Direction = "egress"
)

// Connection is one that a source would open. Port is the destination's; ICMP has none.
type Connection struct {
	Source, Dest netip.Addr
	Protocol     uint8
	Port         uint16
}

// Verdict says whether a pod's policies let a connection through.
type Verdict struct {
	// Policed: some policy has something to say of the pod's direction.
	Policed bool
	Allow   bool
	// Why is what decides; empty: nothing forbids it.
	Why string
}

// May says whether policies of the pods of a node let a connection open. Other nodes judge
// for their own pods. A pod always reaches itself.
func (c *Cluster) May(node string, o Connection) bool {
	from, to := c.podOf(node, o.Source), c.podOf(node, o.Dest)
	if from != nil && from == to {
		return true
	}
	return (from == nil || c.Judge(from, Egress, o).Allow) && (to == nil || c.Judge(to, Ingress, o).Allow)
}

// podOf returns the node's pod with an address, nil if there is none.
func (c *Cluster) podOf(node string, a netip.Addr) *corev1.Pod {
	for _, p := range c.Pods {
		if p.Spec.NodeName == node && has(p, a) {
			return p
		}
	}
	return nil
}

// has says whether a pod has an address of its own.
func has(p *corev1.Pod, a netip.Addr) bool {
	if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return false
	}
	return slices.ContainsFunc(p.Status.PodIPs, func(ip corev1.PodIP) bool { return ip.IP == a.String() })
}

// Judge asks the policies that select a pod, tier by tier.
func (c *Cluster) Judge(p *corev1.Pod, d Direction, o Connection) Verdict {
	j := judge{c, p, d, o}
	admin, baseline, isolating := j.clusterPolicies(policyv1.AdminTier), j.clusterPolicies(policyv1.BaselineTier), j.networkPolicies()
	policed := len(admin)+len(baseline)+len(isolating) > 0
	if allow, why := j.tier(admin); why != "" {
		return Verdict{policed, allow, why}
	}
	for _, one := range isolating {
		if why := j.allowedBy(one); why != "" {
			return Verdict{policed, true, why}
		}
	}
	if len(isolating) > 0 {
		return Verdict{policed, false, fmt.Sprintf("NetworkPolicy %s/%s: no rule allows it", isolating[0].Namespace, isolating[0].Name)}
	}
	if allow, why := j.tier(baseline); why != "" {
		return Verdict{policed, allow, why}
	}
	return Verdict{policed, true, ""}
}

// judge is one connection of one pod.
type judge struct {
	cluster *Cluster
	pod     *corev1.Pod
	d       Direction
	o       Connection
}

func (j judge) peer() netip.Addr {
	if j.d == Ingress {
		return j.o.Source
	}
	return j.o.Dest
}

// clusterPolicies of a tier that select the pod and have rules for the direction, as they are asked.
func (j judge) clusterPolicies(tier policyv1.Tier) (out []*policyv1.ClusterNetworkPolicy) {
	for _, p := range j.cluster.ClusterPolicies {
		rules := len(p.Spec.Ingress)
		if j.d == Egress {
			rules = len(p.Spec.Egress)
		}
		if p.Spec.Tier == tier && rules > 0 && j.cluster.means(p.Spec.Subject.Namespaces, p.Spec.Subject.Pods, j.pod) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *policyv1.ClusterNetworkPolicy) int {
		return cmp.Or(cmp.Compare(a.Spec.Priority, b.Spec.Priority), strings.Compare(a.Name, b.Name))
	})
	return out
}

// networkPolicies that isolate the pod in the direction, by name.
func (j judge) networkPolicies() (out []*networkingv1.NetworkPolicy) {
	for _, p := range j.cluster.NetworkPolicies {
		if p.Namespace == j.pod.Namespace && matches(&p.Spec.PodSelector, j.pod.Labels) && isolates(&p.Spec, j.d) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *networkingv1.NetworkPolicy) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func isolates(s *networkingv1.NetworkPolicySpec, d Direction) bool {
	if len(s.PolicyTypes) == 0 {
		return d == Ingress || len(s.Egress) > 0
	}
	return slices.ContainsFunc(s.PolicyTypes, func(t networkingv1.PolicyType) bool { return strings.EqualFold(string(t), string(d)) })
}

// tier asks policies of a tier rule by rule; why is empty when they leave it to the next.
func (j judge) tier(all []*policyv1.ClusterNetworkPolicy) (allow bool, why string) {
	for _, p := range all {
		action, name, place := j.clusterRule(p)
		switch action {
		case "":
			continue
		case policyv1.ClusterNetworkPolicyRuleActionPass:
			return false, ""
		}
		why = fmt.Sprintf("ClusterNetworkPolicy %s %s[%d]", p.Name, j.d, place)
		if name != "" {
			why += fmt.Sprintf(" %q", name)
		}
		return action == policyv1.ClusterNetworkPolicyRuleActionAccept, why
	}
	return false, ""
}

// clusterRule finds the first rule of a policy that matches; no action: none does.
func (j judge) clusterRule(p *policyv1.ClusterNetworkPolicy) (action policyv1.ClusterNetworkPolicyRuleAction, name string, place int) {
	if j.d == Ingress {
		for i, r := range p.Spec.Ingress {
			for _, from := range r.From {
				if j.fromPods(from.Namespaces, from.Pods, r.Protocols) {
					return r.Action, r.Name, i
				}
			}
		}
		return "", "", 0
	}
	for i, r := range p.Spec.Egress {
		for _, to := range r.To {
			if j.fromPods(to.Namespaces, to.Pods, r.Protocols) || j.toNode(to, r.Protocols) || j.toNetwork(to, r.Protocols) {
				return r.Action, r.Name, i
			}
		}
	}
	return "", "", 0
}

// allowedBy says which rule of a policy allows the connection; empty: none.
func (j judge) allowedBy(p *networkingv1.NetworkPolicy) string {
	if j.d == Ingress {
		for i, r := range p.Spec.Ingress {
			if j.ruleMatches(p.Namespace, r.From, r.Ports) {
				return fmt.Sprintf("NetworkPolicy %s/%s ingress[%d]", p.Namespace, p.Name, i)
			}
		}
		return ""
	}
	for i, r := range p.Spec.Egress {
		if j.ruleMatches(p.Namespace, r.To, r.Ports) {
			return fmt.Sprintf("NetworkPolicy %s/%s egress[%d]", p.Namespace, p.Name, i)
		}
	}
	return ""
}
