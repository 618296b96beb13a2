// SPDX-License-Identifier: Apache-2.0

package capi_test

import (
	"io"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/test/capi"
	"github.com/fairlead-io/fairlead/test/lab/progress"
)

// TestInstall installs all providers on a bare API server, twice: kinds are served, and nobody
// can write them until their manager runs.
func TestInstall(t *testing.T) {
	server, err := fleettest.Workload()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	source := capi.Source{Checkout: filepath.Join("..", ".."), Progress: progress.New(io.Discard)}
	for range 2 {
		for _, p := range capi.Providers() {
			config, err := source.Config(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			// Nobody listens at the port 1.
			err = capi.Install(t.Context(), server.Client, capi.Installation{Name: p.Name, Config: config, Webhooks: "https://127.0.0.1:1"})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := server.Client.List(t.Context(), &clusterv1.ClusterList{}); err != nil {
		t.Errorf("Clusters are not served: %v", err)
	}
	err = server.Client.Create(t.Context(), &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "alpha"}}, client.DryRunAll)
	if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "webhook") {
		t.Errorf("a Cluster is written although its manager does not run: %v", err)
	}
}
