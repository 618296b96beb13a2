// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

func TestChangesSayWhatBecomesOfACluster(t *testing.T) {
	tunnel := v1alpha1.ClusterStackSpec{NetworkStack: "lab", ClusterName: "alpha", Version: carried}
	native := *tunnel.DeepCopy()
	native.CNI.Routing.Mode = v1alpha1.RoutingNative
	fixed := *native.DeepCopy()
	fixed.CNI.MTU = 1400
	served := *tunnel.DeepCopy()
	served.CNI.KubeProxyReplacement = v1alpha1.KubeProxyReplacementEnabled
	no, yes := false, true
	for _, c := range []struct {
		name   string
		from   v1alpha1.ClusterStackSpec
		change func(*v1alpha1.ClusterStackSpec)
		fields []string // "reason field: from -> to"
		words  []string // in the first change
	}{
		{"a default spelt out is no change", tunnel, func(s *v1alpha1.ClusterStackSpec) {
			s.CNI.Routing.Mode, s.CNI.Tunnel.Port, s.CNI.Masquerade, s.CNI.FlowTable.Entries = "Tunnel", 8472, &yes, 131072
		}, nil, nil},
		{"pausing is no change", tunnel, func(s *v1alpha1.ClusterStackSpec) { s.Paused = true }, nil, nil},
		{"to native routing", tunnel, func(s *v1alpha1.ClusterStackSpec) { s.CNI.Routing.Mode = "Native" },
			[]string{"RoutingChanged spec.cni.routing.mode: Tunnel -> Native"},
			[]string{"agents restart one after another", "pods keep their connections", "MTU of pods follows the new mode: the uplink's;",
				"must route each node's pod range to that node, unless the nodes share a network"}},
		{"back to the tunnel", native, func(s *v1alpha1.ClusterStackSpec) { s.CNI.Routing.Mode = "" },
			[]string{"RoutingChanged spec.cni.routing.mode: Native -> Tunnel"}, []string{"less the tunnel's overhead", "UDP port 8472 must be open"}},
		{"an MTU that is set stays", fixed, func(s *v1alpha1.ClusterStackSpec) { s.CNI.Routing.Mode = "Tunnel" },
			[]string{"RoutingChanged spec.cni.routing.mode: Native -> Tunnel"}, []string{"the MTU of pods is 1400"}},
		{"an MTU that is no longer set", fixed, func(s *v1alpha1.ClusterStackSpec) { s.CNI.MTU = 0 },
			[]string{"ConfigurationChanged spec.cni.mtu: 1400 -> 0 (the uplink's)"}, nil},
		{"everything else", tunnel, func(s *v1alpha1.ClusterStackSpec) {
			s.Version, s.CNI.Tunnel.Port, s.CNI.Masquerade, s.CNI.FlowTable.Entries = "v0.2.0", 4789, &no, 1<<20
			s.CNI.MasqueradeExceptions = []v1alpha1.CIDR{"192.0.2.0/24"}
		}, []string{
			"ConfigurationChanged spec.version: v0.1.0 -> v0.2.0",
			"ConfigurationChanged spec.cni.tunnel.port: 8472 -> 4789",
			"ConfigurationChanged spec.cni.masquerade: true -> false",
			"ConfigurationChanged spec.cni.masqueradeExceptions: none -> 192.0.2.0/24",
			"ConfigurationChanged spec.cni.flowTable.entries: 131072 -> 1048576",
		}, nil},
		{"Services are taken over", tunnel, func(s *v1alpha1.ClusterStackSpec) {
			s.CNI.KubeProxyReplacement, s.CNI.Services = "Enabled", v1alpha1.ServicesSpec{Forwarding: "DSR", Frontends: 1024, Backends: 1048576}
		}, []string{
			"ServicesChanged spec.cni.kubeProxyReplacement: Disabled -> Enabled",
			"ConfigurationChanged spec.cni.services.forwarding: SNAT -> DSR",
			"ConfigurationChanged spec.cni.services.frontends: 65536 -> 1024",
			"ConfigurationChanged spec.cni.services.backends: 262144 -> 1048576",
		}, []string{"kube-proxy is removed when the last of them has all Services in force"}},
		{"Services are handed back", served, func(s *v1alpha1.ClusterStackSpec) { s.CNI.KubeProxyReplacement = "" },
			[]string{"ServicesChanged spec.cni.kubeProxyReplacement: Enabled -> Disabled"},
			[]string{"until kube-proxy runs on every node again", "kubeadm init phase addon kube-proxy"}},
		{"what is of no effect is no change", tunnel, func(s *v1alpha1.ClusterStackSpec) { s.CNI.Services.Forwarding = "DSR" }, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := *c.from.DeepCopy()
			c.change(&to)
			var got []string
			changes := Changes(c.from, to)
			for _, one := range changes {
				got = append(got, one.Reason+" "+one.Field+": "+one.From+" -> "+one.To)
				if !strings.Contains(one.String(), one.Field+": "+one.From+" -> "+one.To+": agents restart") {
					t.Errorf("a person reads %q", one)
				}
			}
			if d := cmp.Diff(c.fields, got); d != "" {
				t.Fatal(d)
			}
			for _, w := range c.words {
				if !strings.Contains(changes[0].Effect, w) {
					t.Errorf("the effect %q lacks %q", changes[0].Effect, w)
				}
			}
		})
	}
}

func TestManyRangesFitAnEvent(t *testing.T) {
	var from, to v1alpha1.ClusterStackSpec
	for i := range 32 {
		long := v1alpha1.CIDR(fmt.Sprintf("2001:db8:ffff:ffff:ffff:ffff:ffff:ff%02x/128", i))
		from.CNI.MasqueradeExceptions = append(from.CNI.MasqueradeExceptions, long)
		to.CNI.MasqueradeExceptions = append([]v1alpha1.CIDR{long}, to.CNI.MasqueradeExceptions...)
	}
	if changes := Changes(from, to); len(changes) != 0 {
		t.Errorf("another order of the same ranges is a change: %v", changes)
	}
	to.CNI.MasqueradeExceptions[0] = "192.0.2.0/24"
	changes := Changes(from, to)
	if len(changes) != 1 || len(changes[0].String()) > 900 || !strings.Contains(changes[0].To, "192.0.2.0/24, ") || !strings.Contains(changes[0].To, "and 28 more") {
		t.Errorf("got %v", changes)
	}
}

func TestTheEffectOfOtherBackendsIsTheirMemory(t *testing.T) {
	from := v1alpha1.ClusterStackSpec{}
	from.CNI.KubeProxyReplacement = v1alpha1.KubeProxyReplacementEnabled
	to := *from.DeepCopy()
	to.CNI.Services.Backends = 524288
	changes := Changes(from, to)
	if len(changes) != 1 || !strings.Contains(changes[0].Effect, "takes 44 MiB") {
		t.Errorf("got %v", changes)
	}
}

func TestTheEffectOfAnotherTableIsItsMemory(t *testing.T) {
	to := v1alpha1.ClusterStackSpec{}
	to.CNI.FlowTable.Entries = 4194304
	changes := Changes(v1alpha1.ClusterStackSpec{}, to)
	if len(changes) != 1 || !strings.Contains(changes[0].Effect, "takes 512 MiB") {
		t.Errorf("got %v", changes)
	}
}
