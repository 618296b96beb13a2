// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"strings"
	"testing"
)

const good = `# a comment
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
---
apiVersion: fairlead.io/v1alpha1
kind: NetworkStack
metadata:
  name: production
spec:
  allClusters: true
  overrides:
  - name: a
    clusterSelector: {matchLabels: {site: a}}
  - name: b
    clusterSelector: {matchLabels: {site: b}}
    cni:
      mtu: 1400
`

func TestReadFindsTheStacksOfAFile(t *testing.T) {
	got, err := Read([]byte(good + "---\n" + good[strings.Index(good, "---")+4:]))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Stack.Name != "production" || got[0].Line != 6 || len(got[1].Stack.Spec.Overrides) != 2 {
		t.Errorf("got %+v", got)
	}
	if strings.Contains(string(got[0].JSON), "status") {
		t.Errorf("a default was filled in: %s", got[0].JSON)
	}
}

func TestReadNamesFieldAndLine(t *testing.T) {
	for _, c := range []struct {
		name     string
		was, is  string
		wantText string
	}{
		{"a field that is not there", "allClusters: true", "allCluster: true", `line 11: unknown field "spec.allCluster"`},
		{"one in a list", "mtu: 1400", "mut: 1400", `line 18: unknown field "spec.overrides[1].cni.mut"`},
		{"a wrong type", "allClusters: true", `allClusters: "yes"`, "line 11: spec.allClusters is a string"},
		{"a wrong type in a list", "mtu: 1400", "mtu: big", "line 12: spec.overrides.cni.mtu is a string"},
		{"a field twice", "allClusters: true", "allClusters: true\n  allClusters: true", "line 12: key \"allClusters\" already set"},
		{"no name", "name: production", "namespace: x", "the NetworkStack at line 6 has no metadata.name"},
		{"another version", "fairlead.io/v1alpha1", "fairlead.io/v1", "set it to fairlead.io/v1alpha1"},
		{"no stack", "kind: NetworkStack", "kind: Network", "no document of kind NetworkStack"},
		{"no YAML", "spec:", "spec: [", "is no YAML"},
		{"no object", "apiVersion: v1\n", "- 1\n- ", "line"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(good, c.was, c.is, 1)
			if text == good {
				t.Fatalf("%q is not in the file", c.was)
			}
			_, err := Read([]byte(text))
			if err == nil || !strings.Contains(err.Error(), c.wantText) {
				t.Errorf("got %v, want %q in it", err, c.wantText)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("---\n---\n{}"))
	f.Add([]byte(`{"apiVersion":"fairlead.io/v1alpha1","kind":"NetworkStack","metadata":{"name":"a"},"spec":{"x":[{}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Read(data)
		if err == nil && len(got) == 0 {
			t.Error("neither a stack nor an error")
		}
		for _, d := range got {
			if d.Stack.Name == "" || d.Line < 1 {
				t.Errorf("got %+v", d)
			}
		}
	})
}
