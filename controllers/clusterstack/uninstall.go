// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/release"
	"github.com/fairlead-io/fairlead/internal/stack"
)

// crdPoll is the interval at which a CRD that is being deleted is looked at: it
// sends no event that the operator watches.
const crdPoll = 2 * time.Second

// cleanupPlan marks the revision by which agents clean their nodes.
const cleanupPlan = "cleanup"

// reconcileDelete cleans the cluster step by step and then lets the ClusterStack go.
// done says that it is gone and has no status left to write.
func (r *Reconciler) reconcileDelete(ctx context.Context, s *scope) (done bool, err error) {
	if !controllerutil.ContainsFinalizer(s.cs, v1alpha1.ClusterStackFinalizer) {
		return true, nil
	}
	if err := r.revoke(ctx, s); err != nil {
		return false, err
	}
	// A Cluster that is gone, or on its way out, takes its machines with it.
	if s.cluster == nil || !s.cluster.DeletionTimestamp.IsZero() {
		ctrl.LoggerFrom(ctx).Info("The Cluster is deleted; there is nothing to clean")
		return true, r.letGo(ctx, s)
	}
	if err := r.connect(ctx, s); err != nil {
		return false, err
	}
	if err := r.identify(ctx, s); err != nil {
		return false, err
	}
	if err := r.removeProbes(ctx, s); err != nil {
		return false, err
	}
	clean, err := r.cleanNodes(ctx, s)
	if err != nil || !clean {
		return false, err
	}
	gone, err := r.removeObjects(ctx, s)
	if err != nil || !gone {
		return false, err
	}
	ctrl.LoggerFrom(ctx).Info("The cluster is clean")
	return true, r.letGo(ctx, s)
}

// letGo lets the ClusterStack go.
func (r *Reconciler) letGo(ctx context.Context, s *scope) error {
	r.memories.Forget(string(s.cs.UID))
	old := s.cs.DeepCopy()
	controllerutil.RemoveFinalizer(s.cs, v1alpha1.ClusterStackFinalizer)
	return client.IgnoreNotFound(r.Client.Patch(ctx, s.cs, client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{})))
}

// cleanNodes has the agents clean their nodes and then removes the release. It
// returns true when there is no release any more.
func (r *Reconciler) cleanNodes(ctx context.Context, s *scope) (bool, error) {
	// What is not installed needs no values to be removed.
	bare, err := r.bare(ctx, s)
	if err != nil {
		return false, err
	}
	if _, err := bare.Observe(ctx); err != nil {
		return false, err
	}
	if bare.State() == release.Absent {
		s.report(nil, release.Absent)
		return true, nil
	}
	target, err := r.target(ctx, s, stack.ModeCleanup)
	if err != nil {
		return false, s.refuse(err)
	}
	if err := r.observeForRemoval(ctx, target); err != nil {
		return false, err
	}
	state := target.State()
	cleaned, progress := false, "the agents are told to clean their nodes"
	if state == release.Current {
		if cleaned, progress, err = cleanupProgress(ctx, s); err != nil {
			return false, err
		}
	}
	s.report(target.Release(), state)
	action := target.DueForRemoval(cleaned)
	if action == release.None {
		return false, s.stop(v1alpha1.ConditionUninstalled, v1alpha1.ReasonCleaningNodes, progress)
	}
	rel, err := r.do(ctx, s, target, action, state)
	if err != nil {
		return false, s.fail(v1alpha1.ConditionUninstalled, v1alpha1.ReasonReleaseFailed, err)
	}
	if rel == nil {
		s.report(nil, release.Absent)
		return true, nil
	}
	s.report(rel, target.State())
	// A cluster without nodes is clean at once and sends no further event.
	s.lookAgain(crdPoll)
	return false, s.stop(v1alpha1.ConditionUninstalled, v1alpha1.ReasonCleaningNodes, progress)
}

// observeForRemoval observes the release. When there is no chart of the version that the
// cluster runs, the release's own is what its agents are told to clean up by.
func (r *Reconciler) observeForRemoval(ctx context.Context, t *release.Target) error {
	// The plan is that of the network, and not of its removal.
	t.Plan = cleanupPlan
	_, err := t.Observe(ctx)
	if err != nil || t.Chart != nil {
		return err
	}
	if t.Chart, err = t.StoredChart(ctx); err != nil {
		return err
	}
	if t.Chart == nil {
		t.Chart = r.Charts.Own()
	}
	t.Digest = stack.Digest([]any{t.Chart.Digest(), t.Values})
	_, err = t.Observe(ctx)
	return err
}

// cleanupProgress says whether every node is clean. It reads live: the cache could
// still show the agents as they were before they were told to clean.
func cleanupProgress(ctx context.Context, s *scope) (bool, string, error) {
	agents := &appsv1.DaemonSet{}
	key := client.ObjectKey{Namespace: Namespace, Name: agentName}
	if err := s.conn.Live.Get(ctx, key, agents); err != nil {
		if apierrors.IsNotFound(err) {
			return true, "", nil
		}
		return false, "", fmt.Errorf("reading DaemonSet %s of the cluster: %w", key, err)
	}
	if rolledOut(agents) {
		return true, "", nil
	}
	waiting, err := unclean(ctx, s, agents)
	if err != nil {
		return false, "", err
	}
	st := agents.Status
	ready := min(st.UpdatedNumberScheduled, st.NumberAvailable)
	if st.ObservedGeneration < agents.Generation {
		ready = 0
	}
	return false, fmt.Sprintf("%d of %d nodes are clean%s", ready, st.DesiredNumberScheduled, named("not yet", waiting)), nil
}

// unclean names the nodes whose agent has not said that they are clean, sorted.
func unclean(ctx context.Context, s *scope, agents *appsv1.DaemonSet) ([]string, error) {
	if agents.Spec.Selector == nil {
		return nil, nil
	}
	var pods corev1.PodList
	if err := s.conn.Live.List(ctx, &pods, client.InNamespace(Namespace), client.MatchingLabels(agents.Spec.Selector.MatchLabels)); err != nil {
		return nil, fmt.Errorf("listing the agents of the cluster: %w", err)
	}
	clean := map[string]bool{}
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.Spec.NodeName == "" {
			continue
		}
		ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		current := p.Labels["pod-template-generation"] == fmt.Sprint(agents.Generation)
		clean[p.Spec.NodeName] = clean[p.Spec.NodeName] || (ready && current)
	}
	var out []string
	for node, ok := range clean {
		if !ok {
			out = append(out, node)
		}
	}
	slices.Sort(out)
	return out, nil
}

// removeObjects deletes what the operator itself applied, and returns true when it
// is gone.
func (r *Reconciler) removeObjects(ctx context.Context, s *scope) (bool, error) {
	target, err := r.bare(ctx, s)
	if err != nil {
		return false, err
	}
	key := client.ObjectKeyFromObject(s.cluster)
	if err := r.Fleet.Forget(key, &v1alpha1.NodeNetwork{}); err != nil {
		return false, err
	}
	gone, err := target.RemoveCRDs(ctx)
	if err != nil {
		return false, err
	}
	ours := metav1.ObjectMeta{Namespace: Namespace}
	secret, cm := &corev1.Secret{ObjectMeta: ours}, &corev1.ConfigMap{ObjectMeta: ours}
	secret.Name, cm.Name = caSecretName, trustConfigMapName
	for _, o := range []client.Object{secret, cm} {
		if err := client.IgnoreNotFound(s.conn.Live.Delete(ctx, o)); err != nil {
			return false, fmt.Errorf("deleting %s of the cluster: %w", client.ObjectKeyFromObject(o), err)
		}
	}
	err = s.conn.Live.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}})
	switch {
	case apierrors.IsNotFound(err):
	case apierrors.IsConflict(err), err == nil:
		gone = false
	default:
		return false, fmt.Errorf("deleting namespace %s of the cluster: %w", Namespace, err)
	}
	if !gone {
		s.lookAgain(crdPoll)
		return false, s.stop(v1alpha1.ConditionUninstalled, v1alpha1.ReasonRemovingObjects, "every node is clean; the last objects and namespace "+Namespace+" are being removed")
	}
	return true, nil
}

// settleDelete reports how far the removal is, and returns only errors that are to
// be retried.
func (s *scope) settleDelete(err error) error {
	var ended *stopped
	p, connection := s.problem(err)
	stalled, reason := "", ""
	switch {
	case connection:
		message := "the cluster cannot be cleaned now: " + p.Message +
			"; to give it up as it is, remove the finalizer " + v1alpha1.ClusterStackFinalizer + " from this ClusterStack"
		s.set(v1alpha1.ConditionConnected, false, p.Reason, p.Message)
		s.set(v1alpha1.ConditionUninstalled, false, p.Reason, message)
		if p.Person {
			stalled, reason = message, p.Reason
		}
		err = nil
	case errors.As(err, &ended):
		if ended.person {
			s.set(v1alpha1.ConditionUninstalled, false, ended.reason, ended.message)
			stalled, reason = ended.message, ended.reason
		}
		err = nil
	case err != nil:
		if noAnswer(err) {
			s.set(v1alpha1.ConditionConnected, false, v1alpha1.ReasonUnreachable, err.Error())
		}
		s.set(v1alpha1.ConditionUninstalled, false, v1alpha1.ReasonError, err.Error())
	}
	s.set(v1alpha1.ConditionReady, false, v1alpha1.ReasonDeleting, "Fairlead is being removed from the cluster")
	s.setAbnormal(v1alpha1.ConditionStalled, stalled != "", reason, stalled)
	s.setAbnormal(v1alpha1.ConditionReconciling, stalled == "", v1alpha1.ReasonDeleting, "Fairlead is being removed from the cluster")
	return err
}
