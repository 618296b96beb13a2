// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
)

var server *fleettest.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if server, err = fleettest.Workload(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer server.Stop() //nolint:errcheck // the process ends here
	return m.Run()
}

func words(t *testing.T) *Chart {
	t.Helper()
	c, err := Load(os.DirFS("testdata"), "chart")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// begin makes a namespace and a client for it.
func begin(t *testing.T) (*Client, string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "h-"}}
	if err := server.Client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	c, err := New(server.Config, ns.Name, &Discovery{}, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	return c, ns.Name
}

// word is the value in the ConfigMap word, "" when it is not there.
func word(t *testing.T, ns string) string {
	t.Helper()
	cm := &corev1.ConfigMap{}
	err := server.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "word"}, cm)
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return cm.Data["word"]
}

func get(t *testing.T, c *Client) *Release {
	t.Helper()
	r, err := c.Get(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheLifeOfARelease(t *testing.T) {
	c, ns := begin(t)
	chart := words(t)
	if r := get(t, c); r != nil {
		t.Fatalf("got %v before the installation", r)
	}
	r, err := c.Install(t.Context(), "r", chart, map[string]any{"word": "one"}, "d1")
	if err != nil || word(t, ns) != "one" {
		t.Fatalf("installed %q, %v", word(t, ns), err)
	}
	if *r != *get(t, c) || r.Revision != 1 || r.Status != StatusDeployed || r.Digest != "d1" || r.ChartVersion != "1.2.3" {
		t.Errorf("got %+v, stored %+v", r, get(t, c))
	}
	for i := 2; i <= 5; i++ {
		if r, err = c.Upgrade(t.Context(), "r", chart, map[string]any{"word": fmt.Sprint(i)}, fmt.Sprint("d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if r.Revision != 5 || r.Digest != "d5" || word(t, ns) != "5" {
		t.Errorf("got %+v with %q", r, word(t, ns))
	}
	var history corev1.SecretList
	if err := server.Client.List(t.Context(), &history, client.InNamespace(ns), client.MatchingLabels{"owner": "helm"}); err != nil {
		t.Fatal(err)
	}
	if len(history.Items) != maxHistory {
		t.Errorf("%d revisions are kept, want %d", len(history.Items), maxHistory)
	}
	if err := c.Uninstall(t.Context(), "r"); err != nil || word(t, ns) != "" || get(t, c) != nil {
		t.Errorf("after the removal: %q, %v, %v", word(t, ns), get(t, c), err)
	}
	if err := c.Uninstall(t.Context(), "r"); err != nil {
		t.Errorf("removing it again: %v", err)
	}
}

func TestAnInterruptedActionIsHealed(t *testing.T) {
	for _, status := range []release.Status{release.StatusPendingInstall, release.StatusPendingUpgrade, release.StatusPendingRollback} {
		t.Run(string(status), func(t *testing.T) {
			c, ns := begin(t)
			chart := words(t)
			if _, err := c.Install(t.Context(), "r", chart, map[string]any{"word": "one"}, "d1"); err != nil {
				t.Fatal(err)
			}
			stored, err := c.releases.Last("r")
			if err != nil {
				t.Fatal(err)
			}
			stored.Info.Status = status
			if err := c.releases.Update(stored); err != nil {
				t.Fatal(err)
			}
			// What the interrupted action had not got to.
			if err := server.Client.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "word"}}); err != nil {
				t.Fatal(err)
			}
			if !get(t, c).Status.Pending() {
				t.Fatalf("got %+v", get(t, c))
			}
			if _, err := c.Upgrade(t.Context(), "r", chart, map[string]any{"word": "two"}, "d2"); err == nil {
				t.Fatal("Helm upgraded a pending release, so healing is not needed any more")
			}
			if err := c.MarkFailed(t.Context(), "r", "cut off"); err != nil {
				t.Fatal(err)
			}
			if r := get(t, c); r.Status != StatusFailed || r.Digest != "d1" {
				t.Errorf("got %+v", r)
			}
			if r, err := c.Upgrade(t.Context(), "r", chart, map[string]any{"word": "two"}, "d2"); err != nil || r.Status != StatusDeployed || word(t, ns) != "two" {
				t.Errorf("got %+v with %q, %v", r, word(t, ns), err)
			}
		})
	}
}

func TestAFailedUpgradeIsUpgradedFrom(t *testing.T) {
	c, ns := begin(t)
	chart := words(t)
	if _, err := c.Install(t.Context(), "r", chart, nil, "d1"); err != nil {
		t.Fatal(err)
	}
	// The API server refuses the name of an object.
	if _, err := c.Upgrade(t.Context(), "r", chart, map[string]any{"more": []any{"Not_A_Name"}}, "d2"); err == nil {
		t.Fatal("an object with an impossible name was accepted")
	}
	if r := get(t, c); r.Status != StatusFailed || r.Digest != "d2" {
		t.Errorf("got %+v", r)
	}
	if r, err := c.Upgrade(t.Context(), "r", chart, map[string]any{"word": "good"}, "d3"); err != nil || r.Status != StatusDeployed || word(t, ns) != "good" {
		t.Errorf("got %+v with %q, %v", r, word(t, ns), err)
	}
}

func TestDiscoveryIsShared(t *testing.T) {
	shared := &Discovery{}
	first, version, err := shared.of(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := shared.of(server.Config)
	if err != nil || first != second {
		t.Errorf("a second server of version %s was asked again (%v)", version, err)
	}
	shared.forget(version)
	if third, _, err := shared.of(server.Config); err != nil || third == first {
		t.Errorf("it was not asked again after forget (%v)", err)
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
	if _, err := Load(fstest.MapFS{"c/Chart.yaml": {Data: []byte("{")}}, "c"); err == nil {
		t.Error("a malformed chart was loaded")
	}
	if _, err := Load(fstest.MapFS{}, "c"); err == nil {
		t.Error("a chart that is not there was loaded")
	}
}
