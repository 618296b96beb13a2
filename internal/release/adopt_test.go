// SPDX-License-Identifier: Apache-2.0

package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/kube"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
)

// byHand has Helm itself install the chart, as a person would.
func (s *story) byHand() *action.Configuration {
	s.t.Helper()
	kube.ManagedFieldsManager = "helm"
	flags := genericclioptions.NewConfigFlags(false)
	kubeconfig, err := server.AddUser("helm")
	if err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(s.t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, kubeconfig, 0o600); err != nil {
		s.t.Fatal(err)
	}
	ns := namespace
	flags.KubeConfig, flags.Namespace = &path, &ns
	cfg := &action.Configuration{}
	if err := cfg.Init(flags, namespace, "secret", s.t.Logf); err != nil {
		s.t.Fatal(err)
	}
	chart, err := loader.LoadDir(filepath.Join("..", "..", "charts", "cni"))
	if err != nil {
		s.t.Fatal(err)
	}
	i := action.NewInstall(cfg)
	i.ReleaseName, i.Namespace, i.SkipCRDs = releaseName, namespace, true
	if _, err := i.Run(chart, s.values); err != nil {
		s.t.Fatal(err)
	}
	return cfg
}

func TestAReleaseByHandIsTakenOver(t *testing.T) {
	s := begin(t)
	s.byHand()
	before := s.agents()
	s.wire = &wire{}
	s.expect(Unmarked, Adopt)
	if got := s.wire.writes.Load(); got != 1 {
		t.Errorf("%d writes, want one: of the labels", got)
	}
	s.expect(Current, None)
	if after := s.agents(); after.Generation != before.Generation || after.ResourceVersion != before.ResourceVersion {
		t.Error("the agents were touched")
	}
	if got := s.history(); got != "1:deployed" {
		t.Errorf("the history is %q", got)
	}

	// What Helm set as a whole, and the next revision does not set, goes all the same.
	s.values["services"] = map[string]any{"enabled": true}
	s.set("mtu", 1300)
	s.expect(Outdated, Upgrade)
	s.expect(Current, None)
	if got := s.agents().Generation - before.Generation; got != 1 {
		t.Errorf("the agents were changed %d times", got)
	}
	for _, e := range s.agents().ManagedFields {
		if e.Manager == "helm" {
			t.Errorf("fields are Helm's still: %s %s", e.Operation, e.FieldsV1)
		}
	}
}

func TestAReleaseByHandOfOtherValuesIsUpgraded(t *testing.T) {
	s := begin(t)
	s.values["services"] = map[string]any{"enabled": true}
	s.byHand()
	s.set("mtu", 0)
	s.expect(Outdated, Upgrade)
	s.expect(Current, None)
	r := &rbacv1.ClusterRole{}
	if err := server.Client.Get(t.Context(), keyOf("fairlead-agent"), r); err == nil {
		t.Error("a ClusterRole that only the release by hand had is left")
	}
	for _, v := range s.agents().Spec.Template.Spec.Volumes {
		if v.Name == "cgroup" {
			t.Error("a volume that only the release by hand had is left")
		}
	}
}

// TestHelmGoesOn has Helm itself work on a release that Fairlead made.
func TestHelmGoesOn(t *testing.T) {
	s := begin(t)
	s.expect(Absent, Install)
	s.set("mtu", 1300)
	s.expect(Outdated, Upgrade)
	kubeconfig, err := server.AddUser("helm")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	flags := genericclioptions.NewConfigFlags(false)
	flags.KubeConfig = &path
	cfg := &action.Configuration{}
	if err := cfg.Init(flags, namespace, "secret", t.Logf); err != nil {
		t.Fatal(err)
	}
	if r, err := action.NewGet(cfg).Run(releaseName); err != nil || r.Version != 2 || !strings.Contains(r.Manifest, "kind: DaemonSet") || r.Config["mtu"] == nil {
		t.Fatalf("Helm reads %+v, %v", r, err)
	}
	back := action.NewRollback(cfg)
	back.Version = 1
	if err := back.Run(releaseName); err != nil {
		t.Fatal(err)
	}
	s.agentsHave(0)
	s.settle()
	s.agentsHave(1300)
}
