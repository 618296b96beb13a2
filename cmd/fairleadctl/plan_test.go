// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/cli/preview"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
)

// file writes a NetworkStack with these lines below spec.
func (s *story) file(spec string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "stack.yaml")
	text := "apiVersion: fairlead.io/v1alpha1\nkind: NetworkStack\nmetadata:\n  name: production\nspec:\n  allClusters: true\n" + spec
	s.Expect(os.WriteFile(path, []byte(text), 0o600)).To(Succeed())
	return path
}

func (s *story) cluster(name, wave string) {
	fleettest.CreateCluster(s.ctx, s.t, management.Client, s.ns, name, map[string]string{"wave": wave}, "192.0.2.1", 6443)
}

func TestPlanSaysWhatWouldChange(t *testing.T) {
	s := begin(t)
	for name, wave := range map[string]string{"alpha": "canary", "bravo": "", "charlie": "", "delta": ""} {
		s.cluster(name, wave)
	}
	s.Expect(s.deploy("production", 1400, nil)).To(Succeed())
	live := s.read("production")
	s.rollout(live, underWay(v1alpha1.RolloutComplete))
	for _, name := range []string{"alpha", "bravo", "charlie"} {
		cs := s.clusterStack("production", name, "rest", metav1.ConditionTrue)
		cs.Spec.CNI.MTU, cs.Spec.Pinned = 1400, name == "charlie"
		s.Expect(management.Client.Update(s.ctx, cs)).To(Succeed())
	}
	waves := "  rollout:\n    waves:\n    - name: canary\n      clusterSelector: {matchLabels: {wave: canary}}\n"

	same := s.says("plan", "-f", s.file("  cni:\n    mtu: 1400\n"))
	s.Expect(same.code).To(BeZero(), same.err)
	s.Expect(same.out).To(And(ContainSubstring("1 to install, 0 to update"), ContainSubstring("3 unchanged, 0 pinned")))

	changed := s.file("  cni:\n    mtu: 1450\n" + waves)
	got := s.says("plan", "-f", changed, "--exit-code")
	s.Expect(got.code).To(Equal(2), got.err)
	s.Expect(got.err).To(BeEmpty())
	s.Expect(got.out).To(And(
		MatchRegexp(`(?s)Wave canary \(1 cluster\)\n  ~ update: alpha\n      spec.cni.mtu: 1400 -> 1450: agents restart.*Wave rest \(3 clusters\)`),
		MatchRegexp(`\+ install: delta`), MatchRegexp(`pinned: charlie \(its owners keep it at v0.1.0\)`),
		ContainSubstring("Agents restart on 6 nodes")))
	s.Expect(s.says("plan", "-f", changed).code).To(BeZero(), "only --exit-code makes changes a code")
	s.Expect(s.read("production").Spec.CNI.MTU).To(BeEquivalentTo(1400), "a plan stores nothing")

	// A field that the file no longer has is gone, since the plan is made as who applied it.
	got = s.says("plan", "-f", s.file(""))
	s.Expect(got.out).To(ContainSubstring("spec.cni.mtu: 1400 -> 0"))

	var results []preview.Result
	s.Expect(json.Unmarshal([]byte(s.says("plan", "-f", changed, "-o", "json").out), &results)).To(Succeed())
	s.Expect(results).To(HaveLen(1))
	s.Expect(results[0].Waves[0].Clusters[0].Changes[0].Field).To(Equal("spec.cni.mtu"))
}

func TestPlanOfANewStack(t *testing.T) {
	s := begin(t)
	s.cluster("alpha", "")
	got := s.says("plan", "-f", s.file(""), "--exit-code")
	s.Expect(got.code).To(Equal(2), got.err)
	s.Expect(got.out).To(And(ContainSubstring("production: new, version the operator's"), ContainSubstring("+ install: alpha")))
}

func TestPlanSaysWhatIsWrong(t *testing.T) {
	s := begin(t)
	for _, c := range []struct{ name, spec, want string }{
		{"a field that is not there", "  cnii: {}\n", `stack.yaml: line 7: unknown field "spec.cnii"`},
		{"a value that the API server refuses", "  cni:\n    mtu: 12\n", "mtu must be 0"},
		{"two ways to select", "  clusterSelector: {matchLabels: {a: b}}\n", "exclude each other"},
		{"a selector that is none", "  overrides:\n  - name: x\n    clusterSelector: {matchLabels: {a: 'no such value!'}}\n", "the operator would refuse the spec"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := s.says("plan", "-f", s.file(c.spec))
			NewWithT(t).Expect(got.err).To(ContainSubstring(c.want), fmt.Sprint(got))
			NewWithT(t).Expect(got.code).To(Equal(1))
		})
	}
	s.Expect(s.says("plan", "-f", "/nowhere.yaml").err).To(ContainSubstring("--filename: open /nowhere.yaml"))
	s.Expect(s.saysTo("a: b", "plan", "-f", "-").err).To(ContainSubstring("no document of kind NetworkStack"))
	s.Expect(s.saysTo("apiVersion: fairlead.io/v1alpha1\nkind: NetworkStack\nmetadata: {name: a, namespace: elsewhere}\nspec: {allClusters: true}", "plan", "-f", "-").err).To(
		ContainSubstring("is of namespace elsewhere and not of " + s.ns))
}
