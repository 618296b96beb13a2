// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// TestCAFailedUpgradeRemovesNothing replays rancher#50921, where an upgrade that failed
// half-way uninstalled the network: the API server refuses an object of the chart after others
// were applied.
func TestCAFailedUpgradeRemovesNothing(t *testing.T) {
	folder := lab.Path("out", "charts", "cni-broken")
	chartThatBreaks(t, folder)
	startOperator(t, alone)
	installed(t, next)
	h := watch(t)
	apply(t, func(s *fairlead.NetworkStack) {
		s.Spec.Version = broken
		s.Spec.Rollout.Deadline = duration(20 * time.Second)
	})
	s := phase(t, 4*time.Minute, broken, fairlead.RolloutStopped)
	h.stop()
	t.Logf("breach: %s: %s", s.Status.Rollout.Breach.Reason, s.Status.Rollout.Breach.Message)
	h.never(t, broken, clusters[1:]...)
	h.allReady(t)
	runs(t, next)
}

// TestCNoBudgetForNodesIsRefused replays tigera/operator#5110, where maxUnavailable 0 was read
// as no limit and 22 of 29 nodes fell at once.
func TestCNoBudgetForNodesIsRefused(t *testing.T) {
	for _, amount := range []intstr.IntOrString{intstr.FromInt32(0), intstr.FromString("0%"), intstr.FromString("-1"), intstr.FromString("many")} {
		s := stack()
		s.Name = "no-budget"
		s.Spec.Rollout.Agents.MaxUnavailable = &amount
		if err := clientOf(t, testkit.Hub).Create(testkit.Within(t, time.Minute), s); err == nil {
			t.Errorf("maxUnavailable %s was accepted", amount.String())
		}
	}
}

// chartThatBreaks packs a chart of the broken version with an object that no API server
// takes, to be applied after the others.
func chartThatBreaks(t *testing.T, folder string) {
	t.Helper()
	t.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	if err := os.CopyFS(folder, os.DirFS(lab.Path("charts", "cni"))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "Chart.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"version: ", "appVersion: "} {
		i := bytes.Index(text, []byte("\n"+field))
		j := i + 1 + bytes.IndexByte(text[i+1:], '\n')
		text = append(append(bytes.Clone(text[:i+1]), field+broken[1:]...), text[j:]...)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	bad := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: bad, namespace: " + system + "}\nspec: {replicas: -1}\n"
	if err := os.WriteFile(filepath.Join(folder, "templates", "bad.yaml"), []byte(bad), 0o644); err != nil {
		t.Fatal(err)
	}
}
