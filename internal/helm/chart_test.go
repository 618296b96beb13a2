// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
)

func TestDiscoveryIsShared(t *testing.T) {
	server, err := fleettest.Workload()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop() //nolint:errcheck // the test ends here
	shared := &Discovery{}
	first, err := shared.Of(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	second, err := shared.Of(server.Config)
	if err != nil || first != second {
		t.Errorf("a second server of the version was asked again (%v)", err)
	}
	shared.Forget(first)
	if third, err := shared.Of(server.Config); err != nil || third == first {
		t.Errorf("it was not asked again after Forget (%v)", err)
	}
}

func TestChart(t *testing.T) {
	c := words(t)
	if c.Name() != "words" || c.Version() != "1.2.3" || len(c.CRDs()) != 1 || c.CRDs()[0].GetName() != "words.example.org" {
		t.Errorf("got %s %s with %d CRDs", c.Name(), c.Version(), len(c.CRDs()))
	}
	if words(t).Digest() != c.Digest() {
		t.Error("the same files have two digests")
	}
	for name, values := range map[string]map[string]any{
		"a value that is not known": {"wrod": "x"},
		"a value of another type":   {"word": 7},
		"an empty word":             {"word": ""},
	} {
		var refused *RefusedError
		if err := c.Validate(values); !errors.As(err, &refused) || !strings.Contains(err.Error(), "chart words refuses its values") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := c.Validate(map[string]any{"word": "x"}); err != nil {
		t.Error(err)
	}
	for name, fs := range map[string]fstest.MapFS{
		"malformed":     {"c/Chart.yaml": {Data: []byte("{")}},
		"not there":     {},
		"a broken CRD":  {"c/Chart.yaml": {Data: []byte("apiVersion: v2\nname: c\nversion: 1.0.0\n")}, "c/crds/x.yaml": {Data: []byte("kind: X")}},
		"no Chart.yaml": {"c/values.yaml": {Data: []byte("a: b")}},
	} {
		if _, err := Load(fs, "c"); err == nil {
			t.Errorf("a chart that is %s was loaded", name)
		}
	}
	if _, err := LoadArchive("x.tgz", strings.NewReader("no archive")); err == nil {
		t.Error("what is no archive was loaded")
	}
}

// TestUnknownValuesAreRefusedEverywhere looks for objects in our charts' schemas that would
// let a misspelt value pass.
func TestUnknownValuesAreRefusedEverywhere(t *testing.T) {
	// What Kubernetes, or Helm, defines is passed on as it is.
	passed := map[string]bool{"global": true, "resources": true, "nodeSelector": true, "affinity": true, "volume": true}
	var look func(at, name string, s map[string]any)
	look = func(at, name string, s map[string]any) {
		if s["type"] == "object" && s["additionalProperties"] != false && !passed[name] {
			t.Errorf("%s takes values that are not known: set additionalProperties to false", at)
		}
		properties, _ := s["properties"].(map[string]any)
		for k, v := range properties {
			if m, ok := v.(map[string]any); ok {
				look(at+"."+k, k, m)
			}
		}
	}
	for _, chart := range []string{"cni", "fairlead-operator"} {
		raw, err := os.ReadFile(filepath.Join("..", "..", "charts", chart, "values.schema.json"))
		if err != nil {
			t.Fatal(err)
		}
		var s map[string]any
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatal(err)
		}
		look(chart, "", s)
	}
}

func TestHowAgentsAreReplaced(t *testing.T) {
	c, err := Load(os.DirFS(filepath.Join("..", "..", "charts")), "cni")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name   string
		agent  map[string]any
		want   string
		fails  bool
		inMode string
	}{
		{name: "shares", agent: map[string]any{"maxUnavailable": "25%", "maxSurge": int64(0), "minReadySeconds": int64(10)}, want: "minReadySeconds: 10\n  updateStrategy:\n    type: RollingUpdate\n    rollingUpdate:\n      # Kubernetes takes one of the two only.\n      maxUnavailable: 25%\n      maxSurge: 0\n", inMode: "run"},
		{name: "a number", agent: map[string]any{"maxUnavailable": int64(3)}, want: "maxUnavailable: 3\n", inMode: "run"},
		{name: "nodes that are cleaned do not wait", agent: map[string]any{"maxUnavailable": int64(3), "minReadySeconds": int64(10)}, want: "minReadySeconds: 0\n  updateStrategy:\n    type: RollingUpdate\n    rollingUpdate:\n      # Kubernetes takes one of the two only.\n      maxUnavailable: 100%\n", inMode: "cleanup"},
		{name: "two agents on a node, which rules out a node without one", agent: map[string]any{"maxSurge": int64(1), "minReadySeconds": int64(10)}, want: "minReadySeconds: 10\n  updateStrategy:\n    type: RollingUpdate\n    rollingUpdate:\n      # Kubernetes takes one of the two only.\n      maxUnavailable: 0\n      maxSurge: 1\n", inMode: "run"},
		{name: "two agents on a share of the nodes", agent: map[string]any{"maxSurge": "25%", "maxUnavailable": int64(1)}, want: "maxUnavailable: 0\n      maxSurge: 25%\n", inMode: "run"},
		{name: "no share of the nodes", agent: map[string]any{"maxSurge": "0%", "maxUnavailable": int64(1)}, want: "maxUnavailable: 1\n      maxSurge: 0\n", inMode: "run"},
		{name: "nodes are cleaned by nobody beside an agent", agent: map[string]any{"maxSurge": int64(1)}, want: "maxUnavailable: 100%\n      maxSurge: 0\n", inMode: "cleanup"},
		{name: "a surge that is none", agent: map[string]any{"maxSurge": int64(-1)}, fails: true, inMode: "run"},
		{name: "none may be replaced", agent: map[string]any{"maxUnavailable": int64(0)}, fails: true, inMode: "run"},
	} {
		t.Run(v.name, func(t *testing.T) {
			files, err := c.Render("r", "ns", map[string]any{"clusterName": "a", "apiServer": map[string]any{"host": "192.0.2.1"}, "mode": v.inMode, "agent": v.agent})
			if (err != nil) != v.fails {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(files["agent.yaml"], v.want) {
				t.Errorf("got\n%s", files["agent.yaml"])
			}
		})
	}
}
