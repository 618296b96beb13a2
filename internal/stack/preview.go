// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"fmt"

	utilversion "k8s.io/apimachinery/pkg/util/version"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// What becomes of a cluster by a plan.
const (
	PreviewInstall   = "Install"
	PreviewChange    = "Change"
	PreviewUnchanged = "Unchanged"
	PreviewPinned    = "Pinned"
	PreviewLeaving   = "Leaving"
)

// WavePreview is what a plan does in a wave, before anything moves.
type WavePreview struct {
	Name     string           `json:"name"`
	Approval bool             `json:"approval,omitempty"`
	Clusters []ClusterPreview `json:"clusters"`
}

// ClusterPreview is what a plan does to a cluster.
type ClusterPreview struct {
	Cluster string `json:"cluster"`
	// Action is one of the Preview constants.
	Action string `json:"action"`
	// Away says that the cluster does not answer now.
	Away bool `json:"away,omitempty"`
	// From and To are the versions; From is empty for an installation.
	From string `json:"from,omitempty"`
	To   string `json:"to"`
	// Restarts says that agents restart.
	Restarts bool     `json:"restarts"`
	Changes  []Change `json:"changes,omitempty"`
}

// Preview says wave by wave what a plan does to its clusters. stacks are the ClusterStacks
// there are, by cluster.
func Preview(plan *Plan, stacks map[string]*v1alpha1.ClusterStack) []WavePreview {
	var out []WavePreview
	for i := range plan.waves {
		w := WavePreview{Name: plan.waves[i].Name, Approval: plan.waves[i].Approval == v1alpha1.ApprovalRequired}
		for j := range plan.Clusters {
			if p := &plan.Clusters[j]; p.Spec.Wave == w.Name {
				w.Clusters = append(w.Clusters, previewOf(p, stacks[p.Cluster]))
			}
		}
		if len(w.Clusters) > 0 {
			out = append(out, w)
		}
	}
	return out
}

func previewOf(p *ClusterPlan, cs *v1alpha1.ClusterStack) ClusterPreview {
	c := ClusterPreview{Cluster: p.Cluster, To: p.Spec.Version}
	switch {
	case p.Deleting:
		c.Action = PreviewLeaving
		return c
	case cs == nil:
		c.Action, c.Restarts = PreviewInstall, true
		return c
	}
	m := &member{want: &p.Spec, cs: cs}
	c.Away = m.look() == away
	if cs.Spec.AdoptOnly {
		c.Action, c.Restarts = PreviewInstall, true
		return c
	}
	c.From = cs.Spec.Version
	c.Changes = Changes(cs.Spec, p.Spec)
	switch {
	case len(c.Changes) == 0:
		c.Action = PreviewUnchanged
	case cs.Spec.Pinned:
		c.Action = PreviewPinned
	default:
		c.Action, c.Restarts = PreviewChange, true
	}
	return c
}

// DowngradeError says that clusters run a higher version than the wanted one.
type DowngradeError struct {
	Stack, Wanted, Runs, Cluster string
	// Clusters is how many do.
	Clusters int
}

func (e *DowngradeError) Error() string {
	return fmt.Sprintf("the version of NetworkStack %q is %s, and %d of its clusters (%s, for one) run %s, which is higher: set spec.version to %s or higher, or set spec.rollout.allowDowngrade to true if you mean it",
		e.Stack, e.Wanted, e.Clusters, e.Cluster, e.Runs, e.Runs)
}

// CheckDowngrade returns a *DowngradeError when a plan would lower the version of clusters,
// and the stack does not allow that.
func CheckDowngrade(s *v1alpha1.NetworkStack, plan *Plan, stacks map[string]*v1alpha1.ClusterStack) error {
	wanted, err := utilversion.ParseSemantic(plan.Version)
	if err != nil || s.Spec.Rollout.AllowDowngrade {
		return nil
	}
	var found *DowngradeError
	for i := range plan.Clusters {
		cs := stacks[plan.Clusters[i].Cluster]
		if cs == nil || cs.Spec.AdoptOnly || plan.Clusters[i].Deleting || cs.Spec.Pinned {
			continue
		}
		runs, err := utilversion.ParseSemantic(cs.Spec.Version)
		if err != nil || !wanted.LessThan(runs) {
			continue
		}
		if found == nil {
			found = &DowngradeError{Stack: s.Name, Wanted: plan.Version, Runs: cs.Spec.Version, Cluster: cs.Spec.ClusterName}
		}
		found.Clusters++
	}
	if found == nil {
		return nil
	}
	return found
}
