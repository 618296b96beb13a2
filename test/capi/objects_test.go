// SPDX-License-Identifier: Apache-2.0

package capi

import (
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fairlead-io/fairlead/test/lab/progress"
)

// here is this checkout.
func here() Source {
	return Source{Checkout: filepath.Join("..", ".."), Progress: progress.New(io.Discard)}
}

func config(t *testing.T, p Provider) string {
	t.Helper()
	dir, err := here().Config(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestObjects(t *testing.T) {
	for _, c := range []struct {
		provider  Provider
		kind      string // A CRD of it.
		contracts bool   // Others speak to its kinds by contract.
	}{
		{Core, "clusters.cluster.x-k8s.io", false},
		{KubeadmBootstrap, "kubeadmconfigs.bootstrap.cluster.x-k8s.io", true},
		{KubeadmControlPlane, "kubeadmcontrolplanes.controlplane.cluster.x-k8s.io", true},
		{Dev, "devclusters.infrastructure.cluster.x-k8s.io", true},
	} {
		t.Run(c.provider.Name, func(t *testing.T) {
			i := Installation{Name: c.provider.Name, Config: config(t, c.provider), Webhooks: "https://192.0.2.1:9443", CA: []byte("authority")}
			objects, err := i.Objects()
			if err != nil {
				t.Fatal(err)
			}
			at := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetName() == c.kind })
			if at < 0 {
				t.Fatalf("%s is not among %d objects", c.kind, len(objects))
			}
			crd := objects[at]
			if got := crd.GetLabels()["cluster.x-k8s.io/v1beta2"]; (got == "v1beta2") != c.contracts {
				t.Errorf("the contract v1beta2 is %q", got)
			}
			url, _, _ := unstructured.NestedString(crd.Object, "spec", "conversion", "webhook", "clientConfig", "url")
			if url != "https://192.0.2.1:9443/convert" {
				t.Errorf("it is converted by %q", url)
			}
		})
	}
}

func TestWebhooksAreReachedByURL(t *testing.T) {
	i := Installation{Name: Core.Name, Config: config(t, Core), Webhooks: "https://192.0.2.1:9443", CA: []byte("authority")}
	hooks, err := i.webhooks()
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, configuration := range hooks {
		if !strings.HasPrefix(configuration.GetName(), "cluster-api-") {
			t.Errorf("%s would be another provider's too", configuration.GetName())
		}
		list, _, _ := unstructured.NestedSlice(configuration.Object, "webhooks")
		for _, h := range list {
			client := h.(map[string]any)["clientConfig"].(map[string]any) //nolint:forcetypeassert // a panic says it
			if client["service"] != nil || client["caBundle"] != "YXV0aG9yaXR5" {
				t.Errorf("%s: %v", configuration.GetName(), client)
			}
			paths = append(paths, client["url"].(string)) //nolint:forcetypeassert // a panic says it
		}
	}
	if !slices.Contains(paths, "https://192.0.2.1:9443/mutate-cluster-x-k8s-io-v1beta2-cluster") {
		t.Errorf("nobody defaults Clusters: %v", paths)
	}
}

func TestWithoutWebhooksNothingIsConverted(t *testing.T) {
	objects, err := Installation{Name: Core.Name, Config: config(t, Core)}.Objects()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if _, found, _ := unstructured.NestedMap(o.Object, "spec", "conversion"); found || o.GetKind() != "CustomResourceDefinition" {
			t.Errorf("%s %s asks for a webhook", o.GetKind(), o.GetName())
		}
	}
}

func TestAFolderThatIsNoConfigIsNamed(t *testing.T) {
	dir := t.TempDir()
	if _, err := (Installation{Name: "x", Config: dir}).Objects(); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
}
