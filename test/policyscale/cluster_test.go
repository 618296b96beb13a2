// SPDX-License-Identifier: Apache-2.0

package policyscale

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead-io/fairlead/internal/model/policy"
)

const (
	podsInNamespace = 50
	apps            = 5 // of a namespace, with ten pods each
	teams           = 20
	// perNamespace are the policies of a namespace, one for each of its apps.
	perNamespace = apps
)

// cluster is a cluster of namespaces that are alike: each pod is selected by one policy. Four of
// five policies let in an app of the namespace; the fifth lets in an app of all namespaces of a team.
type cluster struct {
	nodes, namespaces int
}

func (c cluster) pods() int { return c.namespaces * podsInNamespace }

func node(i int) string      { return fmt.Sprintf("node-%d", i) }
func namespace(i int) string { return fmt.Sprintf("ns-%d", i) }
func app(i int) string       { return fmt.Sprintf("app-%d", i) }

// pod is one of the cluster's pods, by its number. Pods of an app are on different nodes.
func (c cluster) pod(i int, labels map[string]string) policy.Pod {
	ns, own := i/podsInNamespace, i%podsInNamespace
	all := map[string]string{"app": app(own % apps), "version": "v1"}
	for k, v := range labels {
		all[k] = v
	}
	var four [4]byte
	four[0], four[1], four[2], four[3] = 10, byte(i>>16), byte(i>>8), byte(i)
	six := netip.MustParseAddr("fd00::").As16()
	six[13], six[14], six[15] = byte(i>>16), byte(i>>8), byte(i)
	return policy.Pod{
		Namespace: namespace(ns), Name: fmt.Sprintf("pod-%d", own), UID: fmt.Sprintf("uid-%d", i), Node: node((i*7 + ns*3) % c.nodes),
		Labels: all, Addresses: []netip.Addr{netip.AddrFrom4(four), netip.AddrFrom16(six)},
		Ports: []policy.NamedPort{{Name: "http", Protocol: 6, Port: 8080}},
	}
}

// policy is the policy of an app of a namespace, which lets its peers in at a port.
func (c cluster) policy(ns, of int, port int32) *networkingv1.NetworkPolicy {
	at := intstr.FromInt32(port)
	peer := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app((of + 1) % apps)}}}
	if of == apps-1 {
		peer.PodSelector.MatchLabels = map[string]string{"app": app(0), "version": "v1"}
		peer.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": team(ns)}}
	}
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace(ns), Name: fmt.Sprintf("policy-%d", of)},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": app(of)}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{
				From: []networkingv1.NetworkPolicyPeer{peer}, Ports: []networkingv1.NetworkPolicyPort{{Port: &at}},
			}},
		},
	}
}

func team(ns int) string { return fmt.Sprintf("team-%d", ns%teams) }

// fill gives an index the whole cluster.
func (c cluster) fill(x *policy.Index) error {
	for i := range c.nodes {
		x.SetNode(node(i), nil, nil)
	}
	for i := range c.namespaces {
		x.SetNamespace(namespace(i), map[string]string{"team": team(i), "kubernetes.io/metadata.name": namespace(i)})
	}
	for i := range c.pods() {
		x.SetPod(c.pod(i, nil))
	}
	for ns := range c.namespaces {
		for of := range perNamespace {
			if f := x.SetNetworkPolicy(c.policy(ns, of, 8080)); len(f) > 0 {
				return fmt.Errorf("policy %d of namespace %d: %v", of, ns, f)
			}
		}
	}
	return nil
}

// relabelled is a random pod that leaves its app, or is back in it: every set that it is or was a
// member of changes. Half of them are peers of a whole team.
func (c cluster) relabelled(n int) policy.Pod {
	pick := rand.N(c.pods())
	if n%2 == 0 {
		pick -= pick % podsInNamespace % apps // one of app-0
	}
	return c.pod(pick, map[string]string{"app": "none"})
}
