// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/objects"
	"github.com/fairlead-io/fairlead/internal/release"
)

// maxDrift bounds the objects that a condition names.
const maxDrift = 5

// driftKinds are the kinds of the release, beside its workloads, that are watched for what
// others do to them: their metadata only, and of our objects only. The six watches take
// little of the operator's memory (internal/fleet), no request while nothing changes, and
// a change is put right within a second. Asking for the kinds instead, every half minute, would
// be 720 requests an hour and cluster, and six of them in every reconcile.
var driftKinds = []struct {
	kind       schema.GroupVersionKind
	namespaced bool
}{
	{corev1.SchemeGroupVersion.WithKind("ServiceAccount"), true},
	{policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"), true},
	{rbacv1.SchemeGroupVersion.WithKind("Role"), true},
	{rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), true},
	{rbacv1.SchemeGroupVersion.WithKind("ClusterRole"), false},
	{rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"), false},
}

// metadataOf is a kind's metadata.
func metadataOf(kind schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(kind)
	return o
}

// cacheDriftKinds restricts the caches of driftKinds to our objects.
func cacheDriftKinds(to map[client.Object]ctrlcache.ByObject) {
	ours := labels.SelectorFromSet(labels.Set{"app.kubernetes.io/name": "fairlead"})
	for _, k := range driftKinds {
		by := ctrlcache.ByObject{Label: ours}
		if k.namespaced {
			by.Namespaces = map[string]ctrlcache.Config{Namespace: {}}
		}
		to[metadataOf(k.kind)] = by
	}
}

// watchForDrift starts the watches on driftKinds.
func (r *Reconciler) watchForDrift(s *scope) error {
	for _, k := range driftKinds {
		if err := r.watch(s, metadataOf(k.kind)); err != nil {
			return err
		}
	}
	return nil
}

// look says what is held of an object of the release.
func (s *scope) look(ctx context.Context, ref release.Ref) (mark string, watched bool, err error) {
	var o client.Object
	switch {
	case ref.Kind == appsv1.SchemeGroupVersion.WithKind("DaemonSet") && ref.Namespace == Namespace && ref.Name == agentName:
		o = &appsv1.DaemonSet{}
	case ref.Kind == appsv1.SchemeGroupVersion.WithKind("Deployment") && ref.Namespace == Namespace && ref.Name == controllerName:
		o = &appsv1.Deployment{}
	default:
		if !isDriftKind(ref) {
			return "", false, nil
		}
		o = metadataOf(ref.Kind)
	}
	err = s.conn.Cached.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, o)
	if apierrors.IsNotFound(err) {
		return "", true, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("reading %s of the cluster: %w", ref, err)
	}
	return objects.Mark(o), true, nil
}

func isDriftKind(ref release.Ref) bool {
	for _, k := range driftKinds {
		if k.kind == ref.Kind {
			return !k.namespaced || ref.Namespace == Namespace
		}
	}
	return false
}

// reportDrift puts what differs from the release into the condition Drifted, and has it
// looked at again when what is left alone for now is due.
func (s *scope) reportDrift(t *release.Target) {
	drift := t.Drift()
	s.setAbnormal(v1alpha1.ConditionDrifted, len(drift) > 0, v1alpha1.ReasonDrifted, driftMessage(drift))
	for _, d := range drift {
		if d.Wait > 0 && s.cs.Spec.DriftPolicy != v1alpha1.DriftReport {
			s.lookAgain(d.Wait + time.Second)
		}
	}
}

// driftMessage names what differs: the first few objects, and of those that are left alone
// for a while who is at odds with the release.
func driftMessage(drift []release.Difference) string {
	if len(drift) == 0 {
		return ""
	}
	var out, again []string
	for i, d := range drift {
		if i == maxDrift {
			out = append(out, fmt.Sprintf("and %d more", len(drift)-maxDrift))
			break
		}
		out = append(out, d.String())
		if d.Wait > 0 {
			by := d.By
			if by == "" {
				by = "somebody"
			}
			again = append(again, fmt.Sprintf("%s changes %s whenever it is put right", by, d.Ref))
		}
	}
	message := strings.Join(out, "; ")
	if len(again) > 0 {
		message += "; " + strings.Join(slices.Compact(again), ", ") + ": it is put right at most every 10 minutes until that ends; name the fields in spec.driftIgnore to leave them"
	}
	return message
}
