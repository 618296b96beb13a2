// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-io/fairlead/internal/interest"
	"github.com/fairlead-io/fairlead/internal/model/policy"
)

// PolicyReconciler feeds Nodes to the policies that name nodes as peers.
type PolicyReconciler struct {
	// Client reads Nodes from a cache.
	Client client.Reader
	Feed   *interest.Feed
}

// SetupWithManager watches Nodes.
func (r *PolicyReconciler) SetupWithManager(mgr ctrl.Manager) error {
	seen := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*corev1.Node), e.ObjectNew.(*corev1.Node)
		return !maps.Equal(before.Labels, after.Labels) || !slices.Equal(addresses(before), addresses(after))
	}}
	return ctrl.NewControllerManagedBy(mgr).Named("nodepolicy").
		Watches(&corev1.Node{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(seen)).
		Complete(r)
}

// addresses are all that the Node reports, whatever their type.
func addresses(n *corev1.Node) (out []netip.Addr) {
	for _, a := range n.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil && addr.Zone() == "" {
			out = append(out, addr.Unmap()) // others are names
		}
	}
	return out
}

// Reconcile takes the request's Node over.
func (r *PolicyReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	return reconcile.Result{}, r.Feed.Change(func(x *policy.Index) error {
		var n corev1.Node
		err := r.Client.Get(ctx, req.NamespacedName, &n)
		switch {
		case client.IgnoreNotFound(err) != nil:
			return err
		case err != nil:
			x.RemoveNode(req.Name)
		default:
			x.SetNode(n.Name, n.Labels, addresses(&n))
		}
		return nil
	})
}

// SyncAll takes all Nodes over.
func (r *PolicyReconciler) SyncAll(ctx context.Context) error {
	return r.Feed.Change(func(x *policy.Index) error {
		var list corev1.NodeList
		if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
			return err
		}
		for i := range list.Items {
			x.SetNode(list.Items[i].Name, list.Items[i].Labels, addresses(&list.Items[i]))
		}
		return nil
	})
}
