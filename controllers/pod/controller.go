// SPDX-License-Identifier: Apache-2.0

// Package pod feeds the Pods of a cluster, node by node, into the model and the
// result into the store. It owns no decision: internal/model has those.
package pod

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

// coalesce is how long changes of one node's pods are gathered.
const coalesce = 5 * time.Millisecond

// nodeNameField is the cache's index of Pods by their node.
const nodeNameField = "spec.nodeName"

// Reconciler builds the endpoints of one node at a time. Its requests carry the
// node's name.
type Reconciler struct {
	// Client reads Pods from a cache with the index that SetupWithManager adds.
	Client client.Reader
	Store  *serve.Store

	mu sync.Mutex // from reading the cache to swapping: an older result must not replace a newer
}

// SetupWithManager watches Pods and indexes them by node.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &corev1.Pod{}, nodeNameField, func(o client.Object) []string {
		if node := o.(*corev1.Pod).Spec.NodeName; node != "" {
			return []string{node}
		}
		return nil
	})
	if err != nil {
		return err
	}
	enqueue := func(o client.Object, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		if node := o.(*corev1.Pod).Spec.NodeName; node != "" {
			q.AddAfter(request(node), coalesce)
		}
	}
	return ctrl.NewControllerManagedBy(mgr).Named("pod").
		Watches(&corev1.Pod{}, handler.Funcs{
			CreateFunc: func(_ context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
				enqueue(e.Object, q)
			},
			UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
				before, after := e.ObjectOld.(*corev1.Pod), e.ObjectNew.(*corev1.Pod)
				if relevant(before, after) {
					enqueue(before, q)
					enqueue(after, q)
				}
			},
			DeleteFunc: func(_ context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
				enqueue(e.Object, q)
			},
		}).
		Complete(r)
}

func request(node string) reconcile.Request {
	var req reconcile.Request
	req.Name = node
	return req
}

// relevant says whether the model can see a difference.
func relevant(before, after *corev1.Pod) bool {
	a, b := toModel(before), toModel(after)
	return before.Spec.NodeName != after.Spec.NodeName || a.UID != b.UID ||
		a.HostNetwork != b.HostNetwork || a.Finished != b.Finished || !slices.Equal(a.IPs, b.IPs)
}

func toModel(p *corev1.Pod) model.Pod {
	out := model.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID),
		HostNetwork: p.Spec.HostNetwork,
		Finished:    p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
	}
	for _, ip := range p.Status.PodIPs {
		out.IPs = append(out.IPs, ip.IP)
	}
	if len(out.IPs) == 0 && p.Status.PodIP != "" {
		out.IPs = []string{p.Status.PodIP}
	}
	return out
}

// Reconcile builds the endpoints of the request's node and swaps them in.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, client.MatchingFields{nodeNameField: req.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, err
	}
	r.build(ctx, req.Name, list.Items)
	return reconcile.Result{}, nil
}

// SyncAll builds the endpoints of every node: the store's first content.
func (r *Reconciler) SyncAll(ctx context.Context) error {
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	nodes := map[string]struct{}{}
	for i := range list.Items {
		if node := list.Items[i].Spec.NodeName; node != "" {
			nodes[node] = struct{}{}
		}
	}
	for node := range nodes {
		if _, err := r.Reconcile(ctx, request(node)); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reconciler) build(ctx context.Context, node string, pods []corev1.Pod) {
	in := make([]model.Pod, 0, len(pods))
	for i := range pods {
		in = append(in, toModel(&pods[i]))
	}
	resources, findings := model.BuildEndpoints(in)
	r.Store.Swap(node, state.EndpointType, resources)
	for _, f := range findings {
		log.FromContext(ctx).Info("a Pod cannot be used as it is; the others go on",
			"object", f.Object, "field", f.Field, "message", f.Message, "fix", f.Fix)
	}
}
