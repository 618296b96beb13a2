// SPDX-License-Identifier: Apache-2.0

package preview

import (
	"cmp"
	"errors"

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
}

// OperatorVersion stands for the version of an operator that does not say which it has.
const OperatorVersion = "the operator's"

// planned is what each cluster shall have when every wave has passed.
type planned struct {
	*stack.Plan
	waves []stack.WavePreview
	// refusal says why the spec cannot be acted on.
	refusal error
	// versions are those that the operator can install, as far as it says.
	versions stack.Versions
}

// plan is the one place that asks internal/stack.
func plan(in Input) (planned, error) {
	out := planned{Plan: &stack.Plan{}, versions: versionsOf(in)}
	existing := map[string]*v1alpha1.ClusterStack{}
	for i := range in.ClusterStacks {
		if cs := &in.ClusterStacks[i]; cs.DeletionTimestamp == nil {
			existing[cs.Name] = cs
		}
	}
	p, err := stack.Make(in.Wanted, in.Stacks, in.withOverrides(), out.versions)
	if err != nil {
		var selector *stack.InvalidSelectorError
		var version *stack.VersionError
		var rollout *stack.RolloutError
		if errors.As(err, &selector) || errors.As(err, &version) || errors.As(err, &rollout) {
			out.refusal, err = err, nil
		}
		return out, err
	}
	out.Plan, out.waves = p, stack.Preview(p, existing)
	out.refusal = stack.CheckDowngrade(in.Wanted, p, existing)
	return out, nil
}

// withOverrides are the Clusters with what their owners have set at their ClusterStacks.
func (in Input) withOverrides() []stack.Cluster {
	overrides := map[string]v1alpha1.CNIOverride{}
	for _, cs := range in.ClusterStacks {
		overrides[cs.Name] = cs.Spec.Override
	}
	out := make([]stack.Cluster, 0, len(in.Clusters))
	for _, c := range in.Clusters {
		c.Override = overrides[c.Name]
		out = append(out, c)
	}
	return out
}

// available is the list of versions that the operator reports at its stacks, highest first.
func (in Input) available() (out []string) {
	for _, s := range in.Stacks {
		if len(s.Status.AvailableVersions) > 0 {
			out = s.Status.AvailableVersions
		}
	}
	return out
}

// versionsOf finds out which versions there are. An operator that has never reported on a
// stack has not said; what is wanted is taken for granted then.
func versionsOf(in Input) stack.Versions {
	out := stack.Versions{Available: in.available()}
	if len(out.Available) == 0 && in.Wanted.Spec.Version != "" {
		out.Available = []string{in.Wanted.Spec.Version}
	}
	for _, s := range in.Stacks {
		if s.Spec.Version == "" && s.Status.ObservedGeneration == s.Generation {
			out.Own = cmp.Or(out.Own, s.Status.Version)
		}
	}
	if out.Own == "" && len(out.Available) > 0 {
		out.Own = out.Available[0]
	}
	out.Own = cmp.Or(out.Own, OperatorVersion)
	return out
}
