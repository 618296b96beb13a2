// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	runtimev1 "sigs.k8s.io/cluster-api/api/runtime/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/test/capi"
	"github.com/fairlead-io/fairlead/test/capi/run"
	"github.com/fairlead-io/fairlead/test/lab/progress"
)

// namespace has the Clusters.
const namespace = "fleet"

// hub is a management cluster: a real API server with Cluster API's and Fairlead's kinds.
type hub struct {
	t      *testing.T
	server *fleettest.Server
	client client.Client
	// dir has logs, certificates and kubeconfigs.
	dir string
	// deadline bounds each wait.
	deadline time.Duration
}

// begin starts a management cluster in which nothing runs yet.
func begin(t *testing.T) *hub {
	t.Helper()
	h := &hub{t: t, dir: t.TempDir(), deadline: 10 * time.Minute}
	if testing.Short() {
		h.deadline = 2 * time.Minute
	}
	var err error
	h.server, err = fleettest.Hub()
	h.must(err)
	t.Cleanup(func() {
		if err := h.server.Stop(); err != nil {
			t.Error(err)
		}
	})
	scheme := h.server.Client.Scheme()
	h.must(errors.Join(controlplanev1.AddToScheme(scheme), bootstrapv1.AddToScheme(scheme), runtimev1.AddToScheme(scheme)))
	h.client = h.server.Client
	h.must(h.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	return h
}

// clusterAPI starts Cluster API's managers.
func (h *hub) clusterAPI(providers ...capi.Provider) *run.Managers {
	h.t.Helper()
	admin, err := h.server.AddUser("managers")
	h.must(err)
	kubeconfig := filepath.Join(h.dir, "managers.kubeconfig")
	h.must(os.WriteFile(kubeconfig, admin, 0o600))
	ctx, cancel := context.WithTimeout(h.t.Context(), h.deadline)
	defer cancel()
	managers, err := run.Up(ctx, run.Setup{
		Source: capi.Source{Checkout: filepath.Join("..", ".."), Progress: progress.New(os.Stderr)},
		Client: h.client, Kubeconfig: kubeconfig, Dir: h.dir,
	}, providers...)
	h.must(err)
	h.t.Cleanup(func() {
		if err := managers.Stop(); err != nil {
			h.t.Error(err)
		}
	})
	return managers
}

// create creates the objects of a file in testdata.
func (h *hub) create(file string) {
	h.t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", file))
	h.must(err)
	for dec := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := dec.Decode(o); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			h.t.Fatalf("testdata/%s: %v", file, err)
		}
		o.SetNamespace(namespace)
		h.must(h.client.Create(h.t.Context(), o))
	}
}

func (h *hub) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// eventually waits until nothing is wrong; what holds says what still is, or nothing.
func (h *hub) eventually(what string, wrong func() string) {
	h.t.Helper()
	until := time.Now().Add(h.deadline)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		said := wrong()
		if said == "" {
			return
		}
		if time.Now().After(until) {
			h.t.Fatalf("waited %s until %s: %s", h.deadline, what, said)
		}
		<-tick.C
	}
}
