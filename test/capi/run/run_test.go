// SPDX-License-Identifier: Apache-2.0

package run_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/test/capi"
	"github.com/fairlead-io/fairlead/test/capi/run"
	"github.com/fairlead-io/fairlead/test/lab/progress"
)

// hub is an API server, and how to start managers for it.
func hub(t *testing.T) (*fleettest.Server, run.Setup) {
	t.Helper()
	server, err := fleettest.Workload()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	admin, err := server.AddUser("managers")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, admin, 0o600); err != nil {
		t.Fatal(err)
	}
	source := capi.Source{Checkout: filepath.Join("..", "..", ".."), Progress: progress.New(os.Stderr)}
	return server, run.Setup{Source: source, Client: server.Client, Kubeconfig: kubeconfig, Dir: dir}
}

// TestCoreAlone has Cluster API's core manager default, refuse and convert Clusters, and then end.
func TestCoreAlone(t *testing.T) {
	server, setup := hub(t)
	// A Cluster's infrastructure needs a kind, and nobody who works on it.
	config, err := setup.Source.Config(t.Context(), capi.Dev)
	if err != nil {
		t.Fatal(err)
	}
	if err := capi.Install(t.Context(), server.Client, capi.Installation{Name: capi.Dev.Name, Config: config}); err != nil {
		t.Fatal(err)
	}
	managers, err := run.Up(t.Context(), setup, capi.Core)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := managers.Stop(); err == nil || !strings.Contains(err.Error(), "cluster-api ended") {
			t.Errorf("it is not said that the manager was killed: %v", err)
		}
	})
	cluster := func(name string) *clusterv1.Cluster {
		return &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: clusterv1.ClusterSpec{
			ControlPlaneEndpoint: clusterv1.APIEndpoint{Host: "192.0.2.1", Port: 6443},
			ClusterNetwork:       clusterv1.ClusterNetwork{Pods: clusterv1.NetworkRanges{CIDRBlocks: []string{"10.244.0.0/16"}}},
		}}
	}
	alpha := cluster("alpha")
	alpha.Spec.InfrastructureRef = clusterv1.ContractVersionedObjectReference{APIGroup: "infrastructure.cluster.x-k8s.io", Kind: "DevCluster", Name: "alpha"}
	if err := server.Client.Create(t.Context(), alpha); err != nil {
		t.Fatal(err)
	}
	wrong := cluster("wrong")
	wrong.Spec.ClusterNetwork.Pods.CIDRBlocks = []string{"10.244.0.0/99"}
	if err := server.Client.Create(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), "10.244.0.0/99") {
		t.Errorf("a range that is none is not refused: %v", err)
	}
	old := &unstructured.Unstructured{}
	old.SetAPIVersion("cluster.x-k8s.io/v1beta1")
	old.SetKind("Cluster")
	if err := server.Client.Get(t.Context(), client.ObjectKeyFromObject(alpha), old); err != nil {
		t.Fatalf("Clusters are not converted: %v", err)
	}
	if namespace, _, _ := unstructured.NestedString(old.Object, "spec", "infrastructureRef", "namespace"); namespace != "default" {
		t.Errorf("as v1beta1, it has infrastructure in the namespace %q", namespace)
	}

	core := managers.All[0]
	if mib, err := core.ResidentMiB(); err != nil || mib < 20 {
		t.Errorf("it uses %.0f MiB, %v", mib, err)
	}
	if err := core.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-core.Ended()
}

// TestAManagerThatEndsIsNotWaitedFor starts one that cannot reach its API server.
func TestAManagerThatEndsIsNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	source := capi.Source{Checkout: filepath.Join("..", "..", ".."), Progress: progress.New(io.Discard)}
	program, err := source.Program(t.Context(), capi.Core)
	if err != nil {
		t.Fatal(err)
	}
	m, err := run.Start(run.Options{Provider: capi.Core, Program: program, Kubeconfig: filepath.Join(dir, "none"), Webhooks: 1, Health: 1, Certificates: dir, Logs: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "cluster-api ended") {
		t.Errorf("it is not said that the manager ended: %v", err)
	}
	if err := m.Stop(); err == nil || !strings.Contains(err.Error(), "cluster-api ended") {
		t.Errorf("got %v", err)
	}
}
