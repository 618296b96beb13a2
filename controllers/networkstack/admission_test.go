// SPDX-License-Identifier: Apache-2.0

package networkstack

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// nativeIn is an override that gives the Clusters with env=<env> native routing.
func nativeIn(name, env string) v1alpha1.ClusterOverride {
	mode := v1alpha1.RoutingNative
	return v1alpha1.ClusterOverride{
		Name: name, ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{"env": env}},
		CNI: v1alpha1.CNIOverride{Routing: &v1alpha1.RoutingOverride{Mode: &mode}},
	}
}

// agentsReplaced sets maxUnavailable and maxSurge, as they are written; "" leaves one out.
func agentsReplaced(unavailable, surge string) func(*v1alpha1.NetworkStack) {
	amount := func(text string) *intstr.IntOrString {
		if text == "" {
			return nil
		}
		v := intstr.Parse(text)
		return &v
	}
	return func(n *v1alpha1.NetworkStack) {
		n.Spec.Rollout.Agents = v1alpha1.AgentUpdateSpec{MaxUnavailable: amount(unavailable), MaxSurge: amount(surge)}
	}
}

// What the API server refuses, and in which words: every message must name the
// field and the fix.
func TestAdmissionRefuses(t *testing.T) {
	s := begin(t)
	for _, c := range []struct {
		name   string
		change func(*v1alpha1.NetworkStack)
		want   []string
	}{
		{"an empty selector", func(n *v1alpha1.NetworkStack) { n.Spec.ClusterSelector = metav1.LabelSelector{} },
			[]string{"spec.clusterSelector is empty", "set spec.allClusters to true"}},
		{"a selector and all clusters", func(n *v1alpha1.NetworkStack) { n.Spec.AllClusters = true },
			[]string{"spec.allClusters and spec.clusterSelector exclude each other", "remove one"}},
		{"a version without v", func(n *v1alpha1.NetworkStack) { n.Spec.Version = "1.2.3" },
			[]string{"spec.version must be a semantic version with a leading v"}},
		{"a version that is a word", func(n *v1alpha1.NetworkStack) { n.Spec.Version = "latest" },
			[]string{"spec.version must be a semantic version"}},
		{"an MTU below IPv6's least", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.MTU = 1279 },
			[]string{"spec.cni.mtu", "must be 0", "between 1280", "9216"}},
		{"an MTU above the largest", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.MTU = 9217 }, []string{"spec.cni.mtu", "9216"}},
		{"a negative MTU", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.MTU = -1 }, []string{"spec.cni.mtu"}},
		{"a port above 65535", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.Tunnel.Port = 65536 },
			[]string{"spec.cni.tunnel.port", "between 1 and 65535"}},
		{"a negative port", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.Tunnel.Port = -1 }, []string{"spec.cni.tunnel.port"}},
		{"a routing mode that is a guess", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.Routing.Mode = "native" },
			[]string{"spec.cni.routing.mode", "must be Tunnel or Native", "set it to one of them"}},
		{"an exception that is an address", func(n *v1alpha1.NetworkStack) {
			n.Spec.CNI.MasqueradeExceptions = []v1alpha1.CIDR{"10.0.0.0/8", "192.0.2.1"}
		},
			[]string{"spec.cni.masqueradeExceptions[1]", "ranges of addresses such as", "correct this one or remove it"}},
		{"an exception that is IPv4 in IPv6", func(n *v1alpha1.NetworkStack) {
			n.Spec.CNI.MasqueradeExceptions = []v1alpha1.CIDR{"::ffff:192.0.2.0/120"}
		},
			[]string{"spec.cni.masqueradeExceptions[0]"}},
		{"an exception twice", func(n *v1alpha1.NetworkStack) {
			n.Spec.CNI.MasqueradeExceptions = []v1alpha1.CIDR{"10.0.0.0/8", "10.0.0.0/8"}
		},
			[]string{"spec.cni.masqueradeExceptions[1]", "Duplicate"}},
		{"more exceptions than 32", func(n *v1alpha1.NetworkStack) {
			for i := range 33 {
				n.Spec.CNI.MasqueradeExceptions = append(n.Spec.CNI.MasqueradeExceptions, v1alpha1.CIDR(fmt.Sprintf("10.%d.0.0/16", i)))
			}
		}, []string{"spec.cni.masqueradeExceptions", "at most 32"}},
		{"a flow table between two powers of two", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.FlowTable.Entries = 100000 },
			[]string{"spec.cni.flowTable.entries", "power of two from 16384 to 4194304", "leave it out for 131072"}},
		{"a flow table too small", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.FlowTable.Entries = 8192 }, []string{"spec.cni.flowTable.entries"}},
		{"a flow table too large", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.FlowTable.Entries = 8388608 }, []string{"spec.cni.flowTable.entries"}},
		{"a replacement of kube-proxy that is a guess", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.KubeProxyReplacement = "true" },
			[]string{"spec.cni.kubeProxyReplacement", "must be Enabled or Disabled", "set it to one of them"}},
		{"a forwarding that is a guess", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.Services.Forwarding = "dsr" },
			[]string{"spec.cni.services.forwarding", "must be SNAT or DSR", "leave it out for SNAT"}},
		{"too little room for frontends", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.Services.Frontends = 1023 },
			[]string{"spec.cni.services.frontends", "between 1024 and 1048576", "leave it out for 65536"}},
		{"too much room for backends", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.Services.Backends = 1048577 },
			[]string{"spec.cni.services.backends", "between 1024 and 1048576", "leave it out for 262144"}},
		{"an override without a selector", func(n *v1alpha1.NetworkStack) { n.Spec.Overrides = []v1alpha1.ClusterOverride{{Name: "all"}} },
			[]string{"spec.overrides[0].clusterSelector", "is empty", "goes into spec.cni"}},
		{"an override without a name", func(n *v1alpha1.NetworkStack) { n.Spec.Overrides = []v1alpha1.ClusterOverride{nativeIn("", "lab")} },
			[]string{"spec.overrides[0].name"}},
		{"two overrides of one name", func(n *v1alpha1.NetworkStack) {
			n.Spec.Overrides = []v1alpha1.ClusterOverride{nativeIn("one", "lab"), nativeIn("one", "prod")}
		}, []string{"spec.overrides[1]", "Duplicate"}},
		{"more overrides than 64", func(n *v1alpha1.NetworkStack) {
			for i := range 65 {
				n.Spec.Overrides = append(n.Spec.Overrides, nativeIn(fmt.Sprint(i), "lab"))
			}
		}, []string{"spec.overrides", "at most 64"}},
		{"an override's fields are held to the same limits", func(n *v1alpha1.NetworkStack) {
			o := nativeIn("one", "lab")
			mtu, entries, mode := v1alpha1.MTU(100), v1alpha1.FlowEntries(0), v1alpha1.RoutingMode("Direct")
			o.CNI = v1alpha1.CNIOverride{
				MTU: &mtu, FlowTable: &v1alpha1.FlowTableOverride{Entries: &entries}, Routing: &v1alpha1.RoutingOverride{Mode: &mode},
				MasqueradeExceptions: []v1alpha1.CIDR{"x"},
			}
			replacement, forwarding, frontends, backends := v1alpha1.KubeProxyReplacement("On"), v1alpha1.ServiceForwarding("NAT"), v1alpha1.ServiceFrontends(0), v1alpha1.ServiceBackends(1)
			o.CNI.KubeProxyReplacement = &replacement
			o.CNI.Services = &v1alpha1.ServicesOverride{Forwarding: &forwarding, Frontends: &frontends, Backends: &backends}
			n.Spec.Overrides = []v1alpha1.ClusterOverride{o}
		}, []string{"spec.overrides[0].cni.mtu", "spec.overrides[0].cni.flowTable.entries", "spec.overrides[0].cni.routing.mode", "spec.overrides[0].cni.masqueradeExceptions[0]",
			"spec.overrides[0].cni.kubeProxyReplacement", "spec.overrides[0].cni.services.forwarding", "spec.overrides[0].cni.services.frontends", "spec.overrides[0].cni.services.backends"}},
		{"agents of which none would be replaced", agentsReplaced("0", ""), []string{"spec.rollout.agents", "maxUnavailable is 0, and so is maxSurge", "set one of them to at least 1 or 1%"}},
		{"agents of which none would be replaced, as shares", agentsReplaced("0%", "0%"), []string{"maxUnavailable is 0, and so is maxSurge"}},
		{"agents that end first and last", agentsReplaced("1", "1"),
			[]string{"spec.rollout.agents", "maxUnavailable and maxSurge are both more than 0", "set maxUnavailable to 0 to start new agents beside the old ones, or maxSurge to 0"}},
		{"agents that end first and last, as shares", agentsReplaced("10%", "1%"), []string{"maxUnavailable and maxSurge are both more than 0"}},
		{"a surge that is less than none", agentsReplaced("0", "-1"), []string{"spec.rollout.agents.maxSurge", "at least 0"}},
		{"nodes without an agent in words", agentsReplaced("many", ""), []string{"spec.rollout.agents.maxUnavailable", "such as 25%"}},
		{"a name too long to derive others from", func(n *v1alpha1.NetworkStack) {
			n.Name = "a-name-that-is-longer-than-fifty-two-characters-is-refused"
		}, []string{"metadata.name must have at most 52 characters"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			n := s.stack("refused", "lab")
			c.change(n)
			err := hub.Client.Create(s.ctx, n)
			g.Expect(apierrors.IsInvalid(err)).To(BeTrue(), "got %v", err)
			for _, w := range c.want {
				g.Expect(err.Error()).To(ContainSubstring(w))
			}
		})
	}
}

func TestAdmissionAccepts(t *testing.T) {
	s := begin(t)
	for _, c := range []struct {
		name   string
		change func(*v1alpha1.NetworkStack)
	}{
		{"the least", func(*v1alpha1.NetworkStack) {}},
		{"all clusters, said so", func(n *v1alpha1.NetworkStack) {
			n.Spec.ClusterSelector, n.Spec.AllClusters = metav1.LabelSelector{}, true
		}},
		{"the MTU's bounds", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.MTU = 9216 }},
		{"all of the CNI's fields", func(n *v1alpha1.NetworkStack) {
			no := false
			n.Spec.CNI = v1alpha1.CNISpec{
				Routing: v1alpha1.RoutingSpec{Mode: v1alpha1.RoutingNative}, FlowTable: v1alpha1.FlowTableSpec{Entries: 4194304},
				// Exceptions without masquerade have no effect and do no harm.
				Masquerade: &no, MasqueradeExceptions: []v1alpha1.CIDR{"10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0"},
				KubeProxyReplacement: v1alpha1.KubeProxyReplacementEnabled,
				Services:             v1alpha1.ServicesSpec{Forwarding: v1alpha1.ForwardingDSR, Frontends: 1048576, Backends: 1024},
			}
		}},
		{"an override that sets zero values", func(n *v1alpha1.NetworkStack) {
			o, mtu := nativeIn("one", "lab"), v1alpha1.MTU(0)
			o.CNI.MTU, o.CNI.MasqueradeExceptions = &mtu, []v1alpha1.CIDR{}
			n.Spec.Overrides = []v1alpha1.ClusterOverride{o}
		}},
		{"agents that end first", agentsReplaced("25%", "")},
		{"agents that end first, in so many words", agentsReplaced("1", "0")},
		{"a surge", agentsReplaced("", "1")},
		{"a surge, in so many words", agentsReplaced("0", "25%")},
		{"a pre-release", func(n *v1alpha1.NetworkStack) { n.Spec.Version = "v1.2.3-rc.1" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := s.stack("", "nobody")
			n.GenerateName = "accepted-"
			c.change(n)
			NewWithT(t).Expect(hub.Client.Create(s.ctx, n)).To(Succeed())
		})
	}
}

func TestAClusterStackHasTheNameOfItsCluster(t *testing.T) {
	s := begin(t)
	cs := s.clusterStack("alpha")
	cs.Spec = v1alpha1.ClusterStackSpec{NetworkStack: "lab", ClusterName: "bravo", Version: carried, PlanDigest: "x"}
	err := hub.Client.Create(s.ctx, cs)
	s.Expect(apierrors.IsInvalid(err)).To(BeTrue(), "got %v", err)
	s.Expect(err.Error()).To(ContainSubstring("metadata.name must be the same as spec.clusterName"))
}
