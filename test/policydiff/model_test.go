// SPDX-License-Identifier: Apache-2.0

package policydiff

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"
)

// TestModelReadsTheAPI: what the documentation says of a web server and its clients.
func TestModelReadsTheAPI(t *testing.T) {
	all := metav1.LabelSelector{}
	web := metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	isolated := func(rules ...networkingv1.NetworkPolicyIngressRule) *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: networkingv1.NetworkPolicySpec{PodSelector: web, Ingress: rules}}
	}
	tier := func(name string, tier policyv1.Tier, priority int32, action policyv1.ClusterNetworkPolicyRuleAction) *policyv1.ClusterNetworkPolicy {
		return &policyv1.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: policyv1.ClusterNetworkPolicySpec{
			Tier: tier, Priority: priority, Subject: policyv1.ClusterNetworkPolicySubject{Namespaces: &all},
			Ingress: []policyv1.ClusterNetworkPolicyIngressRule{{Action: action, From: []policyv1.ClusterNetworkPolicyIngressPeer{{Namespaces: &all}}}},
		}}
	}
	named := networkingv1.NetworkPolicyIngressRule{
		From:  []networkingv1.NetworkPolicyPeer{{PodSelector: &all}},
		Ports: []networkingv1.NetworkPolicyPort{{Port: new(intstr.FromString("http"))}},
	}
	nearby := networkingv1.NetworkPolicyIngressRule{From: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "203.0.113.0/24", Except: []string{"203.0.113.128/25"}}}}}
	const deny, pass, accept = policyv1.ClusterNetworkPolicyRuleActionDeny, policyv1.ClusterNetworkPolicyRuleActionPass, policyv1.ClusterNetworkPolicyRuleActionAccept
	for _, c := range []struct {
		name    string
		policy  *networkingv1.NetworkPolicy
		cluster []*policyv1.ClusterNetworkPolicy
		from    string
		port    uint16
		want    Verdict
	}{
		{"nobody says anything", nil, nil, "10.0.0.2", 80, Verdict{false, true, ""}},
		{"a policy without rules isolates", isolated(), nil, "10.0.0.2", 80, Verdict{true, false, "NetworkPolicy shop/web: no rule allows it"}},
		{"a named port is the pod's", isolated(named), nil, "10.0.0.2", 8080, Verdict{true, true, "NetworkPolicy shop/web ingress[0]"}},
		{"another port", isolated(named), nil, "10.0.0.2", 80, Verdict{true, false, "NetworkPolicy shop/web: no rule allows it"}},
		{"a pod selector alone is of the policy's namespace", isolated(named), nil, "10.0.0.3", 8080, Verdict{true, false, "NetworkPolicy shop/web: no rule allows it"}},
		{"a block", isolated(named, nearby), nil, "203.0.113.5", 80, Verdict{true, true, "NetworkPolicy shop/web ingress[1]"}},
		{"its exception", isolated(named, nearby), nil, "203.0.113.200", 80, Verdict{true, false, "NetworkPolicy shop/web: no rule allows it"}},
		{"the lower priority number decides", nil, []*policyv1.ClusterNetworkPolicy{tier("a", policyv1.AdminTier, 2, deny), tier("b", policyv1.AdminTier, 1, accept)}, "10.0.0.3", 80, Verdict{true, true, "ClusterNetworkPolicy b ingress[0]"}},
		{"the admin tier comes first", isolated(named), []*policyv1.ClusterNetworkPolicy{tier("a", policyv1.AdminTier, 1, deny)}, "10.0.0.2", 8080, Verdict{true, false, "ClusterNetworkPolicy a ingress[0]"}},
		{"what it passes is for the namespace", isolated(named), []*policyv1.ClusterNetworkPolicy{tier("a", policyv1.AdminTier, 1, pass)}, "10.0.0.2", 8080, Verdict{true, true, "NetworkPolicy shop/web ingress[0]"}},
		{"the baseline is asked where nothing isolates", nil, []*policyv1.ClusterNetworkPolicy{tier("a", policyv1.BaselineTier, 1, deny)}, "10.0.0.3", 80, Verdict{true, false, "ClusterNetworkPolicy a ingress[0]"}},
		{"and not where something does", isolated(named), []*policyv1.ClusterNetworkPolicy{tier("a", policyv1.BaselineTier, 1, deny)}, "10.0.0.2", 8080, Verdict{true, true, "NetworkPolicy shop/web ingress[0]"}},
		{"selectors mean pods alone", nil, []*policyv1.ClusterNetworkPolicy{tier("a", policyv1.AdminTier, 1, deny)}, "203.0.113.5", 80, Verdict{true, true, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pods := map[string]*corev1.Pod{"shop/web": aPod("shop", "web", "10.0.0.1"), "shop/cart": aPod("shop", "cart", "10.0.0.2"), "else/one": aPod("else", "one", "10.0.0.3")}
			w := &Cluster{
				Namespaces: map[string]*corev1.Namespace{"shop": {}, "else": {}}, Pods: pods,
				NetworkPolicies: map[string]*networkingv1.NetworkPolicy{}, ClusterPolicies: map[string]*policyv1.ClusterNetworkPolicy{},
			}
			if c.policy != nil {
				w.NetworkPolicies["shop/web"] = c.policy
			}
			for _, p := range c.cluster {
				w.ClusterPolicies[p.Name] = p
			}
			got := w.Judge(pods["shop/web"], Ingress, Connection{netip.MustParseAddr(c.from), netip.MustParseAddr("10.0.0.1"), 6, c.port})
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// aPod is one that serves port 8080 by TCP under the name http.
func aPod(namespace, app, address string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app, Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{NodeName: own, Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}}}},
		Status:     corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: address}}},
	}
}
