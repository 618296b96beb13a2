// SPDX-License-Identifier: Apache-2.0

package preview

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/stack"
)

// world is a stack of three waves with a cluster in each, at v0.1.0.
func world() Input {
	s := v1alpha1.NetworkStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "production", CreationTimestamp: metav1.Unix(1000, 0)},
		Spec:       v1alpha1.NetworkStackSpec{AllClusters: true},
		Status:     v1alpha1.NetworkStackStatus{Version: "v0.1.0"},
	}
	in := Input{Live: &s, Wanted: s.DeepCopy()}
	for _, name := range []string{"canary", "early"} {
		in.Wanted.Spec.Rollout.Waves = append(in.Wanted.Spec.Rollout.Waves, v1alpha1.WaveSpec{
			Name: name, ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{"wave": name}},
		})
	}
	in.Wanted.Spec.Rollout.Waves[1].Approval = v1alpha1.ApprovalRequired
	for _, c := range [][2]string{{"a", "canary"}, {"b", "early"}, {"c", "none"}} {
		name, wave := c[0], c[1]
		in.Clusters = append(in.Clusters, stack.Cluster{Name: name, Labels: map[string]string{"wave": wave}})
		in.ClusterStacks = append(in.ClusterStacks, v1alpha1.ClusterStack{
			ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: name},
			Spec:       v1alpha1.ClusterStackSpec{NetworkStack: "production", ClusterName: name, Version: "v0.1.0"},
			Status:     v1alpha1.ClusterStackStatus{Nodes: v1alpha1.NodeCounts{Total: 5}},
		})
	}
	in.Stacks = []v1alpha1.NetworkStack{s}
	return in
}

// at returns the ClusterStack of a cluster.
func (in *Input) at(name string) *v1alpha1.ClusterStack {
	for i := range in.ClusterStacks {
		if in.ClusterStacks[i].Name == name {
			return &in.ClusterStacks[i]
		}
	}
	panic(name)
}

// told is "wave/cluster action" of every cluster.
func told(r *Result) string {
	var out []string
	for _, c := range r.all() {
		out = append(out, fmt.Sprintf("%s/%s %s", c.Wave, c.Name, c.Action))
	}
	return strings.Join(out, ", ")
}

func TestMakeSaysWhatBecomesOfEachCluster(t *testing.T) {
	mtu := v1alpha1.MTU(1300)
	for _, c := range []struct {
		name    string
		change  func(*Input)
		want    string
		refusal string
	}{
		{"nothing", func(*Input) {}, "canary/a Keep, early/b Keep, rest/c Keep", ""},
		{"a version", func(in *Input) { in.Wanted.Spec.Version = "v0.1.1" }, "canary/a Update, early/b Update, rest/c Update", ""},
		{"one is pinned", func(in *Input) { in.Wanted.Spec.Version, in.at("b").Spec.Pinned = "v0.1.1", true }, "canary/a Update, early/b Pinned, rest/c Update", ""},
		{"one is overridden by its owners", func(in *Input) { in.at("c").Spec.Override.MTU = &mtu }, "canary/a Keep, early/b Keep, rest/c Update", ""},
		{"one is new", func(in *Input) { in.Clusters = append(in.Clusters, stack.Cluster{Name: "d"}) }, "canary/a Keep, early/b Keep, rest/c Keep, rest/d Install", ""},
		{"one is deleted", func(in *Input) { in.Clusters[0].Deleting = true }, "canary/a Leave, early/b Keep, rest/c Keep", ""},
		{"one leaves", func(in *Input) {
			in.Wanted.Spec.AllClusters = false
			in.Wanted.Spec.ClusterSelector.MatchLabels = map[string]string{"wave": "canary"}
		}, "canary/a Keep, /b Uninstall, /c Uninstall", ""},
		{"one leaves to another stack", func(in *Input) {
			in.Wanted.Spec.AllClusters = false
			in.Wanted.Spec.ClusterSelector.MatchLabels = map[string]string{"wave": "canary"}
			other := *in.Live.DeepCopy()
			other.Name, other.CreationTimestamp = "other", metav1.Unix(2000, 0)
			in.Stacks = append(in.Stacks, other)
		}, "canary/a Keep, /b HandOver, /c HandOver", ""},
		{"an older stack holds them", func(in *Input) {
			older := *in.Live.DeepCopy()
			older.Name, older.CreationTimestamp = "older", metav1.Unix(1, 0)
			in.Stacks = append(in.Stacks, older)
		}, "/a Refused, /b Refused, /c Refused", ""},
		{"one comes from another stack", func(in *Input) { in.at("a").Spec.NetworkStack = "other" }, "canary/a Take, early/b Keep, rest/c Keep", ""},
		{"a version that is not there", func(in *Input) {
			in.Wanted.Spec.Version, in.Stacks[0].Status.AvailableVersions = "v9.0.0", []string{"v0.1.1", "v0.1.0"}
		}, "", "v9.0.0, and this operator has charts of"},
		{"a lower version", func(in *Input) { in.Wanted.Spec.Version = "v0.0.9" }, "", "which is higher"},
		{"a selector that is none", func(in *Input) {
			in.Wanted.Spec.Rollout.Waves[0].ClusterSelector.MatchLabels = map[string]string{"a": "no such value!"}
		}, "", "spec.rollout.waves[name=canary] of NetworkStack"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := world()
			c.change(&in)
			got, err := Make(in)
			if err != nil {
				t.Fatal(err)
			}
			if text := told(got); text != c.want {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
			changes := slices.ContainsFunc([]string{"Update", "nstall", "Take", "HandOver"}, func(a string) bool { return strings.Contains(c.want, a) })
			if got.Changes() != changes {
				t.Errorf("Changes is %t of %s", got.Changes(), told(got))
			}
			refused := strings.Join(got.Refusals, "")
			if (c.refusal == "") != (refused == "") || !strings.Contains(refused, c.refusal) {
				t.Errorf("refusals %q, want %q", refused, c.refusal)
			}
		})
	}
}

func TestPrintPutsEqualClustersTogether(t *testing.T) {
	in := world()
	in.Wanted.Spec.Version = "v0.1.1"
	in.at("c").Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionConnected, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonUnreachable}}
	for i := range 997 {
		in.Clusters = append(in.Clusters, stack.Cluster{Name: fmt.Sprintf("new-%03d", i)})
	}
	r, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := Print(&b, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"NetworkStack fleet/production: v0.1.0 -> v0.1.1\n", "Wave early (1 cluster, begins when it is approved)",
		"~ update: a\n      spec.version: v0.1.0 -> v0.1.1: agents restart", "~ update: c (away: follows when its API server answers)",
		"+ install: new-000, new-001, new-002, new-003, new-004, new-005, new-006, new-007 and 989 more\n",
		"1000 clusters: 997 to install, 3 to update", "1 away. Agents restart on 15 nodes",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the text lacks %q", want)
		}
	}
	if b.Len() > 2048 {
		t.Errorf("%d bytes", b.Len())
	}
	if t.Failed() {
		t.Logf("%s", b.String())
	}
}
