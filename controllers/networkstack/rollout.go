// SPDX-License-Identifier: Apache-2.0

package networkstack

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/notify"
	"github.com/fairlead-io/fairlead/internal/stack"
)

// errBehind says that the cache does not show the newest NetworkStack yet.
var errBehind = errors.New("the cache is behind")

// catchUp is what a cache that is behind gets to catch up.
const catchUp = 200 * time.Millisecond

// stacks are the ClusterStacks of the planned clusters, whoever holds them now.
func (s *scope) stacks() map[string]*v1alpha1.ClusterStack {
	out := make(map[string]*v1alpha1.ClusterStack, len(s.plan.Clusters))
	for _, p := range s.plan.Clusters {
		if cs := s.existing(p.Cluster); cs != nil {
			out[p.Cluster] = cs
		}
	}
	return out
}

// rollOut lets internal/stack decide what the ClusterStacks shall be now, writes down why,
// and applies it. The status comes first: a breach that was found must be known to whoever
// goes on, before what it was found by is gone.
func (r *Reconciler) rollOut(ctx context.Context, s *scope) error {
	stacks := s.stacks()
	s.step = stack.Next(s.stack, s.plan, stacks, r.Now())
	var due []*v1alpha1.ClusterStackSpec
	moves := false
	for i := range s.step.Specs {
		spec := &s.step.Specs[i]
		existing := stacks[spec.ClusterName]
		if existing != nil && upToDate(existing, s.stack, spec) {
			continue
		}
		due = append(due, spec)
		moves = moves || existing != nil && (existing.Spec.PlanDigest != spec.PlanDigest || existing.Spec.AdoptOnly != spec.AdoptOnly)
	}
	if moves {
		if err := r.record(ctx, s); err != nil {
			return err
		}
	}
	s.stack.Status.Rollout = s.step.Status
	return r.apply(ctx, s, due)
}

// record writes the rollout's status before clusters begin or go back, if the cache shows
// what the API server has: a decision that forgot a breach would undo a rollback.
func (r *Reconciler) record(ctx context.Context, s *scope) error {
	live := &v1alpha1.NetworkStack{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(s.stack), live); apierrors.IsNotFound(err) {
		return errBehind
	} else if err != nil {
		return fmt.Errorf("reading the NetworkStack: %w", err)
	}
	if live.ResourceVersion != s.stack.ResourceVersion {
		return errBehind
	}
	if equality.Semantic.DeepEqual(s.stack.Status.Rollout, s.step.Status) {
		return nil
	}
	// Without the resource version the last write would win, whoever decided by older facts.
	old := s.stack.DeepCopy()
	s.stack.Status.Rollout = s.step.Status
	if err := r.Client.Status().Patch(ctx, s.stack, client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{})); err != nil {
		if apierrors.IsConflict(err) {
			return errBehind
		}
		return fmt.Errorf("writing the rollout's status: %w", err)
	}
	s.written = *s.stack.Status.DeepCopy()
	r.announceRollout(s)
	return nil
}

// announceRollout says in events at the NetworkStack, and to the sink of CloudEvents, what
// has become of the rollout since it last did. The status was written before, or whoever
// asks for more would find less.
func (r *Reconciler) announceRollout(sc *scope) {
	s := sc.stack
	notices := stack.Notices(&sc.announced, &s.Status.Rollout)
	sc.announced = *s.Status.Rollout.DeepCopy()
	for _, n := range notices {
		kind := corev1.EventTypeNormal
		if n.Warning {
			kind = corev1.EventTypeWarning
		}
		r.Events.Eventf(s, nil, kind, n.Reason, "Roll out "+n.Wave, "%s", n.Message)
		r.Notifier.Notify(notify.Event{
			Type: eventTypes[n.Reason], Namespace: s.Namespace, Stack: s.Name, Wave: n.Wave, Cluster: n.Cluster,
			Revision: s.Status.Rollout.Revision, Attempt: s.Status.Rollout.Attempt,
			Reason: n.Reason, Message: n.Message, Time: r.Now(), Occurrence: strconv.FormatInt(s.Generation, 10),
		})
	}
}

// eventTypes are the types of events for programs, by reason.
var eventTypes = map[string]string{
	v1alpha1.ReasonRolloutStarted:  "rollout.started",
	v1alpha1.ReasonRolloutPaused:   "rollout.paused",
	v1alpha1.ReasonRolloutWaiting:  "rollout.waiting",
	v1alpha1.ReasonRollingBack:     "rollout.rollingback",
	v1alpha1.ReasonRolloutStopped:  "rollout.stopped",
	v1alpha1.ReasonRolloutComplete: "rollout.complete",
	v1alpha1.ReasonWaveStarted:     "rollout.wave.started",
	v1alpha1.ReasonWavePassed:      "rollout.wave.passed",
	v1alpha1.ReasonWaveFailed:      "rollout.wave.failed",
}
