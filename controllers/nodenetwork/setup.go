// SPDX-License-Identifier: Apache-2.0

package nodenetwork

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// SetupWithManager watches Nodes (whether they exist), NodeNetworks (what other
// replicas wrote) and the replicas' pods (whether they live).
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	sameName := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		return []reconcile.Request{request(o.GetName())}
	})
	replacedOnly := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetUID() != e.ObjectNew.GetUID()
	}}
	servedByPod := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return r.servedBy(ctx, o.GetName())
	})
	readyChanged := predicate.And(predicate.NewPredicateFuncs(r.IsController), predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return podReady(e.ObjectOld.(*corev1.Pod)) != podReady(e.ObjectNew.(*corev1.Pod))
	}})
	return ctrl.NewControllerManagedBy(mgr).Named("nodenetwork").
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Watches(&corev1.Node{}, sameName, builder.WithPredicates(replacedOnly)).
		Watches(&v1alpha1.NodeNetwork{}, sameName).
		Watches(&corev1.Pod{}, servedByPod, builder.WithPredicates(readyChanged)).
		WatchesRawSource(source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.queue = q
			return nil
		})).
		Complete(r)
}

// Transform drops what is not needed of a NodeNetwork before it enters the cache.
func Transform(obj any) (any, error) {
	if o, ok := obj.(metav1.Object); ok {
		o.SetManagedFields(nil)
	}
	return obj, nil
}
