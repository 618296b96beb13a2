// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/state"
)

func oneRule(change func(*networkingv1.NetworkPolicyEgressRule)) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}
	p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
	p.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{
		{To: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}},
		{To: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"good": "yes"}}}}},
	}
	change(&p.Spec.Egress[0])
	return p
}

var badSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Resembles"}}}

// A rule that cannot be used allows nothing and says why; the next one goes on.
func TestARuleThatCannotBeUsedAllowsNothing(t *testing.T) {
	to := func(p networkingv1.NetworkPolicyPeer) func(*networkingv1.NetworkPolicyEgressRule) {
		return func(r *networkingv1.NetworkPolicyEgressRule) { r.To = append(r.To, p) }
	}
	port := func(p networkingv1.NetworkPolicyPort) func(*networkingv1.NetworkPolicyEgressRule) {
		return func(r *networkingv1.NetworkPolicyEgressRule) { r.Ports = append(r.Ports, p) }
	}
	block := func(cidr string, except ...string) func(*networkingv1.NetworkPolicyEgressRule) {
		return to(networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr, Except: except}})
	}
	for _, c := range []struct {
		name   string
		change func(*networkingv1.NetworkPolicyEgressRule)
		words  string
	}{
		{"an operator that nobody knows", to(networkingv1.NetworkPolicyPeer{PodSelector: badSelector}), "spec.egress[0].to[1].podSelector"},
		{"in the namespaces' selector", to(networkingv1.NetworkPolicyPeer{NamespaceSelector: badSelector}), "to[1].namespaceSelector"},
		{"a peer of a later API", to(networkingv1.NetworkPolicyPeer{}), "to[1]: it says nothing that is known here"},
		{"a block with a selector", to(networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}, IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8"}}), "an ipBlock and a selector"},
		{"no CIDR", block("10.0.0.0"), `to[1].ipBlock.cidr: "10.0.0.0" is not a range`},
		{"IPv4 in IPv6", block("::ffff:10.0.0.0/104"), "is not a range"},
		{"an exception outside", block("10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/16"), "except[1]: 11.0.0.0/16 is not a part of 10.0.0.0/8"},
		{"an exception of all", block("10.0.0.0/8", "10.0.0.0/8"), "is not a part"},
		{"an exception of the other family", block("10.0.0.0/8", "fd00::/16"), "is not a part"},
		{"an exception that is none", block("10.0.0.0/8", "x"), `except[0]: "x"`},
		{"the end below the first", port(networkingv1.NetworkPolicyPort{Port: new(intstr.FromInt32(90)), EndPort: new(int32(80))}), "the last port 80 is below the first, 90"},
		{"an end without a port", port(networkingv1.NetworkPolicyPort{EndPort: new(int32(80))}), "ports[0].endPort"},
		{"the end of a name", port(networkingv1.NetworkPolicyPort{Port: new(intstr.FromString("http")), EndPort: new(int32(80))}), "a named port has no end"},
		{"no name", port(networkingv1.NetworkPolicyPort{Port: new(intstr.FromString(""))}), "the name is empty"},
		{"port 0", port(networkingv1.NetworkPolicyPort{Port: new(intstr.FromInt32(0))}), "do not exist"},
		{"port 70000", port(networkingv1.NetworkPolicyPort{Port: new(intstr.FromInt32(70000))}), "do not exist"},
		{"a protocol that nobody knows", port(networkingv1.NetworkPolicyPort{Protocol: new(corev1.Protocol("ICMP"))}), `"ICMP" is not a protocol`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := compileNetworkPolicy(oneRule(c.change))
			if len(got.findings) != 1 || !strings.Contains(got.findings[0].String(), c.words) || !strings.HasPrefix(got.findings[0].String(), "NetworkPolicy default/p: spec.egress[0]") {
				t.Errorf("found %v, want %s", got.findings, c.words)
			}
			if rules := got.egress.rules; len(rules) != 1 || rules[0].place != 1 {
				t.Errorf("the rules are %+v", rules)
			}
		})
	}
}

func TestNamedPortsOfRangesAreNoPorts(t *testing.T) {
	got := compileNetworkPolicy(oneRule(func(r *networkingv1.NetworkPolicyEgressRule) {
		r.To = append(r.To, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "10.1.2.3/8"}})
		r.Ports = []networkingv1.NetworkPolicyPort{{Port: new(intstr.FromString("http"))}, {Port: new(intstr.FromInt32(53)), Protocol: new(corev1.ProtocolUDP)}}
	}))
	if len(got.findings) != 1 || !strings.Contains(got.findings[0].Message, "no named ports") {
		t.Errorf("found %v", got.findings)
	}
	r := got.egress.rules
	if len(r) != 3 || len(r[0].networks) != 1 || r[0].named || len(r[0].ports) != 1 || !r[1].named || len(r[1].networks) != 0 || r[1].peers[0].port.name != "http" {
		t.Errorf("the rules are %+v", r)
	}
}

// Of a ClusterNetworkPolicy, one that accepts matches nothing, and one that denies or passes
// denies everybody.
func TestAClusterRuleThatCannotBeUsedFailsClosed(t *testing.T) {
	everybody := policyv1.ClusterNetworkPolicyEgressPeer{Namespaces: &metav1.LabelSelector{}}
	for _, c := range []struct {
		name   string
		change func(*policyv1.ClusterNetworkPolicyEgressRule)
		words  string
	}{
		{"domain names", func(r *policyv1.ClusterNetworkPolicyEgressRule) {
			r.To = append(r.To, policyv1.ClusterNetworkPolicyEgressPeer{DomainNames: []policyv1.DomainName{"example.org"}})
		}, "domain names are not supported yet"},
		{"a peer of a later API", func(r *policyv1.ClusterNetworkPolicyEgressRule) {
			r.To = append(r.To, policyv1.ClusterNetworkPolicyEgressPeer{})
		}, "says nothing that is known here"},
		{"two kinds of peer in one", func(r *policyv1.ClusterNetworkPolicyEgressRule) { r.To[0].Networks = []policyv1.CIDR{"10.0.0.0/8"} }, "more than one kind"},
		{"nobody", func(r *policyv1.ClusterNetworkPolicyEgressRule) { r.To = nil }, "names nobody"},
		{"a bad selector of nodes", func(r *policyv1.ClusterNetworkPolicyEgressRule) {
			r.To = []policyv1.ClusterNetworkPolicyEgressPeer{{Nodes: badSelector}}
		}, "to[0].nodes"},
		{"a bad network", func(r *policyv1.ClusterNetworkPolicyEgressRule) {
			r.To = []policyv1.ClusterNetworkPolicyEgressPeer{{Networks: []policyv1.CIDR{"10.0.0.0/8", "x"}}}
		}, "networks[1]"},
		{"a protocol of a later API", func(r *policyv1.ClusterNetworkPolicyEgressRule) {
			r.Protocols = []policyv1.ClusterNetworkPolicyProtocol{{}}
		}, "0 things that are known"},
		{"a port that is two things", func(r *policyv1.ClusterNetworkPolicyEgressRule) {
			r.Protocols = []policyv1.ClusterNetworkPolicyProtocol{{TCP: &policyv1.ClusterNetworkPolicyProtocolTCP{
				DestinationPort: &policyv1.Port{Number: 5, Range: &policyv1.PortRange{Start: 1, End: 2}}}}}
		}, "both a number and a range"},
		{"a range that ends before it starts", func(r *policyv1.ClusterNetworkPolicyEgressRule) {
			r.Protocols = []policyv1.ClusterNetworkPolicyProtocol{{UDP: &policyv1.ClusterNetworkPolicyProtocolUDP{
				DestinationPort: &policyv1.Port{Range: &policyv1.PortRange{Start: 9, End: 2}}}}}
		}, "below the first"},
		{"a named port of a network", func(r *policyv1.ClusterNetworkPolicyEgressRule) {
			r.To = append(r.To, policyv1.ClusterNetworkPolicyEgressPeer{Networks: []policyv1.CIDR{"10.0.0.0/8"}})
			r.Protocols = []policyv1.ClusterNetworkPolicyProtocol{{DestinationNamedPort: "http"}}
		}, "no named ports"},
	} {
		for _, action := range []policyv1.ClusterNetworkPolicyRuleAction{"Accept", "Deny", "Pass", "Whatever"} {
			t.Run(c.name+" "+string(action), func(t *testing.T) {
				p := &policyv1.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
				p.Spec.Tier, p.Spec.Subject.Namespaces = policyv1.AdminTier, &metav1.LabelSelector{}
				p.Spec.Egress = []policyv1.ClusterNetworkPolicyEgressRule{{Action: action, To: []policyv1.ClusterNetworkPolicyEgressPeer{everybody}}}
				c.change(&p.Spec.Egress[0])
				got := compileClusterPolicy(p)
				if !slices.ContainsFunc(got.findings, func(f model.Finding) bool { return strings.Contains(f.String(), c.words) }) {
					t.Errorf("found %v, want %s", got.findings, c.words)
				}
				rules := got.egress.rules
				if action == "Accept" {
					if len(rules) != 0 {
						t.Errorf("it accepts %+v", rules)
					}
					return
				}
				if len(rules) != 1 || rules[0].action != state.PolicyAction_ACTION_DENY || !rules[0].anyPeer || !rules[0].anyPort {
					t.Errorf("it does not deny all: %+v", rules)
				}
			})
		}
	}
}

func TestASubjectThatCannotBeReadSelectsNobody(t *testing.T) {
	for name, change := range map[string]func(*policyv1.ClusterNetworkPolicySpec){
		"nothing":        func(s *policyv1.ClusterNetworkPolicySpec) { s.Subject.Namespaces = nil },
		"both":           func(s *policyv1.ClusterNetworkPolicySpec) { s.Subject.Pods = &policyv1.NamespacedPod{} },
		"a bad selector": func(s *policyv1.ClusterNetworkPolicySpec) { s.Subject.Namespaces = badSelector },
		"a later tier":   func(s *policyv1.ClusterNetworkPolicySpec) { s.Tier = "Middle" },
	} {
		t.Run(name, func(t *testing.T) {
			p := &policyv1.ClusterNetworkPolicy{}
			p.Spec.Tier, p.Spec.Subject.Namespaces = policyv1.AdminTier, &metav1.LabelSelector{}
			change(&p.Spec)
			if got := compileClusterPolicy(p); got.subject != nil || len(got.findings) != 1 {
				t.Errorf("it selects %+v, found %v", got.subject, got.findings)
			}
		})
	}
}

// What is absent and what is empty mean what the API says.
func TestAbsentAndEmpty(t *testing.T) {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}
	if got := compileNetworkPolicy(p); got.ingress == nil || len(got.ingress.rules) != 0 || got.egress != nil || got.subject.key() != "idefault|" {
		t.Errorf("an empty policy denies what its namespace receives: %+v", got)
	}
	p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	if r := compileNetworkPolicy(p).ingress.rules; len(r) != 1 || !r[0].anyPeer || !r[0].anyPort {
		t.Errorf("an empty rule allows all: %+v", r)
	}
	p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
	if got := compileNetworkPolicy(p); got.ingress != nil || got.egress == nil {
		t.Errorf("only the named direction counts: %+v", got)
	}
}
