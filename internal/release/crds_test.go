// SPDX-License-Identifier: Apache-2.0

package release

import (
	"errors"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func words(version string, versions ...string) *unstructured.Unstructured {
	var all []any
	for _, v := range versions {
		all = append(all, map[string]any{"name": v})
	}
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "words.example.org"}, "spec": map[string]any{"versions": all},
	}}
	markCRD(o, "words", version)
	return o
}

func TestWhichCRDsAreApplied(t *testing.T) {
	for _, c := range []struct {
		name   string
		live   *unstructured.Unstructured
		stored []any
		change func(live *unstructured.Unstructured)
		want   *unstructured.Unstructured
		due    bool
		fails  string
	}{
		{name: "a new one", want: words("v1.0.0", "v1"), due: true},
		{name: "the same one", live: words("v1.0.0", "v1"), want: words("v1.1.0", "v1")},
		{name: "one of the operator before this one, which left no mark", live: words("", "v1"), change: func(o *unstructured.Unstructured) { o.SetAnnotations(nil) }, want: words("v1.0.0", "v1"), due: true},
		{name: "one that somebody changed", live: words("v1.0.0", "v1"), change: func(o *unstructured.Unstructured) {
			unstructured.RemoveNestedField(o.Object, "spec", "versions")
		}, want: words("v1.0.0", "v1"), due: true},
		{name: "a version more", live: words("v1.0.0", "v1"), want: words("v1.1.0", "v1", "v2"), stored: []any{"v1"}, due: true},
		{name: "a version less, of which nothing is stored", live: words("v1.0.0", "v1", "v2"), want: words("v1.1.0", "v2"), stored: []any{"v2"}, due: true},
		{name: "a version less, of which something is stored", live: words("v1.0.0", "v1", "v2"), want: words("v1.1.0", "v2"), stored: []any{"v1", "v2"}, fails: "v1"},
		{name: "that of an older chart", live: words("v1.1.0", "v1", "v2"), want: words("v1.0.0", "v1"), stored: []any{"v2"}},
		{name: "another of the same chart, as developers have it", live: words("v1.0.0", "v1"), want: words("v1.0.0", "v1", "v2"), due: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.change != nil {
				c.change(c.live)
			}
			if c.stored != nil {
				if err := unstructured.SetNestedSlice(c.live.Object, c.stored, "status", "storedVersions"); err != nil {
					t.Fatal(err)
				}
			}
			due, err := crdDue(c.live, c.want)
			var refused *CRDError
			if due != c.due || (err != nil) != (c.fails != "") || (err != nil && (!errors.As(err, &refused) || refused.Stored != c.fails)) {
				t.Errorf("got %t, %v; want %t and a failure for %q", due, err, c.due, c.fails)
			}
		})
	}
}

func TestCRDsAreNotWrittenAgainAndDoNotGoBack(t *testing.T) {
	s := begin(t)
	s.expect(Absent, Install)
	generations := func() map[string]int64 {
		out := map[string]int64{}
		for _, o := range s.chart.CRDs() {
			crd := &apiextensionsv1.CustomResourceDefinition{}
			if err := server.Client.Get(t.Context(), keyOf(o.GetName()), crd); err != nil {
				t.Fatal(err)
			}
			out[crd.Name+"/"+crd.ResourceVersion] = crd.Generation
		}
		return out
	}
	before := generations()
	s.set("mtu", 1300)
	s.wire = &wire{}
	s.expect(Outdated, Upgrade)
	if got := s.wire.crds.Load(); got != 0 {
		t.Errorf("%d writes of CRDs in which nothing changed", got)
	}
	for k, v := range generations() {
		if before[k] != v {
			t.Errorf("%s was written again", k)
		}
	}
}

// A CRD of Kubernetes' own API groups is somebody else's: one that serves the chart's versions
// is left as it is, and it stays, with the users' objects, when the chart's others go.
func TestCRDsOfKubernetesGroupsAreTheirOwners(t *testing.T) {
	s := begin(t)
	const name = "clusternetworkpolicies.policy.networking.k8s.io"
	s.expect(Absent, Install)
	crd := &apiextensionsv1.CustomResourceDefinition{}
	get := func() {
		t.Helper()
		if err := server.Client.Get(t.Context(), keyOf(name), crd); err != nil {
			t.Fatal(err)
		}
	}
	get()
	crd.Labels, crd.Spec.Names.ShortNames = nil, []string{"mine"}
	if err := server.Client.Update(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	s.set("mtu", 1300)
	s.expect(Outdated, Upgrade)
	if get(); len(crd.Spec.Names.ShortNames) != 1 || crd.Spec.Names.ShortNames[0] != "mine" {
		t.Errorf("the CRD that somebody else has installed is now %v", crd.Spec.Names)
	}
	if _, err := s.target().RemoveCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	if get(); crd.DeletionTimestamp != nil {
		t.Error("it is deleted with the chart's")
	}
	err := server.Client.Get(t.Context(), keyOf("nodenetworks.fairlead.io"), crd)
	if err == nil && crd.DeletionTimestamp == nil || client.IgnoreNotFound(err) != nil {
		t.Errorf("the chart's own stays: %v", err)
	}
	// The others of this package find it as the chart has it.
	get()
	crd.Labels, crd.Spec.Names.ShortNames = map[string]string{crdChart: s.chart.Name()}, []string{"cnp"}
	if err := server.Client.Update(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
}
