// SPDX-License-Identifier: Apache-2.0

// Package controllerslice keeps the EndpointSlice by which agents find the
// controllers. It owns that one object. Every replica keeps it: all compute the
// same, and whoever is first writes.
package controllerslice

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Labels select the controllers' pods in their namespace.
var Labels = client.MatchingLabels{"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": "controller"}

// Reconciler keeps the EndpointSlice.
type Reconciler struct {
	Client    client.Client
	Namespace string
	// Port is that of the xDS server on the host's address.
	Port int32
}

// SetupWithManager watches the controllers' pods and the slice.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	one := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: r.Namespace, Name: Name}}
	toOne := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{one}
	})
	return ctrl.NewControllerManagedBy(mgr).Named("controllerslice").
		Watches(&corev1.Pod{}, toOne, builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool {
			return IsController(r.Namespace, o)
		}))).
		Watches(&discoveryv1.EndpointSlice{}, toOne, builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool {
			return o.GetNamespace() == r.Namespace && o.GetName() == Name
		}))).
		Complete(r)
}

// IsController says whether an object is a controller's pod, by namespace and labels.
func IsController(namespace string, o client.Object) bool {
	if o.GetNamespace() != namespace {
		return false
	}
	labels := o.GetLabels()
	for k, v := range Labels {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// Reconcile writes the slice if it differs from what the pods say.
func (r *Reconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, client.InNamespace(r.Namespace), Labels); err != nil {
		return reconcile.Result{}, err
	}
	want := Desired(r.Namespace, r.Port, pods.Items)
	if want == nil {
		return reconcile.Result{}, nil
	}
	have := &discoveryv1.EndpointSlice{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(want), have)
	switch {
	case apierrors.IsNotFound(err):
		err = r.Client.Create(ctx, want)
	case err != nil:
	case have.AddressType != want.AddressType:
		// The family cannot be changed. The slice's deletion brings us back here.
		err = r.Client.Delete(ctx, have, client.Preconditions{UID: &have.UID, ResourceVersion: &have.ResourceVersion})
	case same(have, want):
		return reconcile.Result{}, nil
	default:
		want.ObjectMeta = mergedMeta(have, want)
		err = r.Client.Update(ctx, want) // fails if another replica was faster
	}
	if apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil // the other replica's write is on its way to the cache
	}
	if err == nil {
		log.FromContext(ctx).Info("wrote the controllers' addresses", "endpoints", len(want.Endpoints))
	}
	return reconcile.Result{}, err
}

func same(have, want *discoveryv1.EndpointSlice) bool {
	for k, v := range want.Labels {
		if have.Labels[k] != v {
			return false
		}
	}
	return equality.Semantic.DeepEqual(have.Endpoints, want.Endpoints) && equality.Semantic.DeepEqual(have.Ports, want.Ports)
}

// mergedMeta keeps what others have put on the object.
func mergedMeta(have, want *discoveryv1.EndpointSlice) metav1.ObjectMeta {
	meta := *have.ObjectMeta.DeepCopy()
	if meta.Labels == nil {
		meta.Labels = map[string]string{}
	}
	maps.Copy(meta.Labels, want.Labels)
	return meta
}
