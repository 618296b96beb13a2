// SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
)

const namespace = "fleet"

// apply creates every object of a file; those without a namespace of their own are put
// into the fleet's if they are of a kind that has one.
func apply(t *testing.T, c client.Client, path ...string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	dec := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
	for {
		o := &unstructured.Unstructured{}
		if err := dec.Decode(o); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(o.GetKind(), "Role") {
			o.SetNamespace(namespace)
		}
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
}

// as is a client of somebody.
func as(t *testing.T, hub *fleettest.Server, user string, groups ...string) client.Client {
	t.Helper()
	cfg := rest.CopyConfig(hub.Config)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	c, err := client.New(cfg, client.Options{Scheme: hub.Client.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func clusterStack(name string) *v1alpha1.ClusterStack {
	return &v1alpha1.ClusterStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.ClusterStackSpec{NetworkStack: "production", ClusterName: name, Version: "v0.1.0", PlanDigest: "aaaa"},
	}
}

// begin starts a management cluster with the policy, the roles, and two clusters of a stack.
func begin(t *testing.T) *fleettest.Server {
	t.Helper()
	hub, err := fleettest.Hub()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hub.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := hub.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alpha", "bravo"} {
		if err := hub.Client.Create(t.Context(), clusterStack(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"platform", "team", "viewer"} {
		apply(t, hub.Client, "config", "samples", "tenancy", file+".yaml")
	}
	apply(t, hub.Client, "config", "admission", "clusterstacks.yaml")
	waitForPolicy(t, hub)
	return hub
}

// waitForPolicy returns once the API server enforces the policy, which it reads after a while.
func waitForPolicy(t *testing.T, hub *fleettest.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := hub.Client.Create(ctx, clusterStack("probe"), client.DryRunAll)
		if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the policy is not enforced: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestWhoMayChangeWhat(t *testing.T) {
	hub := begin(t)
	people := map[string]client.Client{
		"an administrator": as(t, hub, "root", "system:masters"),
		"the platform":     as(t, hub, "petra", "platform"),
		"the team":         as(t, hub, "tom", "team-alpha"),
		"a viewer":         as(t, hub, "vera", "developers"),
		"nobody":           as(t, hub, "nora"),
	}
	operator, err := client.New(hub.Operator(), client.Options{Scheme: hub.Client.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	people["the operator"] = operator
	for _, c := range []struct {
		who, cluster, patch string
		// refused is in the message of a refusal; empty: it is allowed.
		refused string
	}{
		{"the team", "alpha", `{"spec":{"pinned":true}}`, ""},
		{"the team", "alpha", `{"spec":{"override":{"mtu":1400}}}`, ""},
		{"the team", "alpha", `{"spec":{"override":null,"pinned":false}}`, ""},
		{"the team", "alpha", `{"metadata":{"annotations":{"fairlead.io/kube-proxy-returned":"true"}}}`, ""},
		{"the team", "alpha", `{"spec":{"version":"v9.0.0"}}`, "spec.version of ClusterStack alpha is written by the operator: change NetworkStack production"},
		{"the team", "alpha", `{"spec":{"pinned":true,"cni":{"mtu":1400}}}`, "spec.cni of ClusterStack alpha"},
		{"the team", "alpha", `{"spec":{"networkStack":"mine"}}`, "change NetworkStack production"},
		{"the team", "bravo", `{"spec":{"pinned":true}}`, `cannot patch resource "clusterstacks"`},
		{"the platform", "bravo", `{"spec":{"pinned":true}}`, ""},
		{"the platform", "bravo", `{"spec":{"version":"v9.0.0"}}`, "written by the operator"},
		{"an administrator", "bravo", `{"spec":{"version":"v9.0.0"}}`, "written by the operator"},
		{"an administrator", "bravo", `{"metadata":{"finalizers":["fairlead.io/uninstall"]}}`, ""},
		{"an administrator", "bravo", `{"metadata":{"finalizers":null}}`, ""},
		{"a viewer", "alpha", `{"spec":{"pinned":true}}`, `cannot patch resource "clusterstacks"`},
		{"nobody", "alpha", `{"spec":{"pinned":true}}`, `cannot patch resource "clusterstacks"`},
		{"the operator", "alpha", `{"spec":{"version":"v0.1.1","cni":{"mtu":1400}}}`, ""},
	} {
		t.Run(fmt.Sprintf("%s changes %s by %s", c.who, c.cluster, c.patch), func(t *testing.T) {
			err := people[c.who].Patch(t.Context(), clusterStack(c.cluster), client.RawPatch(types.MergePatchType, []byte(c.patch)))
			if c.refused == "" && err != nil || c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
				t.Errorf("got %v, want %q", err, c.refused)
			}
		})
	}

	t.Run("people do not make ClusterStacks", func(t *testing.T) {
		err := people["an administrator"].Create(t.Context(), clusterStack("charlie"))
		if err == nil || !strings.Contains(err.Error(), "have a NetworkStack select the Cluster") {
			t.Errorf("got %v", err)
		}
		if err := operator.Create(t.Context(), clusterStack("charlie")); err != nil {
			t.Errorf("the operator: %v", err)
		}
	})
	t.Run("an administrator deletes one", func(t *testing.T) {
		if err := people["an administrator"].Delete(t.Context(), clusterStack("charlie")); err != nil {
			t.Error(err)
		}
	})
	t.Run("a status is nobody's spec", func(t *testing.T) {
		if err := operator.Status().Patch(t.Context(), clusterStack("alpha"), client.RawPatch(types.MergePatchType, []byte(`{"status":{"nodes":{"total":3}}}`))); err != nil {
			t.Error(err)
		}
	})
	t.Run("viewers see the fleet, and the team does not see all of it", func(t *testing.T) {
		if err := people["a viewer"].List(t.Context(), &v1alpha1.ClusterStackList{}, client.InNamespace(namespace)); err != nil {
			t.Error(err)
		}
		if err := people["the team"].List(t.Context(), &v1alpha1.ClusterStackList{}, client.InNamespace(namespace)); !apierrors.IsForbidden(err) {
			t.Errorf("got %v", err)
		}
	})
}
