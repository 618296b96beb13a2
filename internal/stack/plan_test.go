// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

const carried = "v0.1.0"

func lab(name string, age time.Duration, env ...string) v1alpha1.NetworkStack {
	return v1alpha1.NetworkStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1_800_000_000, 0).Add(-age))},
		Spec: v1alpha1.NetworkStackSpec{ClusterSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "env", Operator: metav1.LabelSelectorOpIn, Values: env},
		}}},
	}
}

func in(name, env string) Cluster { return Cluster{Name: name, Labels: map[string]string{"env": env}} }

func names(p *Plan) (held, conflicts []string) {
	for _, c := range p.Clusters {
		held = append(held, c.Cluster)
	}
	for _, c := range p.Conflicts {
		conflicts = append(conflicts, c.Cluster+" by "+c.Holder)
	}
	return held, conflicts
}

func TestMake(t *testing.T) {
	deleted := lab("old", 9*time.Hour, "lab")
	deleted.DeletionTimestamp = &metav1.Time{Time: time.Unix(1_800_000_000, 0)}
	invalid := lab("broken", 9*time.Hour, "lab")
	invalid.Spec.ClusterSelector.MatchExpressions[0].Operator = "Maybe"
	all := lab("all", 0)
	all.Spec = v1alpha1.NetworkStackSpec{AllClusters: true}
	empty := lab("empty", 0)
	empty.Spec = v1alpha1.NetworkStackSpec{}
	clusters := []Cluster{in("bravo", "lab"), in("alpha", "lab"), in("charlie", "prod")}

	for _, c := range []struct {
		name            string
		stack           v1alpha1.NetworkStack
		others          []v1alpha1.NetworkStack
		held, conflicts []string
		selected        int
	}{
		{name: "selects by label, sorted", stack: lab("a", 0, "lab"), held: []string{"alpha", "bravo"}, selected: 2},
		{name: "selects all when it says so", stack: all, held: []string{"alpha", "bravo", "charlie"}, selected: 3},
		{name: "an empty selector selects nothing", stack: empty},
		{name: "the older keeps", stack: lab("young", time.Minute, "lab", "prod"), others: []v1alpha1.NetworkStack{lab("zold", time.Hour, "lab")},
			held: []string{"charlie"}, conflicts: []string{"alpha by zold", "bravo by zold"}, selected: 3},
		{name: "of two as old the first by name keeps", stack: lab("b", 0, "lab"), others: []v1alpha1.NetworkStack{lab("a", 0, "lab")},
			conflicts: []string{"alpha by a", "bravo by a"}, selected: 2},
		{name: "a stack that is deleted holds nothing", stack: lab("b", 0, "lab"), others: []v1alpha1.NetworkStack{deleted}, held: []string{"alpha", "bravo"}, selected: 2},
		{name: "a stack with an invalid selector holds nothing", stack: lab("b", 0, "lab"), others: []v1alpha1.NetworkStack{invalid}, held: []string{"alpha", "bravo"}, selected: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			stacks := append(slices.Clone(c.others), c.stack)
			p, err := Make(&c.stack, stacks, clusters, Versions{Own: carried})
			if err != nil {
				t.Fatal(err)
			}
			held, conflicts := names(p)
			if d := cmp.Diff(c.held, held); d != "" {
				t.Errorf("held: %s", d)
			}
			if d := cmp.Diff(c.conflicts, conflicts); d != "" {
				t.Errorf("conflicts: %s", d)
			}
			if p.Selected != c.selected {
				t.Errorf("selected %d, want %d", p.Selected, c.selected)
			}
			slices.Reverse(stacks)
			turned := slices.Clone(clusters)
			slices.Reverse(turned)
			again, err := Make(&c.stack, stacks, turned, Versions{Own: carried})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(p, again, cmpopts.IgnoreUnexported(Plan{})); d != "" {
				t.Errorf("the order of the inputs matters: %s", d)
			}
		})
	}
}

func TestMakeRefuses(t *testing.T) {
	s := lab("a", 0, "lab")
	s.Spec.Version = "v9.9.9"
	_, err := Make(&s, nil, nil, Versions{Own: carried})
	var v *VersionError
	if !errors.As(err, &v) || !strings.Contains(err.Error(), "charts of v0.1.0 only: set spec.version to one of them") {
		t.Errorf("got %v", err)
	}
	s = lab("a", 0, "lab")
	s.Spec.ClusterSelector.MatchExpressions[0].Operator = "Maybe"
	_, err = Make(&s, nil, nil, Versions{Own: carried})
	var i *InvalidSelectorError
	if !errors.As(err, &i) || !strings.Contains(err.Error(), `spec.clusterSelector of NetworkStack "a"`) {
		t.Errorf("got %v", err)
	}
}

func TestDigestFollowsTheConfiguration(t *testing.T) {
	s := lab("a", 0, "lab")
	digest := func(change func(*v1alpha1.NetworkStack)) (cluster, plan string) {
		n := s.DeepCopy()
		change(n)
		p, err := Make(n, nil, []Cluster{in("alpha", "lab")}, Versions{Own: carried})
		if err != nil {
			t.Fatal(err)
		}
		return p.Clusters[0].Spec.PlanDigest, p.Digest
	}
	base, basePlan := digest(func(*v1alpha1.NetworkStack) {})
	yes := true
	for name, same := range map[string]func(*v1alpha1.NetworkStack){
		"a default spelt out": func(n *v1alpha1.NetworkStack) { n.Spec.CNI.Tunnel.Port, n.Spec.CNI.Masquerade = 8472, &yes },
		"paused":              func(n *v1alpha1.NetworkStack) { n.Spec.Paused = true },
		"the version":         func(n *v1alpha1.NetworkStack) { n.Spec.Version = carried },
	} {
		if c, p := digest(same); c != base || p != basePlan {
			t.Errorf("%s changed the digest", name)
		}
	}
	if c, p := digest(func(n *v1alpha1.NetworkStack) { n.Spec.CNI.MTU = 1400 }); c == base || p == basePlan {
		t.Error("another MTU has the same digest")
	}
}

func TestHeir(t *testing.T) {
	other := lab("other", 0, "lab")
	foreign := lab("foreign", time.Hour, "lab")
	foreign.Spec.Version = "v9.9.9"
	gone := in("alpha", "lab")
	gone.Deleting = true
	for _, c := range []struct {
		name    string
		all     []v1alpha1.NetworkStack
		cluster Cluster
		want    string
	}{
		{"nobody else", []v1alpha1.NetworkStack{lab("me", 0, "lab")}, in("alpha", "lab"), ""},
		{"another one", []v1alpha1.NetworkStack{lab("me", 0, "lab"), other}, in("alpha", "lab"), "other"},
		{"not one that cannot act", []v1alpha1.NetworkStack{foreign, other}, in("alpha", "lab"), "other"},
		{"not for a Cluster that is deleted", []v1alpha1.NetworkStack{other}, gone, ""},
	} {
		if got := Heir("me", c.all, c.cluster, Versions{Own: carried}); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
