// SPDX-License-Identifier: Apache-2.0

package stack

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// stop finds out whether the rollout must not go on: a gate does not hold, or a person
// undid it. What was found once stands until the revision changes or somebody retries.
func (r *rollout) stop() {
	if r.status.Breach != nil {
		return
	}
	if r.stack.Annotations[v1alpha1.UndoAnnotation] == attemptOf(&r.status) {
		r.status.Breach = &v1alpha1.Breach{
			Reason: v1alpha1.ReasonUndone, Message: "a person undid the rollout", Time: metav1.NewTime(r.now),
		}
		return
	}
	for _, w := range r.waves {
		for _, m := range w.members {
			if m.state != failed {
				continue
			}
			c := breachOf(m.cs)
			r.status.Breach = &v1alpha1.Breach{
				Cluster: m.want.ClusterName, Wave: w.Name, Reason: c.Reason, Message: c.Message, Time: metav1.NewTime(r.now),
			}
			if b := m.cs.Status.Update.Breach; b != nil {
				r.status.Breach.Node, r.status.Breach.Probe = b.Node, b.Probe
			}
			return
		}
	}
}

// rollBack brings clusters back to what was proven before: all of the wave whose gate did
// not hold, and all there are when a person undid the rollout. Of a wave that had passed
// only those that are not proven go back.
func (r *rollout) rollBack() {
	b := r.status.Breach
	undone := b.Reason == v1alpha1.ReasonUndone
	auto := undone || r.stack.Spec.Rollout.AutoRollback == nil || *r.stack.Spec.Rollout.AutoRollback
	for _, w := range r.waves {
		if !undone && w.Name != b.Wave {
			continue
		}
		if w.phase != v1alpha1.WavePassed || undone {
			w.phase, w.passedAt = v1alpha1.WaveFailed, nil
		}
		for _, m := range w.members {
			passed := w.phase == v1alpha1.WavePassed && m.state == proven
			if to := m.former(); auto && m.at() && !passed && m.state != held && to != nil {
				m.spec.Version, m.spec.CNI, m.spec.PlanDigest, m.spec.AdoptOnly = to.Version, *to.CNI.DeepCopy(), to.PlanDigest, false
			}
		}
	}
}

// former is the last configuration before the wanted one that was proven on the cluster,
// nil for none.
func (m *member) former() *v1alpha1.ProvenStatus {
	if m.cs == nil {
		return nil
	}
	for _, p := range []*v1alpha1.ProvenStatus{m.cs.Status.Proven, m.cs.Status.Previous} {
		if p != nil && p.PlanDigest != m.want.PlanDigest {
			return p
		}
	}
	return nil
}

// returning says that the cluster is being brought back and has not shown yet that it
// works there. Those that are away hold nobody up.
func (m *member) returning() bool {
	return m.cs != nil && m.state != away && m.state != held && m.spec.PlanDigest != m.want.PlanDigest &&
		(m.cs.Spec.PlanDigest != m.spec.PlanDigest || !m.provenAt(m.spec.PlanDigest))
}
