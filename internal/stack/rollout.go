// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// Step is what a NetworkStack's rollout does next.
type Step struct {
	// Specs are what the ClusterStacks shall be now, sorted by cluster. A cluster that is
	// being deleted has none.
	Specs []v1alpha1.ClusterStackSpec
	// Status is the rollout's status with them.
	Status v1alpha1.RolloutStatus
	// Again is when to look again by the clock; zero: an event will tell.
	Again time.Time
}

// Next decides what a rollout does next. stacks are the ClusterStacks of the planned
// clusters, by cluster; those that are being deleted may be among them. It is a function
// of what it is given: whoever calls it, after whatever was interrupted, goes on with the
// same rollout.
func Next(s *v1alpha1.NetworkStack, plan *Plan, stacks map[string]*v1alpha1.ClusterStack, now time.Time) Step {
	r := &rollout{stack: s, plan: plan, now: now, status: begin(s, plan, now)}
	r.sort(stacks)
	r.stop()
	if r.status.Breach != nil {
		r.rollBack()
	} else {
		r.advance()
	}
	r.report()
	return Step{Specs: r.specs(), Status: r.status, Again: r.again}
}

// rollout is what Next works on.
type rollout struct {
	stack  *v1alpha1.NetworkStack
	plan   *Plan
	now    time.Time
	status v1alpha1.RolloutStatus
	// waves with their clusters, in their order; those without a cluster are left out.
	waves []*waveState
	again time.Time
	// waiting is what the next clusters wait for, in words; empty when they wait for
	// others to be proven, or for nothing.
	waiting string
	paused  bool
}

// waveState is a wave with its clusters.
type waveState struct {
	*wave
	members  []*member
	phase    v1alpha1.WavePhase
	passedAt *metav1.Time
}

// member is one cluster of a rollout.
type member struct {
	want *v1alpha1.ClusterStackSpec
	// unsupported says why the cluster cannot have what is wanted, "" when it can.
	unsupported string

	cs    *v1alpha1.ClusterStack
	state state
	// spec is what the ClusterStack shall be now.
	spec v1alpha1.ClusterStackSpec
}

// state is how far a cluster is with the wanted configuration.
type state int

const (
	unseen   state = iota // nothing is known of it yet
	waiting               // has not begun
	updating              // has begun
	proven                // has it, and packets have shown that it works
	failed                // has begun, and a gate does not hold
	away                  // does not answer
	held                  // is left as it is
)

// begin is the status of the stack's revision: a new one when it has changed, or when a
// person has a stopped one begin anew.
func begin(s *v1alpha1.NetworkStack, plan *Plan, now time.Time) v1alpha1.RolloutStatus {
	st := *s.Status.Rollout.DeepCopy()
	at := metav1.NewTime(now)
	if st.Revision != plan.Revision {
		return v1alpha1.RolloutStatus{Revision: plan.Revision, Attempt: 1, StartedAt: &at}
	}
	if st.Breach != nil && s.Annotations[v1alpha1.RetryAnnotation] == attemptOf(&st) {
		st.Attempt++
		st.Breach, st.StartedAt, st.FinishedAt = nil, &at, nil
		for i := range st.Waves {
			if st.Waves[i].Phase != v1alpha1.WavePassed {
				st.Waves[i].Phase = v1alpha1.WavePending
			}
		}
	}
	return st
}

// attemptOf is how annotations name an attempt.
func attemptOf(st *v1alpha1.RolloutStatus) string {
	return fmt.Sprintf("%s/%d", st.Revision, st.Attempt)
}

// sort puts every cluster into its wave and finds out how far it is.
func (r *rollout) sort(stacks map[string]*v1alpha1.ClusterStack) {
	by := map[string]*waveState{}
	for i := range r.plan.waves {
		w := &waveState{wave: &r.plan.waves[i], phase: v1alpha1.WavePending}
		for _, was := range r.status.Waves {
			if was.Name == w.Name {
				w.phase, w.passedAt = was.Phase, was.PassedAt
			}
		}
		by[w.Name] = w
		r.waves = append(r.waves, w)
	}
	for i := range r.plan.Clusters {
		p := &r.plan.Clusters[i]
		cs := stacks[p.Cluster]
		if p.Deleting || (cs != nil && !cs.DeletionTimestamp.IsZero()) {
			continue
		}
		m := &member{want: &p.Spec, unsupported: p.Unsupported, cs: cs}
		m.state, m.spec = m.look(), m.keep()
		w := by[p.Spec.Wave]
		w.members = append(w.members, m)
	}
	r.waves = slices.DeleteFunc(r.waves, func(w *waveState) bool { return len(w.members) == 0 })
}

// look finds out how far the cluster is.
func (m *member) look() state {
	if m.cs == nil {
		return unseen
	}
	connected := meta.FindStatusCondition(m.cs.Status.Conditions, v1alpha1.ConditionConnected)
	if connected != nil && connected.Reason == v1alpha1.ReasonConnecting {
		// An operator that has just started: whether the cluster is away is not known yet.
		connected = nil
	}
	switch {
	case m.at() && m.provenAt(m.want.PlanDigest):
		return proven
	case m.cs.Spec.Pinned, m.unsupported != "" && !m.begun():
		return held
	case m.begun() && breachOf(m.cs) != nil:
		return failed
	case connected == nil && !m.begun():
		return unseen
	case connected != nil && connected.Status == metav1.ConditionFalse:
		return away
	case m.begun():
		return updating
	}
	return waiting
}

// at says that the ClusterStack has the wanted configuration.
func (m *member) at() bool { return m.cs != nil && m.cs.Spec.PlanDigest == m.want.PlanDigest }

// begun says that the cluster is to be brought to the wanted configuration already.
func (m *member) begun() bool { return m.at() && !m.cs.Spec.AdoptOnly }

// provenAt says that the cluster has a configuration, and that it was proven since it got
// it. That it was proven once, before another one, says nothing.
func (m *member) provenAt(digest string) bool {
	st := &m.cs.Status
	return st.Proven != nil && st.Proven.PlanDigest == digest &&
		st.Update.PlanDigest == digest && st.Update.Phase == v1alpha1.UpdateProven
}

// fresh says that the cluster has no network of ours that a change could harm.
func (m *member) fresh() bool {
	return m.cs.Status.Proven == nil && len(m.cs.Status.Releases) == 1 && m.cs.Status.Releases[0].State == ReleaseAbsent
}

// ReleaseAbsent is the state of a release that is not there, in a ClusterStack's status.
const ReleaseAbsent = "Absent"

// breachOf is the condition that says which gate does not hold for what the ClusterStack
// asks for now, nil for none.
func breachOf(cs *v1alpha1.ClusterStack) *metav1.Condition {
	c := meta.FindStatusCondition(cs.Status.Conditions, v1alpha1.ConditionProven)
	if c == nil || c.Status != metav1.ConditionFalse || !v1alpha1.IsBreach(c.Reason) || cs.Status.Update.PlanDigest != cs.Spec.PlanDigest {
		return nil
	}
	return c
}

// keep is the configuration that the cluster has, or, when nothing is known of it, the
// wanted one to be compared with what is installed.
func (m *member) keep() v1alpha1.ClusterStackSpec {
	spec := *m.want.DeepCopy()
	if m.cs == nil {
		spec.AdoptOnly = true
		return spec
	}
	spec.Version, spec.CNI, spec.PlanDigest, spec.AdoptOnly = m.cs.Spec.Version, m.cs.Spec.CNI, m.cs.Spec.PlanDigest, m.cs.Spec.AdoptOnly
	if spec.AdoptOnly && m.cs.Status.Proven == nil {
		// It has begun with nothing: what it is compared with follows the stack.
		spec.Version, spec.CNI, spec.PlanDigest = m.want.Version, m.want.CNI, m.want.PlanDigest
	}
	if m.state == proven {
		spec.AdoptOnly = false
	}
	return spec
}

// admit has the cluster begin.
func (m *member) admit() {
	m.spec = *m.want.DeepCopy()
	m.state = updating
}

// specs are what the ClusterStacks shall be now.
func (r *rollout) specs() []v1alpha1.ClusterStackSpec {
	var out []v1alpha1.ClusterStackSpec
	for _, w := range r.waves {
		for _, m := range w.members {
			out = append(out, m.spec)
		}
	}
	slices.SortFunc(out, func(a, b v1alpha1.ClusterStackSpec) int { return strings.Compare(a.ClusterName, b.ClusterName) })
	return out
}

func (w *waveState) count(states ...state) int {
	n := 0
	for _, m := range w.members {
		if slices.Contains(states, m.state) {
			n++
		}
	}
	return n
}
