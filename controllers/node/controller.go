// SPDX-License-Identifier: Apache-2.0

// Package node feeds the Nodes of a cluster into the model and the result into the
// store. It owns no decision: internal/model has those.
package node

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// coalesce is how long changes are gathered before the model is built again.
const coalesce = 5 * time.Millisecond

// everything is the one request of this controller: all Nodes are one model.
var everything = reconcile.Request{}

// Reconciler builds the nodes' model.
type Reconciler struct {
	// Client reads Nodes from a cache.
	Client client.Reader
	Store  *serve.Store
	// ClusterPodCIDRs are all ranges that pods of the cluster may have.
	ClusterPodCIDRs []string
	// Built is told of every new model; it must not block.
	Built func(model.Nodes)

	mu       sync.Mutex          // from reading the cache to swapping: an older result must not replace a newer
	scopes   map[string]struct{} // nodes that the store has
	findings map[string]struct{} // what was logged already
}

// SetupWithManager watches Nodes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	enqueue := func(q workqueue.TypedRateLimitingInterface[reconcile.Request]) { q.AddAfter(everything, coalesce) }
	return ctrl.NewControllerManagedBy(mgr).Named("node").
		Watches(&corev1.Node{}, handler.Funcs{
			CreateFunc: func(_ context.Context, _ event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
				enqueue(q)
			},
			UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
				if relevant(e.ObjectOld.(*corev1.Node), e.ObjectNew.(*corev1.Node)) {
					enqueue(q)
				}
			},
			DeleteFunc: func(_ context.Context, _ event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
				enqueue(q)
			},
		}).
		Complete(r)
}

// relevant says whether the model can see a difference. Most updates of a Node are heartbeats.
func relevant(before, after *corev1.Node) bool {
	a, b := toModel(before), toModel(after)
	return before.UID != after.UID || !a.Created.Equal(b.Created) || a.Zone != b.Zone ||
		!slices.Equal(a.PodCIDRs, b.PodCIDRs) || !slices.Equal(a.InternalIPs, b.InternalIPs)
}

func toModel(n *corev1.Node) model.Node {
	out := model.Node{Name: n.Name, Created: n.CreationTimestamp.Time, PodCIDRs: n.Spec.PodCIDRs,
		Zone: n.Labels[corev1.LabelTopologyZone]}
	if len(out.PodCIDRs) == 0 && n.Spec.PodCIDR != "" {
		out.PodCIDRs = []string{n.Spec.PodCIDR}
	}
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			out.InternalIPs = append(out.InternalIPs, a.Address)
		}
	}
	return out
}

// Transform leaves of a Node what the model needs, before it enters the cache.
func Transform(obj any) (any, error) {
	n, ok := obj.(*corev1.Node)
	if !ok {
		return obj, nil // a tombstone
	}
	return &corev1.Node{
		TypeMeta: n.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{
			Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion,
			CreationTimestamp: n.CreationTimestamp, DeletionTimestamp: n.DeletionTimestamp,
			Labels: n.Labels, // AddressPools select nodes by them
		},
		Spec:   corev1.NodeSpec{PodCIDR: n.Spec.PodCIDR, PodCIDRs: n.Spec.PodCIDRs},
		Status: corev1.NodeStatus{Addresses: n.Status.Addresses, Conditions: ready(n.Status.Conditions)},
	}, nil
}

// ready leaves of a Node's conditions whether it is Ready, without the times of heartbeats.
func ready(in []corev1.NodeCondition) []corev1.NodeCondition {
	for _, c := range in {
		if c.Type == corev1.NodeReady {
			return []corev1.NodeCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	return nil
}

// Reconcile builds the model of all Nodes and swaps it in.
func (r *Reconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list corev1.NodeList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, err
	}
	nodes := make([]model.Node, 0, len(list.Items))
	for i := range list.Items {
		nodes = append(nodes, toModel(&list.Items[i]))
	}
	built := model.BuildNodes(r.ClusterPodCIDRs, nodes)
	r.swap(built)
	r.report(ctx, built)
	if r.Built != nil {
		r.Built(built)
	}
	return reconcile.Result{}, nil
}

// swap puts a model into the store. Nodes come before they are anybody's peer, and
// go after.
func (r *Reconciler) swap(built model.Nodes) {
	for name, local := range built.Local {
		r.Store.Swap(name, state.LocalNodeType, []state.Resource{local})
	}
	r.Store.Swap(serve.Shared, state.PeerNodeType, built.Peers)
	for name := range r.scopes {
		if _, ok := built.Local[name]; !ok {
			r.Store.Swap(name, state.LocalNodeType, nil)
		}
	}
	r.scopes = make(map[string]struct{}, len(built.Local))
	for name := range built.Local {
		r.scopes[name] = struct{}{}
	}
}

// report logs each finding once, until it is gone.
func (r *Reconciler) report(ctx context.Context, built model.Nodes) {
	now := map[string]struct{}{}
	for _, findings := range built.Findings {
		for _, f := range findings {
			now[f.String()] = struct{}{}
			if _, known := r.findings[f.String()]; !known {
				log.FromContext(ctx).Info("a Node cannot be used as it is; the others go on",
					"object", f.Object, "field", f.Field, "message", f.Message, "fix", f.Fix)
			}
		}
	}
	r.findings = now
}

// Sync builds the model of all Nodes: the store's first content.
func (r *Reconciler) Sync(ctx context.Context) error {
	_, err := r.Reconcile(ctx, everything)
	return err
}
