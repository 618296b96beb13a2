// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/helm"
	"github.com/fairlead-io/fairlead/internal/stack"
)

// agentContainer is the agent's on a cluster with a configuration, as the chart makes it of
// the operator's values.
func agentContainer(t *testing.T, cni v1alpha1.CNISpec) corev1.Container {
	t.Helper()
	values, err := stack.Values(&v1alpha1.ClusterStackSpec{Version: "v0.1.0", CNI: cni}, stack.Facts{
		Namespace: "ns", Name: "alpha", EndpointHost: "192.0.2.1", EndpointPort: 6443, PodCIDRs: []string{"10.244.0.0/16"},
	}, stack.Image{Repository: "r"}, stack.ModeRun)
	if err != nil {
		t.Fatal(err)
	}
	chart, err := helm.Load(os.DirFS(filepath.Join("..", "..", "charts")), "cni")
	if err != nil {
		t.Fatal(err)
	}
	files, err := chart.Render("r", "fairlead-system", values)
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range strings.Split(files["agent.yaml"], "\n---\n") {
		var d appsv1.DaemonSet
		if err := yaml.Unmarshal([]byte(doc), &d); err != nil {
			t.Fatal(err)
		}
		if d.Kind == "DaemonSet" {
			return d.Spec.Template.Spec.Containers[0]
		}
	}
	t.Fatal("the chart has no DaemonSet")
	return corev1.Container{}
}

// What a stack says must be what an agent is told: operator, chart and flags in a row.
func TestAStacksConfigurationReachesTheAgent(t *testing.T) {
	no := false
	for name, c := range map[string]struct {
		cni  v1alpha1.CNISpec
		want map[string]string
	}{
		"the defaults": {v1alpha1.CNISpec{}, map[string]string{
			"routing-mode": "Tunnel", "masquerade-exceptions": "[]", "flow-entries": "131072", "mtu": "0", "tunnel-port": "8472", "masquerade": "true",
		}},
		"everything": {v1alpha1.CNISpec{
			Routing: v1alpha1.RoutingSpec{Mode: v1alpha1.RoutingNative}, Tunnel: v1alpha1.TunnelSpec{Port: 4789}, MTU: 1400, Masquerade: &no,
			MasqueradeExceptions: []v1alpha1.CIDR{"192.0.2.0/24", "2001:db8::/32"}, FlowTable: v1alpha1.FlowTableSpec{Entries: 4194304},
		}, map[string]string{
			"routing-mode": "Native", "masquerade-exceptions": "[192.0.2.0/24,2001:db8::/32]", "flow-entries": "4194304", "mtu": "1400", "tunnel-port": "4789", "masquerade": "false",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NODE_NAME", "n1")
			args := agentContainer(t, c.cni).Args
			cmd := newAgentCommand()
			if err := cmd.ParseFlags(args[1:]); err != nil {
				t.Fatal(err)
			}
			for flag, want := range c.want {
				if got := cmd.Flags().Lookup(flag).Value.String(); got != want {
					t.Errorf("--%s is %s, want %s", flag, got, want)
				}
			}
		})
	}
}

// TestThePodFindsItsAgentsSocket: what the kubelet starts to ask an agent whether it has
// started is what this program has.
func TestThePodFindsItsAgentsSocket(t *testing.T) {
	a := agentContainer(t, v1alpha1.CNISpec{})
	found, args, err := newAgentCommand().Find(a.StartupProbe.Exec.Command[1:])
	if err != nil || found.Name() != "started" {
		t.Fatalf("%v starts %v, %v", a.StartupProbe.Exec.Command, found, err)
	}
	if err := found.ValidateArgs(args); err != nil {
		t.Error(err)
	}
}
