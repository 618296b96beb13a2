// SPDX-License-Identifier: Apache-2.0

package provider_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/test/capi"
	"github.com/fairlead-io/fairlead/test/capi/run"
	"github.com/fairlead-io/fairlead/test/lab/fleet"
	"github.com/fairlead-io/fairlead/test/lab/progress"
	"github.com/fairlead-io/fairlead/test/lab/provider"
)

// services are the ranges of the first cluster.
const services = "10.164.0.0/16,fd00:164::/112"

// patience is for two loaded processors.
const patience = time.Minute

// TestClustersAreBorn has Cluster API's own core manager and this provider make clusters out of
// Cluster objects. Machines are played; one API server is the hub's and that of every cluster.
func TestClustersAreBorn(t *testing.T) {
	hub, host := start(t)

	step := func(name string, f func(*testing.T)) { // One that fails leaves nothing for the next.
		if !t.Run(name, f) {
			t.FailNow()
		}
	}
	alpha := sample(t)
	if err := hub.Create(t.Context(), alpha); err != nil {
		t.Fatal(err)
	}
	step("a cluster without ranges waits, and says for what", func(t *testing.T) {
		eventually(t, func() error {
			return says(hub, "alpha", "Available", "RangesMissing", "spec.clusterNetwork.pods.cidrBlocks")
		})
		if got := host.controlPlane("alpha"); got.Version != "" {
			t.Errorf("a control plane was started: %+v", got)
		}
	})
	step("with ranges it has a control plane and nodes", func(t *testing.T) {
		change(t, hub, alpha, func() {
			alpha.Spec.ClusterNetwork.Pods.CIDRBlocks = []string{"fd00:64::/48", "10.64.0.0/16"}
			alpha.Spec.ClusterNetwork.Services.CIDRBlocks = strings.Split(services, ",")
		})
		eventually(t, func() error { return nodes(hub, host, 2) })
		got := host.controlPlane("alpha")
		if fmt.Sprint(got.Pods, got.Services) != "[10.64.0.0/16 fd00:64::/48] [10.164.0.0/16 fd00:164::/112]" {
			t.Errorf("the control plane has the ranges %v %v", got.Pods, got.Services)
		}
	})
	step("its kubeconfig Secret follows the contract", func(t *testing.T) {
		s := &corev1.Secret{}
		if err := hub.Get(t.Context(), client.ObjectKey{Namespace: fleet.Namespace, Name: "alpha-kubeconfig"}, s); err != nil {
			t.Fatal(err)
		}
		if s.Type != clusterv1.ClusterSecretType || s.Labels[clusterv1.ClusterNameLabel] != "alpha" || len(s.Data["value"]) == 0 {
			t.Errorf("type %s, labels %v, %d bytes", s.Type, s.Labels, len(s.Data["value"]))
		}
	})
	step("it has DNS, and kube-proxy only where it is wanted", func(t *testing.T) {
		if err := exists(hub, "Deployment", "coredns"); err != nil {
			t.Error(err)
		}
		if err := exists(hub, "DaemonSet", "kube-proxy"); !apierrors.IsNotFound(err) {
			t.Errorf("kube-proxy was not to be there: %v", err)
		}
	})
	step("routes follow its nodes", func(t *testing.T) {
		before := host.routed("alpha")
		node := &corev1.Node{}
		if err := hub.Get(t.Context(), client.ObjectKey{Name: host.nodes("alpha")[0]}, node); err != nil {
			t.Fatal(err)
		}
		was := node.DeepCopy()
		node.Spec.PodCIDRs = []string{"10.64.0.0/24", "fd00:64::/64"}
		node.Spec.PodCIDR = node.Spec.PodCIDRs[0]
		if err := hub.Patch(t.Context(), node, client.MergeFrom(was)); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			if host.routed("alpha") == before {
				return fmt.Errorf("routes were made %d times", before)
			}
			return nil
		})
	})
	step("it grows and shrinks", func(t *testing.T) {
		for _, n := range []int32{3, 1} {
			change(t, hub, alpha, func() { alpha.Spec.Topology.Workers.MachineDeployments[0].Replicas = &n })
			eventually(t, func() error { return nodes(hub, host, int(n)) })
		}
	})
	step("a version that is not built is named, and what runs goes on", func(t *testing.T) {
		change(t, hub, alpha, func() { alpha.Spec.Topology.Version = "v1.36.9" })
		eventually(t, func() error { return says(hub, "alpha", "Ready", "VersionNotBuilt", "LAB_KUBERNETES_ALSO") })
		if err := says(hub, "alpha", "Available", "Ready", ""); err != nil {
			t.Error(err)
		}
	})
	stuck := neverBooting(t, hub)
	step("a machine that never boots says so", func(t *testing.T) {
		eventually(t, func() error { return machinesSay(hub, "stuck", "NeverBoots") })
		if got := host.nodes("stuck"); len(got) > 0 {
			t.Errorf("nodes were started: %v", got)
		}
	})
	step("an upgrade is not done before the API server says so", func(t *testing.T) {
		change(t, hub, stuck, func() { stuck.Spec.Topology.Version = nextVersion })
		// A machine that is restarted has another API server; this one stays what it is.
		eventually(t, func() error { return says(hub, "stuck", "Available", "APIServerDoesNotAnswer", "runs "+version) })
		if got := host.controlPlane("stuck").Version; got != nextVersion {
			t.Errorf("the control plane was started with %s", got)
		}
	})
	step("what never came up can go", func(t *testing.T) {
		if err := hub.Delete(t.Context(), stuck); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { return gone(hub, stuck) })
	})
	step("it goes: nodes, control plane, the rest", func(t *testing.T) {
		host.forgetDeeds()
		if err := hub.Delete(t.Context(), alpha); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { return gone(hub, alpha) })
		got := strings.Join(host.deedsOf("alpha"), " ")
		if got != "remove-node remove-control-plane release" {
			t.Errorf("what was done, in this order: %s", got)
		}
	})
}

// neverBooting makes a cluster of a class whose machines never boot.
func neverBooting(t *testing.T, hub client.Client) *clusterv1.Cluster {
	t.Helper()
	template := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"neverBoots": true}}}}}
	template.SetAPIVersion("infrastructure.cluster.x-k8s.io/v1beta2")
	template.SetKind("LabMachineTemplate")
	template.SetNamespace(fleet.Namespace)
	template.SetName("never")
	lab := &clusterv1.ClusterClass{}
	if err := hub.Get(t.Context(), client.ObjectKey{Namespace: fleet.Namespace, Name: "lab"}, lab); err != nil {
		t.Fatal(err)
	}
	class := &clusterv1.ClusterClass{ObjectMeta: named("never"), Spec: lab.Spec}
	class.Namespace = fleet.Namespace
	class.Spec.Workers.MachineDeployments[0].Infrastructure.TemplateRef.Name = "never"
	cluster := sample(t)
	cluster.Name = "stuck"
	cluster.Spec.Topology.ClassRef.Name = "never"
	cluster.Spec.ClusterNetwork.Pods.CIDRBlocks = []string{"10.65.0.0/16", "fd00:65::/48"}
	cluster.Spec.ClusterNetwork.Services.CIDRBlocks = strings.Split(services, ",")
	for _, o := range []client.Object{template, class, cluster} {
		if err := hub.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	return cluster
}

// start runs an API server, Cluster API's core manager and the provider.
func start(t *testing.T) (client.Client, *played) {
	t.Helper()
	hub, admin := apiServer(t)
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, admin, 0o600); err != nil {
		t.Fatal(err)
	}
	source := capi.Source{Checkout: filepath.Join("..", "..", ".."), Progress: progress.New(io.Discard)}
	managers, err := run.Up(t.Context(), run.Setup{Source: source, Client: hub, Kubeconfig: kubeconfig, Dir: dir}, capi.Core)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := managers.Stop(); err != nil {
			t.Error(err)
		}
	})
	host := &played{client: hub, kubeconfig: kubeconfig, content: admin}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- provider.Run(ctx, kubeconfig, host) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	limited, done := context.WithTimeout(t.Context(), patience)
	defer done()
	if err := fleet.Manifest(limited, hub, provider.CRDs); err != nil { // After the provider: it waits.
		t.Fatal(err)
	}
	if err := hub.Create(limited, &corev1.Namespace{ObjectMeta: named(fleet.Namespace)}); err != nil {
		t.Fatal(err)
	}
	if err := fleet.Manifest(limited, hub, provider.Class); err != nil {
		t.Fatal(err)
	}
	return hub, host
}

// apiServer has the Service ranges of the test's clusters, and returns a kubeconfig.
func apiServer(t *testing.T) (client.Client, []byte) {
	t.Helper()
	scheme, err := fleettest.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	server := &envtest.Environment{}
	server.ControlPlane.GetAPIServer().Configure().Set("service-cluster-ip-range", services)
	config, err := server.Start()
	if err != nil {
		t.Fatalf("an API server for the test did not start (is KUBEBUILDER_ASSETS set? `make test-env` sees to that): %v", err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	config.QPS, config.Burst = 200, 400
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	admin, err := fleettest.Kubeconfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c, admin
}

// sample is the Cluster that people are shown, without kube-proxy.
func sample(t *testing.T) *clusterv1.Cluster {
	t.Helper()
	raw, err := os.ReadFile("manifests/cluster.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c := &clusterv1.Cluster{}
	if err := yaml.UnmarshalStrict(raw, c); err != nil {
		t.Fatal(err)
	}
	c.Spec.Topology.ControlPlane.Metadata.Annotations = map[string]string{"controlplane.cluster.x-k8s.io/skip-kube-proxy": ""}
	return c
}
