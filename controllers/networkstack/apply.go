// SPDX-License-Identifier: Apache-2.0

package networkstack

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/stack"
)

// apply brings ClusterStacks in line. One that cannot be applied does not hold the others
// back.
func (r *Reconciler) apply(ctx context.Context, s *scope, due []*v1alpha1.ClusterStackSpec) error {
	var errs []error
	for _, spec := range due {
		existing := s.existing(spec.ClusterName)
		applied, err := r.applyOne(ctx, s.stack, spec)
		if err != nil {
			errs = append(errs, fmt.Errorf("applying ClusterStack %s/%s: %w", s.stack.Namespace, spec.ClusterName, err))
			continue
		}
		ctrl.LoggerFrom(ctx).Info("Applied ClusterStack", "clusterStack", spec.ClusterName, "plan", spec.PlanDigest, "version", spec.Version, "wave", spec.Wave, "adoptOnly", spec.AdoptOnly)
		if existing != nil && !existing.Spec.AdoptOnly {
			r.announce(applied, stack.Changes(existing.Spec, *spec))
		}
		s.children[spec.ClusterName] = applied
		delete(s.others, spec.ClusterName)
	}
	return errors.Join(errs...)
}

// announce says in events at a ClusterStack what its changed configuration does to the
// cluster, so that a person who looks at it knows what goes on.
func (r *Reconciler) announce(cs *v1alpha1.ClusterStack, changes []stack.Change) {
	for _, c := range changes {
		// The action names the field: the recorder takes events that differ in their
		// note alone for one event.
		r.Events.Eventf(cs, nil, corev1.EventTypeNormal, c.Reason, "Change "+c.Field, "%s", c)
	}
}

// upToDate says that a ClusterStack is as planned, so that it need not be sent.
func upToDate(cs *v1alpha1.ClusterStack, owner *v1alpha1.NetworkStack, spec *v1alpha1.ClusterStackSpec) bool {
	want := spec.DeepCopy()
	want.Pinned, want.Override = cs.Spec.Pinned, cs.Spec.Override // its owners'
	return equality.Semantic.DeepEqual(cs.Spec, *want) &&
		cs.Labels[v1alpha1.NetworkStackLabel] == owner.Name &&
		slices.Contains(cs.Finalizers, v1alpha1.ClusterStackFinalizer) &&
		metav1.IsControlledBy(cs, owner)
}

// applyOne applies one ClusterStack. All NetworkStacks apply as one field owner, so
// that a cluster that changes hands loses its former owner reference.
func (r *Reconciler) applyOne(ctx context.Context, owner *v1alpha1.NetworkStack, spec *v1alpha1.ClusterStackSpec) (*v1alpha1.ClusterStack, error) {
	want := &v1alpha1.ClusterStack{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ClusterStack"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: owner.Namespace, Name: spec.ClusterName,
			Labels: map[string]string{
				v1alpha1.NetworkStackLabel:     owner.Name,
				"app.kubernetes.io/name":       "fairlead",
				"app.kubernetes.io/managed-by": "fairlead-operator",
			},
			// From the first moment, so that there is no window in which a deletion
			// would leave a cluster behind.
			Finalizers: []string{v1alpha1.ClusterStackFinalizer},
			OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(owner, v1alpha1.GroupVersion.WithKind("NetworkStack")),
			},
		},
		Spec: *spec,
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(want)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: content}
	unstructured.RemoveNestedField(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	if err := r.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), fieldOwner, client.ForceOwnership); err != nil {
		return nil, err
	}
	applied := &v1alpha1.ClusterStack{}
	return applied, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, applied)
}

// prune deletes the ClusterStacks of clusters that are no longer held. One that
// another NetworkStack takes over is left to it, so that the cluster's network stays up.
func (r *Reconciler) prune(ctx context.Context, s *scope) error {
	var errs []error
	for name, cs := range s.children {
		held := s.plan != nil && slices.ContainsFunc(s.plan.Clusters, func(p stack.ClusterPlan) bool { return p.Cluster == name })
		if held || !cs.DeletionTimestamp.IsZero() || s.heir(name) != "" {
			continue
		}
		ctrl.LoggerFrom(ctx).Info("Deleting ClusterStack: its cluster is no longer selected", "clusterStack", name)
		opts := []client.DeleteOption{client.Preconditions{UID: &cs.UID, ResourceVersion: &cs.ResourceVersion}}
		if err := ignoreGone(r.Client.Delete(ctx, cs, opts...)); err != nil {
			errs = append(errs, fmt.Errorf("deleting ClusterStack %s/%s: %w", cs.Namespace, cs.Name, err))
		}
	}
	return errors.Join(errs...)
}

// wouldEmpty counts the clusters that an edited selector, which matches no Cluster any more,
// would take the network from. An edit that takes it from all is a slip; labels that are taken
// from Clusters one by one are not.
func (s *scope) wouldEmpty() int {
	if known := s.stack.Status.SelectorDigest; known == "" || known == selectorDigest(s.stack) || s.plan.Selected > 0 {
		return 0
	}
	n := 0
	for name, cs := range s.children {
		there := slices.ContainsFunc(s.clusters, func(c stack.Cluster) bool { return c.Name == name && !c.Deleting })
		if there && cs.DeletionTimestamp.IsZero() && s.heir(name) == "" {
			n++
		}
	}
	return n
}

// selectorDigest identifies what a stack selects by.
func selectorDigest(s *v1alpha1.NetworkStack) string {
	return stack.Digest([]any{s.Spec.AllClusters, s.Spec.ClusterSelector})
}

// heir is the NetworkStack that takes a cluster over from this one.
func (s *scope) heir(cluster string) string {
	i := slices.IndexFunc(s.clusters, func(c stack.Cluster) bool { return c.Name == cluster })
	if i < 0 {
		return ""
	}
	return stack.Heir(s.stack.Name, s.all, s.clusters[i], s.versions)
}
