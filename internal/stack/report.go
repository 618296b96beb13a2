// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// report computes the status of the rollout.
func (r *rollout) report() {
	r.status.Waves = nil
	for _, w := range r.waves {
		r.status.Waves = append(r.status.Waves, v1alpha1.WaveStatus{
			Name: w.Name, Phase: w.phase, PassedAt: w.passedAt, Clusters: int32(len(w.members)),
			Proven: int32(w.count(proven)), Updating: int32(w.count(updating)), Waiting: int32(w.count(unseen, waiting)),
			Away: int32(w.count(away)), Held: int32(w.count(held)), Failed: int32(w.count(failed)),
		})
	}
	r.status.Phase, r.status.Message = r.phase()
	finished := r.status.Phase == v1alpha1.RolloutComplete || r.status.Phase == v1alpha1.RolloutStopped
	switch {
	case !finished:
		r.status.FinishedAt = nil
	case r.status.FinishedAt == nil:
		at := metav1.NewTime(r.now)
		r.status.FinishedAt = &at
	}
}

// phase says how far the rollout is, and, to a person, what goes on.
func (r *rollout) phase() (v1alpha1.RolloutPhase, string) {
	if b := r.status.Breach; b != nil {
		why := b.Message
		if b.Cluster != "" {
			why = fmt.Sprintf("cluster %s of wave %s: %s", b.Cluster, b.Wave, b.Message)
		}
		for _, w := range r.waves {
			for _, m := range w.members {
				if m.returning() {
					return v1alpha1.RolloutRollingBack, why + "; clusters are brought back to what was proven before"
				}
			}
		}
		return v1alpha1.RolloutStopped, fmt.Sprintf("%s; nothing moves until the spec changes, or `fairleadctl rollout retry %s -n %s`",
			why, r.stack.Name, r.stack.Namespace)
	}
	var all, done int
	current := ""
	moving := 0
	for _, w := range r.waves {
		all += len(w.members)
		done += w.count(proven)
		moving += w.count(updating)
		if w.phase != v1alpha1.WavePassed && current == "" {
			current = fmt.Sprintf("wave %s: %d of %d clusters proven, %d on their way; ", w.Name, w.count(proven), len(w.members), w.count(updating))
		}
	}
	progress := fmt.Sprintf("%s%d of %d clusters proven in all", current, done, all)
	switch {
	case current == "" && moving == 0 && r.waiting == "" && !r.paused:
		return v1alpha1.RolloutComplete, fmt.Sprintf("every wave has passed; %d of %d clusters proven", done, all)
	case r.paused:
		return v1alpha1.RolloutPaused, "paused, no further cluster begins; " + progress
	case r.waiting != "" && moving == 0:
		return v1alpha1.RolloutWaiting, r.waiting + "; " + progress
	}
	return v1alpha1.RolloutProgressing, progress
}

// maxPlanned bounds the changes that a status names.
const maxPlanned = 32

// Pending says what changes in the clusters that do not have the wanted configuration,
// field by field, bounded.
func Pending(plan *Plan, stacks map[string]*v1alpha1.ClusterStack) []v1alpha1.PlannedChange {
	var out []v1alpha1.PlannedChange
	at := map[v1alpha1.PlannedChange]int{}
	for i := range plan.Clusters {
		p := &plan.Clusters[i]
		if p.Deleting {
			continue
		}
		for _, c := range pendingOf(stacks[p.Cluster], &p.Spec) {
			j, there := at[c]
			if !there && len(out) == maxPlanned {
				continue
			}
			if !there {
				j = len(out)
				at[c] = j
				out = append(out, c)
			}
			out[j].Clusters++
		}
	}
	return out
}

// pendingOf is what changes in one cluster.
func pendingOf(cs *v1alpha1.ClusterStack, want *v1alpha1.ClusterStackSpec) []v1alpha1.PlannedChange {
	if cs == nil || cs.Spec.AdoptOnly {
		return []v1alpha1.PlannedChange{{Field: "spec.version", To: want.Version, Effect: "Fairlead is installed, or taken over as it is when it is there already"}}
	}
	var out []v1alpha1.PlannedChange
	for _, c := range Changes(cs.Spec, *want) {
		out = append(out, v1alpha1.PlannedChange{Field: c.Field, From: c.From, To: c.To, Effect: c.Effect})
	}
	return out
}
