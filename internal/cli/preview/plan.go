// SPDX-License-Identifier: Apache-2.0

package preview

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/stack"
)

// Input is what was read of the management cluster.
type Input struct {
	// Wanted is the NetworkStack as the API server would store it.
	Wanted *v1alpha1.NetworkStack
	// Live is the one that is there; nil: none.
	Live *v1alpha1.NetworkStack
	// Stacks, Clusters and ClusterStacks are all of the namespace.
	Stacks        []v1alpha1.NetworkStack
	Clusters      []stack.Cluster
	ClusterStacks []v1alpha1.ClusterStack
	// Versions are those that the operator can install; none: it does not say.
	Versions []string
}

// planned is what each cluster shall have when every wave has passed.
type planned struct {
	*stack.Plan
	// waves are their names in order, the last one "rest"; wave is each cluster's.
	waves []string
	wave  map[string]string
	// refusal says why the whole spec cannot be acted on.
	refusal error
}

// restWave is the wave of the clusters that no wave selects.
const restWave = "rest"

// plan is the one place that asks internal/stack.
func plan(in Input) (planned, error) {
	wanted := in.Wanted.DeepCopy()
	out := planned{wave: map[string]string{}}
	if v := wanted.Spec.Version; v != "" && len(in.Versions) > 0 && !slices.Contains(in.Versions, v) {
		out.refusal = fmt.Errorf("spec.version is %s, which the operator cannot install: set it to one of %v, or give the operator its chart", v, in.Versions)
	}
	clusters := withOverrides(wanted, in)
	p, err := stack.Make(wanted, in.Stacks, clusters, version(in))
	var selector *stack.InvalidSelectorError
	switch {
	case errors.As(err, &selector):
		out.Plan, out.refusal = &stack.Plan{}, err
		return out, nil
	case err != nil:
		return out, err
	}
	out.Plan = p
	return out, out.sortIntoWaves(wanted, clusters)
}

// version is the one that clusters shall run: that of the spec, or else the operator's own,
// which it reports for its stacks.
func version(in Input) string {
	out := in.Wanted.Spec.Version
	if in.Live != nil && in.Live.Spec.Version == "" {
		out = cmp.Or(out, in.Live.Status.Version)
	}
	for _, s := range in.Stacks {
		if s.Spec.Version == "" {
			out = cmp.Or(out, s.Status.Version)
		}
	}
	if in.Live != nil {
		out = cmp.Or(out, in.Live.Status.Version)
	}
	return cmp.Or(out, OperatorVersion)
}

// OperatorVersion stands for the version of an operator that does not say which it has.
const OperatorVersion = "the operator's"

// clusterLabel selects a single cluster, in memory only.
const clusterLabel = "preview.fairlead.io/cluster"

// withOverrides lays what owners have set at their ClusterStacks over the stack, as
// overrides that select one cluster.
func withOverrides(wanted *v1alpha1.NetworkStack, in Input) []stack.Cluster {
	clusters := make([]stack.Cluster, 0, len(in.Clusters))
	for _, c := range in.Clusters {
		c.Labels = maps.Clone(c.Labels)
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		c.Labels[clusterLabel] = c.Name
		clusters = append(clusters, c)
	}
	for i := range in.ClusterStacks {
		cs := &in.ClusterStacks[i]
		wanted.Spec.Overrides = append(wanted.Spec.Overrides, v1alpha1.ClusterOverride{
			Name: "owner-of-" + cs.Name, CNI: cs.Spec.Override,
			ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{clusterLabel: cs.Name}},
		})
	}
	return clusters
}

// sortIntoWaves gives each cluster the first wave that selects it.
func (p *planned) sortIntoWaves(wanted *v1alpha1.NetworkStack, clusters []stack.Cluster) error {
	selectors := make([]labels.Selector, 0, len(wanted.Spec.Rollout.Waves))
	for _, w := range wanted.Spec.Rollout.Waves {
		selector, err := metav1.LabelSelectorAsSelector(&w.ClusterSelector)
		if err != nil {
			p.refusal = errors.Join(p.refusal, fmt.Errorf("clusterSelector of spec.rollout.waves[name=%s] is not a valid label selector (%w): correct it", w.Name, err))
			selector = labels.Nothing()
		}
		selectors = append(selectors, selector)
		p.waves = append(p.waves, w.Name)
	}
	p.waves = append(p.waves, restWave)
	for _, c := range clusters {
		i := slices.IndexFunc(selectors, func(s labels.Selector) bool { return s.Matches(labels.Set(c.Labels)) })
		if i < 0 {
			i = len(selectors)
		}
		p.wave[c.Name] = p.waves[i]
	}
	return nil
}
