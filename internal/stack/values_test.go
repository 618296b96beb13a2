// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

func TestValues(t *testing.T) {
	no := false
	spec := &v1alpha1.ClusterStackSpec{Version: carried, CNI: v1alpha1.CNISpec{Tunnel: v1alpha1.TunnelSpec{Port: 8472}, MTU: 1400, Masquerade: &no,
		Routing: v1alpha1.RoutingSpec{Mode: v1alpha1.RoutingNative}, MasqueradeExceptions: []v1alpha1.CIDR{"192.0.2.0/24", "2001:db8::/32"},
		FlowTable: v1alpha1.FlowTableSpec{Entries: 16384}, KubeProxyReplacement: v1alpha1.KubeProxyReplacementEnabled,
		Services: v1alpha1.ServicesSpec{Forwarding: v1alpha1.ForwardingDSR, Frontends: 2000, Backends: 3000}}}
	whole := Facts{Namespace: "ns", Name: "alpha", EndpointHost: "192.0.2.1", EndpointPort: 6443, KubeconfigServer: "https://other:1", PodCIDRs: []string{"10.244.0.0/16", "fd00:244::1/56"}}
	got, err := Values(spec, whole, Image{Repository: "r/fairlead"}, ModeRun)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"image":       map[string]any{"repository": "r/fairlead", "tag": carried},
		"clusterName": "alpha",
		"agent":       map[string]any{"minReadySeconds": int64(10)},
		"apiServer":   map[string]any{"host": "192.0.2.1", "port": int64(6443)},
		"cluster":     map[string]any{"podCIDRs": []any{"10.244.0.0/16", "fd00:244::/56"}},
		"tunnel":      map[string]any{"port": int64(8472)},
		"mtu":         int64(1400),
		"masquerade":  false,
		"routing":     map[string]any{"mode": "Native"},
		"flowTable":   map[string]any{"entries": int64(16384)},
		"policies":    map[string]any{"entries": int64(131072), "peerWait": "500ms"},
		"services":    map[string]any{"enabled": true, "forwarding": "DSR", "frontends": int64(2000), "backends": int64(3000)},

		"masqueradeExceptions": []any{"192.0.2.0/24", "2001:db8::/32"},
		"mode":                 "run",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// A ClusterStack that an older operator wrote has none of the newer fields.
	former, err := Values(&v1alpha1.ClusterStackSpec{Version: carried}, whole, Image{}, ModeRun)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"routing": map[string]any{"mode": "Tunnel"}, "tunnel": map[string]any{"port": int64(8472)}, "masquerade": true,
		"masqueradeExceptions": []any{}, "flowTable": map[string]any{"entries": int64(131072)},
		"policies": map[string]any{"entries": int64(131072), "peerWait": "500ms"},
		"services": map[string]any{"enabled": false, "forwarding": "SNAT", "frontends": int64(65536), "backends": int64(262144)},
	} {
		if d := cmp.Diff(want, former[key]); d != "" {
			t.Errorf("%s: %s", key, d)
		}
	}

	for _, c := range []struct {
		name   string
		change func(*Facts)
		host   string
		port   int64
		reason string
		words  string
	}{
		{name: "the kubeconfig's server stands in", change: func(f *Facts) { f.EndpointHost, f.KubeconfigServer = "", "https://[2001:db8::1]:6443" }, host: "2001:db8::1", port: 6443},
		{name: "without a port it is HTTPS's", change: func(f *Facts) { f.EndpointHost, f.KubeconfigServer = "", "https://api.example" }, host: "api.example", port: 443},
		{name: "but not a loopback address", change: func(f *Facts) { f.EndpointHost, f.KubeconfigServer = "", "https://127.0.0.1:6443" },
			reason: v1alpha1.ReasonEndpointMissing, words: "set spec.controlPlaneEndpoint of the Cluster"},
		{name: "nor nonsense", change: func(f *Facts) { f.EndpointPort, f.KubeconfigServer = 0, "::" }, reason: v1alpha1.ReasonEndpointMissing, words: "Cluster ns/alpha"},
		{name: "no pod ranges", change: func(f *Facts) { f.PodCIDRs = nil }, reason: v1alpha1.ReasonPodCIDRsMissing, words: "Cluster ns/alpha has no spec.clusterNetwork.pods.cidrBlocks"},
		{name: "a malformed pod range", change: func(f *Facts) { f.PodCIDRs = []string{"10.0.0.0/8", "10.0.0.0"} },
			reason: v1alpha1.ReasonPodCIDRsInvalid, words: `spec.clusterNetwork.pods.cidrBlocks[1] of Cluster ns/alpha is "10.0.0.0"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := whole
			c.change(&f)
			v, err := Values(spec, f, Image{Repository: "r"}, ModeCleanup)
			var fe *FactsError
			switch {
			case c.reason == "" && err == nil:
				api := v["apiServer"].(map[string]any)
				if api["host"] != c.host || api["port"] != c.port {
					t.Errorf("got %v", api)
				}
			case !errors.As(err, &fe) || fe.Reason != c.reason || !strings.Contains(fe.Message, c.words):
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestHowAgentsAreReplacedBecomesValues(t *testing.T) {
	number := func(n int32) *intstr.IntOrString { v := intstr.FromInt32(n); return &v }
	percent := func(s string) *intstr.IntOrString { v := intstr.FromString(s); return &v }
	long := int32(60)
	for name, c := range map[string]struct {
		spec v1alpha1.AgentUpdateSpec
		want map[string]any
	}{
		"nothing said":              {v1alpha1.AgentUpdateSpec{}, map[string]any{"minReadySeconds": int64(10)}},
		"nodes without an agent":    {v1alpha1.AgentUpdateSpec{MaxUnavailable: percent("25%"), MinReadySeconds: &long}, map[string]any{"minReadySeconds": int64(60), "maxUnavailable": "25%"}},
		"a surge":                   {v1alpha1.AgentUpdateSpec{MaxSurge: number(2)}, map[string]any{"minReadySeconds": int64(10), "maxSurge": int64(2)}},
		"a surge, in so many words": {v1alpha1.AgentUpdateSpec{MaxSurge: percent("1%"), MaxUnavailable: number(0)}, map[string]any{"minReadySeconds": int64(10), "maxSurge": "1%"}},
		"no surge":                  {v1alpha1.AgentUpdateSpec{MaxSurge: number(0), MaxUnavailable: number(3)}, map[string]any{"minReadySeconds": int64(10), "maxSurge": int64(0), "maxUnavailable": int64(3)}},
		"no surge, said as a share": {v1alpha1.AgentUpdateSpec{MaxSurge: percent("0%"), MaxUnavailable: number(3)}, map[string]any{"minReadySeconds": int64(10), "maxSurge": "0%", "maxUnavailable": int64(3)}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, agentValues(c.spec)); d != "" {
				t.Error(d)
			}
		})
	}
}
