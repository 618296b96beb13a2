// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/gate"
	"github.com/fairlead-io/fairlead/internal/release"
)

const (
	// watchEvery is the time between two looks at a cluster that changes.
	watchEvery = 2 * time.Second
	// window is what probes are judged by: what they measured of late. The baseline is as
	// long.
	window = 10 * time.Second
	// probesStartWithin bounds the wait for probes to run on every node.
	probesStartWithin = 3 * time.Minute
)

// begin makes the status of the update that the spec asks for, if it is a new one.
func (r *Reconciler) begin(s *scope) {
	u := &s.cs.Status.Update
	now := metav1.NewTime(r.Now())
	if u.PlanDigest == s.cs.Spec.PlanDigest {
		if u.StartedAt == nil { // it was away
			u.StartedAt = &now
		}
		return
	}
	next := v1alpha1.UpdateStatus{PlanDigest: s.cs.Spec.PlanDigest, StartedAt: &now}
	if s.returning() {
		// The way back is judged by what was there before the way out.
		next.Phase, next.Baseline = v1alpha1.UpdateUpdating, u.Baseline
	}
	*u = next
}

// returning says that the wanted configuration was proven on this cluster before.
func (s *scope) returning() bool {
	for _, p := range []*v1alpha1.ProvenStatus{s.cs.Status.Proven, s.cs.Status.Previous} {
		if p != nil && p.PlanDigest == s.cs.Spec.PlanDigest {
			return true
		}
	}
	return false
}

// preflight starts the probes before a running network is changed, and measures how packets
// do now. It stops the reconcile until that is done; what it found is written down before
// anything is acted on, or an operator that ends in between would not know it.
func (r *Reconciler) preflight(ctx context.Context, s *scope, state release.State) error {
	u := &s.cs.Status.Update
	changes := state == release.Outdated && s.cs.Spec.Gates.Probes != v1alpha1.ProbesDisabled && s.cs.Status.Nodes.Total > 0
	if !changes || (u.Phase != "" && u.Phase != v1alpha1.UpdatePreflight) {
		return nil
	}
	u.Phase = v1alpha1.UpdatePreflight
	seen, err := r.observeProbes(ctx, s)
	if err != nil {
		return s.fail(v1alpha1.ConditionProven, v1alpha1.ReasonError, err)
	}
	s.lookAgain(watchEvery)
	switch {
	case !seen.running && r.Now().Sub(u.StartedAt.Time) > probesStartWithin:
		s.breach(&gate.Verdict{Reason: v1alpha1.ReasonProbesNotRunning, Node: seen.node,
			Message: fmt.Sprintf("nothing was changed, because probes of %s do not run: %s", s.cs.Spec.Version, seen.why)})
		return s.ended(v1alpha1.ConditionProven)
	case !seen.running:
		return s.stop(v1alpha1.ConditionProven, v1alpha1.ReasonPreflight, "probes are started on every node, nothing has changed yet: "+seen.why)
	case r.Now().Sub(u.WatchedSince.Time) < window:
		return s.stop(v1alpha1.ConditionProven, v1alpha1.ReasonPreflight, fmt.Sprintf("probes measure how packets do for %s, nothing has changed yet", window))
	}
	u.Phase, u.Baseline, u.Measured = v1alpha1.UpdateUpdating, gate.Sum(seen.readings), nil
	s.lookAgain(time.Millisecond)
	return s.stop(v1alpha1.ConditionProven, v1alpha1.ReasonUpdating, "probes have measured how packets do; the release is next")
}

// prove watches the cluster until its configuration has passed its gates.
func (r *Reconciler) prove(ctx context.Context, s *scope) error {
	u := &s.cs.Status.Update
	if u.Phase == v1alpha1.UpdateProven {
		s.set(v1alpha1.ConditionProven, true, v1alpha1.ReasonProven, "the configuration has passed its gates")
		return nil
	}
	if s.cs.Spec.Paused {
		s.set(v1alpha1.ConditionProven, false, v1alpha1.ReasonPaused, "spec.paused of NetworkStack "+s.cs.Spec.NetworkStack+" holds changes back")
		return nil
	}
	done := s.rollout.done && meta.IsStatusConditionTrue(s.cs.Status.Conditions, v1alpha1.ConditionReleased)
	now := metav1.NewTime(r.Now())
	switch {
	case !done:
		u.Phase, u.UpdatedAt = v1alpha1.UpdateUpdating, nil
	case u.UpdatedAt == nil:
		u.Phase, u.UpdatedAt = v1alpha1.UpdateProving, &now
	}
	verdict, seen, err := r.judge(ctx, s, done)
	if err != nil {
		return s.fail(v1alpha1.ConditionProven, v1alpha1.ReasonError, err)
	}
	u.Breach = nil
	switch {
	case verdict != nil:
		u.UpdatedAt = nil // the soak begins anew should it hold again
		s.breach(verdict)
		s.lookAgain(watchEvery)
	case !done:
		c := meta.FindStatusCondition(s.cs.Status.Conditions, v1alpha1.ConditionRolledOut)
		s.set(v1alpha1.ConditionProven, false, v1alpha1.ReasonUpdating, c.Message)
	case !seen.running:
		s.set(v1alpha1.ConditionProven, false, v1alpha1.ReasonSoaking, "every agent is replaced; probes are started: "+seen.why)
		s.lookAgain(watchEvery)
	default:
		return r.soak(ctx, s, seen)
	}
	return nil
}

// soak waits until packets have been watched for long enough, and then writes down that
// the configuration works.
func (r *Reconciler) soak(ctx context.Context, s *scope, seen watched) error {
	u := &s.cs.Status.Update
	until := u.UpdatedAt.Add(s.cs.Spec.Soak.Duration)
	if least := u.UpdatedAt.Add(window); !seen.off && least.After(until) {
		until = least
	}
	if u.WatchedSince != nil && u.WatchedSince.Add(window).After(until) {
		until = u.WatchedSince.Add(window)
	}
	if missing := gate.Unmeasured(u.Baseline, seen.readings); !seen.off && missing != "" {
		s.set(v1alpha1.ConditionProven, false, v1alpha1.ReasonSoaking, "every agent is replaced; "+missing)
		s.lookAgain(watchEvery)
		return nil
	}
	if left := until.Sub(r.Now()); left > 0 {
		s.set(v1alpha1.ConditionProven, false, v1alpha1.ReasonSoaking, "every agent is replaced; the cluster is watched until "+until.UTC().Format(time.RFC3339))
		if !seen.off {
			left = min(left, watchEvery)
		}
		s.lookAgain(left)
		return nil
	}
	if err := r.removeProbes(ctx, s); err != nil {
		return s.fail(v1alpha1.ConditionProven, v1alpha1.ReasonError, err)
	}
	st := &s.cs.Status
	if st.Proven != nil && st.Proven.PlanDigest != s.cs.Spec.PlanDigest {
		st.Previous = st.Proven
	}
	st.Proven = &v1alpha1.ProvenStatus{
		Version: s.cs.Spec.Version, PlanDigest: s.cs.Spec.PlanDigest, CNI: *s.cs.Spec.CNI.DeepCopy(), Time: metav1.NewTime(r.Now()),
	}
	u.Phase = v1alpha1.UpdateProven
	s.set(v1alpha1.ConditionProven, true, v1alpha1.ReasonProven, "the configuration has passed its gates")
	ctrl.LoggerFrom(ctx).Info("The configuration is proven", "version", s.cs.Spec.Version, "plan", s.cs.Spec.PlanDigest, "took", r.Now().Sub(u.StartedAt.Time).String())
	r.Events.Eventf(s.cs, nil, corev1.EventTypeNormal, v1alpha1.ReasonProven, "Prove", "%s is proven on %d nodes", s.cs.Spec.Version, st.Nodes.Total)
	return nil
}

// judge looks for a gate that does not hold, nil for none.
func (r *Reconciler) judge(ctx context.Context, s *scope, done bool) (*gate.Verdict, watched, error) {
	u := &s.cs.Status.Update
	seen := watched{off: true, running: true}
	// There are packets to be watched once there is a network, and they say something of the
	// change if they did arrive before it: a change that is to mend a network that is broken
	// must not be held up because it is.
	if s.cs.Spec.Gates.Probes != v1alpha1.ProbesDisabled && s.cs.Status.Nodes.Total > 0 && (done || (len(u.Baseline) > 0 && u.WatchedSince != nil)) {
		var err error
		if seen, err = r.observeProbes(ctx, s); err != nil {
			return nil, seen, err
		}
		u.Measured = gate.Sum(seen.readings)
		s.lookAgain(watchEvery)
		if u.WatchedSince != nil && r.Now().Sub(u.WatchedSince.Time) >= window {
			if v := gate.Judge(u.Baseline, seen.readings, s.cs.Spec.Gates, r.Now()); v != nil {
				return v, seen, nil
			}
		}
	}
	if done {
		if late := u.UpdatedAt.Add(probesStartWithin); !seen.running && r.Now().After(late) {
			return &gate.Verdict{Reason: v1alpha1.ReasonProbesNotRunning, Node: seen.node, Message: "probes do not run: " + seen.why}, seen, nil
		}
		return nil, seen, nil
	}
	if v, err := r.failingAgent(ctx, s); v != nil || err != nil {
		return v, seen, err
	}
	c := meta.FindStatusCondition(s.cs.Status.Conditions, v1alpha1.ConditionRolledOut)
	return r.late(s, c.Message), seen, nil
}

// late is a deadline that has gone by, nil for one that has not.
func (r *Reconciler) late(s *scope, why string) *gate.Verdict {
	limit := s.cs.Spec.Deadline.Duration
	if limit <= 0 {
		return nil
	}
	deadline := s.cs.Status.Update.StartedAt.Add(limit)
	if r.Now().After(deadline) {
		return &gate.Verdict{Reason: v1alpha1.ReasonDeadlineExceeded, Message: fmt.Sprintf("not rolled out within %s: %s", limit, why)}
	}
	s.lookAgain(deadline.Sub(r.Now()) + time.Second)
	return nil
}

// checkDeadline reports a release that fails for longer than the update may take.
func (r *Reconciler) checkDeadline(s *scope, err error) {
	var ended *stopped
	if _, connection := s.problem(err); connection || errors.As(err, &ended) || s.cs.Status.Update.Phase == v1alpha1.UpdateProven {
		return
	}
	if v := r.late(s, err.Error()); v != nil && s.breached() == nil {
		s.breach(v)
	}
}

// breach reports a gate that does not hold.
func (s *scope) breach(v *gate.Verdict) {
	s.cs.Status.Update.Breach = &v1alpha1.ProbeBreach{Node: v.Node, Probe: v.Probe}
	s.set(v1alpha1.ConditionProven, false, v.Reason, v.Message)
}
