// SPDX-License-Identifier: Apache-2.0

// Package namespace feeds the labels of namespaces to the policies that select by them. It
// owns no decision: internal/model/policy has those.
package namespace

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-io/fairlead/internal/interest"
	"github.com/fairlead-io/fairlead/internal/model/policy"
)

// Reconciler takes one Namespace at a time over.
type Reconciler struct {
	// Client reads Namespaces from a cache.
	Client client.Reader
	Feed   *interest.Feed
}

// SetupWithManager watches Namespaces.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("namespace").
		Watches(&corev1.Namespace{}, &handler.EnqueueRequestForObject{}).
		Complete(r)
}

// Transform leaves of a Namespace its labels, before it enters the cache.
func Transform(obj any) (any, error) {
	n, ok := obj.(*corev1.Namespace)
	if !ok {
		return obj, nil // a tombstone
	}
	return &corev1.Namespace{TypeMeta: n.TypeMeta, ObjectMeta: metav1.ObjectMeta{
		Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion, DeletionTimestamp: n.DeletionTimestamp, Labels: n.Labels,
	}}, nil
}

// Reconcile takes the request's Namespace over.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	return reconcile.Result{}, r.Feed.Change(func(x *policy.Index) error {
		var n corev1.Namespace
		err := r.Client.Get(ctx, req.NamespacedName, &n)
		switch {
		case client.IgnoreNotFound(err) != nil:
			return err
		case err != nil:
			x.RemoveNamespace(req.Name)
		default:
			x.SetNamespace(n.Name, n.Labels)
		}
		return nil
	})
}

// SyncAll takes all Namespaces over.
func (r *Reconciler) SyncAll(ctx context.Context) error {
	return r.Feed.Change(func(x *policy.Index) error {
		var list corev1.NamespaceList
		if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
			return err
		}
		for i := range list.Items {
			x.SetNamespace(list.Items[i].Name, list.Items[i].Labels)
		}
		return nil
	})
}
