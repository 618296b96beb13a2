// SPDX-License-Identifier: Apache-2.0

package networkstack

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/stack"
)

// maxNamed bounds the clusters that a message names.
const maxNamed = 5

// summarize computes the whole status from what was read and planned. failure is an
// error of the world that is being retried.
func (s *scope) summarize(failure error) {
	st := &s.stack.Status
	st.ObservedGeneration = s.stack.Generation
	st.AvailableVersions = s.versions.List()
	if s.plan != nil {
		st.Version, st.PlanDigest = s.plan.Version, s.plan.Digest
		st.Plan = stack.Pending(s.plan, s.stacks())
		if s.emptied == 0 {
			st.SelectorDigest = selectorDigest(s.stack)
		}
	}
	var waiting []string
	st.Clusters, waiting = s.count()
	s.accept()
	s.set(s.ready(waiting, failure))

	accepted := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionAccepted)
	ready := meta.IsStatusConditionTrue(st.Conditions, v1alpha1.ConditionReady)
	stalled := ""
	reason := reasonOf(accepted)
	switch {
	case accepted != nil && accepted.Status == metav1.ConditionFalse:
		stalled = accepted.Message
	case st.Rollout.Phase == v1alpha1.RolloutStopped:
		stalled, reason = st.Rollout.Message, v1alpha1.ReasonRolloutStopped
	case st.Clusters.Stalled > 0 && int(st.Clusters.Stalled) == len(waiting):
		stalled = "every cluster that is not Ready waits for a person: " + bounded(waiting)
	}
	s.setAbnormal(v1alpha1.ConditionStalled, stalled != "", reason, stalled)
	s.setAbnormal(v1alpha1.ConditionReconciling, stalled == "" && !ready, v1alpha1.ReasonProgressing, "clusters are brought to the plan")
}

// reasonOf is the reason for Stalled.
func reasonOf(accepted *metav1.Condition) string {
	if accepted != nil && accepted.Status == metav1.ConditionFalse {
		return accepted.Reason
	}
	return v1alpha1.ReasonClustersNotReady
}

// count counts the held clusters and names those that are not Ready, sorted.
func (s *scope) count() (v1alpha1.ClusterCounts, []string) {
	var n v1alpha1.ClusterCounts
	var waiting []string
	names := make([]string, 0, len(s.children))
	for name := range s.children {
		names = append(names, name)
	}
	if s.plan != nil {
		n.Selected = int32(s.plan.Selected)
		n.Held = int32(len(s.plan.Clusters))
		for _, p := range s.plan.Clusters {
			if s.children[p.Cluster] == nil && !p.Deleting {
				names = append(names, p.Cluster)
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		cs := s.children[name]
		if cs == nil {
			waiting = append(waiting, name)
			continue
		}
		if cs.DeletionTimestamp != nil {
			n.Uninstalling++
		}
		if s.plan == nil {
			n.Held++
		}
		if isReady(cs) {
			n.Ready++
			continue
		}
		if meta.IsStatusConditionTrue(cs.Status.Conditions, v1alpha1.ConditionStalled) {
			n.Stalled++
		}
		if meta.IsStatusConditionFalse(cs.Status.Conditions, v1alpha1.ConditionConnected) {
			n.Unreachable++
		}
		waiting = append(waiting, name+because(cs))
	}
	return n, waiting
}

func isReady(cs *v1alpha1.ClusterStack) bool {
	return cs.DeletionTimestamp.IsZero() && cs.Status.ObservedGeneration == cs.Generation &&
		meta.IsStatusConditionTrue(cs.Status.Conditions, v1alpha1.ConditionReady)
}

func because(cs *v1alpha1.ClusterStack) string {
	kind := v1alpha1.ConditionReady
	if cs.DeletionTimestamp != nil {
		kind = v1alpha1.ConditionUninstalled
	}
	if c := meta.FindStatusCondition(cs.Status.Conditions, kind); c != nil && c.Status != metav1.ConditionTrue {
		return " (" + c.Reason + ")"
	}
	return ""
}

// accept sets Accepted.
func (s *scope) accept() {
	c := metav1.Condition{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAccepted, Message: "the spec can be acted on"}
	var invalid *stack.InvalidSelectorError
	var unsupported *stack.VersionError
	var downgrade *stack.DowngradeError
	var rollout *stack.RolloutError
	switch {
	case !s.stack.DeletionTimestamp.IsZero():
		c.Reason, c.Message = v1alpha1.ReasonDeleting, "the NetworkStack is being deleted"
	case errors.As(s.refusal, &invalid):
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonInvalidSelector, invalid.Error()
	case errors.As(s.refusal, &unsupported):
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonVersionNotSupported, unsupported.Error()
	case errors.As(s.refusal, &downgrade):
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonDowngrade, downgrade.Error()
	case errors.As(s.refusal, &rollout):
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonInvalidRollout, rollout.Error()
	case s.emptied > 0:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonSelectsNothing, fmt.Sprintf(
			"spec.clusterSelector of NetworkStack %q matches no Cluster any more, and %d clusters have this network: they keep it. Correct the selector, or delete the NetworkStack to take the network from them",
			s.stack.Name, s.emptied)
	case s.plan != nil && len(s.plan.Conflicts) > 0:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonClusterHeld, conflictMessage(s.plan.Conflicts)
	}
	s.set(c)
}

func conflictMessage(conflicts []stack.Conflict) string {
	names := make([]string, 0, len(conflicts))
	for _, c := range conflicts {
		names = append(names, fmt.Sprintf("Cluster %q is held by NetworkStack %q", c.Cluster, c.Holder))
	}
	return bounded(names) + ", which is older: narrow spec.clusterSelector of one of the two, or change the Cluster's labels"
}

// ready computes Ready from the rest.
func (s *scope) ready(waiting []string, failure error) metav1.Condition {
	n := s.stack.Status.Clusters
	no := func(reason, message string) metav1.Condition {
		return metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason, Message: message}
	}
	accepted := meta.FindStatusCondition(s.stack.Status.Conditions, v1alpha1.ConditionAccepted)
	switch {
	case failure != nil:
		return no(v1alpha1.ReasonError, failure.Error())
	case accepted.Status == metav1.ConditionFalse:
		return no(accepted.Reason, accepted.Message)
	case !s.stack.DeletionTimestamp.IsZero(), n.Uninstalling > 0 && int(n.Uninstalling) == len(waiting):
		return no(v1alpha1.ReasonUninstalling, "still to be cleaned: "+bounded(waiting))
	case s.stack.Status.Rollout.Phase == v1alpha1.RolloutStopped:
		return no(v1alpha1.ReasonRolloutStopped, s.stack.Status.Rollout.Message)
	case len(waiting) > 0 && s.stack.Spec.Paused:
		return no(v1alpha1.ReasonPaused, "spec.paused holds changes back; not Ready: "+bounded(waiting))
	case len(waiting) > 0:
		return no(v1alpha1.ReasonClustersNotReady, fmt.Sprintf("%d of %d clusters are Ready; not Ready: %s", n.Ready, n.Held, bounded(waiting)))
	case s.plan != nil && s.stack.Status.Rollout.Phase != v1alpha1.RolloutComplete:
		return no(v1alpha1.ReasonProgressing, s.stack.Status.Rollout.Message)
	case n.Selected == 0:
		return metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonNoCluster,
			Message: fmt.Sprintf("no Cluster of namespace %s matches spec.clusterSelector: label the Clusters that shall have this network", s.stack.Namespace)}
	}
	return metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonClustersReady,
		Message: fmt.Sprintf("%d of %d clusters are Ready", n.Ready, n.Held)}
}

func (s *scope) set(c metav1.Condition) {
	c.ObservedGeneration = s.stack.Generation
	meta.SetStatusCondition(&s.stack.Status.Conditions, c)
}

// setAbnormal keeps a condition only while it is True.
func (s *scope) setAbnormal(kind string, is bool, reason, message string) {
	if !is {
		meta.RemoveStatusCondition(&s.stack.Status.Conditions, kind)
		return
	}
	s.set(metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message})
}

// bounded joins at most maxNamed names.
func bounded(names []string) string {
	if len(names) <= maxNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
}
