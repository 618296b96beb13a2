// SPDX-License-Identifier: Apache-2.0

// Package clusternetworkpolicy feeds ClusterNetworkPolicies to the agents that they concern,
// and says in their status what cannot be enforced and what is in force. It owns no decision:
// internal/model/policy has those.
package clusternetworkpolicy

import (
	"context"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/interest"
	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/model/policy"
)

// patience is how long a generation may be on its way before the status says so: usually it
// is in force within milliseconds, and one write says all.
const patience = time.Second

// again is the pause before a policy that waits for another replica's subscribers is looked
// at again: they may have come here.
const again = 5 * time.Second

// Reconciler takes one ClusterNetworkPolicy at a time over.
type Reconciler struct {
	// Client reads ClusterNetworkPolicies from a cache and writes their status.
	Client client.Client
	Feed   *interest.Feed
	// Self is this replica's pod.
	Self string

	mu    sync.Mutex
	known map[string]*outcome
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
}

// outcome is what has become of a generation.
type outcome struct {
	uid        types.UID
	generation int64
	since      time.Time
	findings   []model.Finding
	inForce    *interest.InForce // nil: it is on its way
}

// SetupWithManager watches ClusterNetworkPolicies.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("clusternetworkpolicy").
		Watches(&policyv1.ClusterNetworkPolicy{}, &handler.EnqueueRequestForObject{}).
		WatchesRawSource(source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.queue = q
			return nil
		})).
		Complete(r)
}

// Transform drops what is not needed of a ClusterNetworkPolicy before it enters the cache.
func Transform(obj any) (any, error) {
	if o, ok := obj.(metav1.Object); ok {
		o.SetManagedFields(nil)
		o.SetAnnotations(nil)
	}
	return obj, nil
}

// Reconcile takes the request's ClusterNetworkPolicy over and writes its status.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	r.mu.Lock()
	p, o, err := r.take(ctx, req.Name)
	r.mu.Unlock()
	if err != nil || p == nil {
		return reconcile.Result{}, err
	}
	if left := patience - time.Since(o.since); o.inForce == nil && left > 0 {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	waits, err := r.write(ctx, p, o)
	if waits {
		return reconcile.Result{RequeueAfter: again}, err
	}
	return reconcile.Result{}, err
}

// SyncAll takes all ClusterNetworkPolicies over.
func (r *Reconciler) SyncAll(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list policyv1.ClusterNetworkPolicyList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	for i := range list.Items {
		if _, _, err := r.take(ctx, list.Items[i].Name); err != nil {
			return err
		}
	}
	return nil
}

// take reads a ClusterNetworkPolicy, under the lock, takes it over if it is new, and returns
// it with what is known of it by now; nil if it is gone.
func (r *Reconciler) take(ctx context.Context, name string) (*policyv1.ClusterNetworkPolicy, outcome, error) {
	if r.known == nil {
		r.known = map[string]*outcome{}
	}
	p := &policyv1.ClusterNetworkPolicy{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: name}, p)
	if client.IgnoreNotFound(err) != nil {
		return nil, outcome{}, err
	}
	resource := policy.ClusterNetworkPolicyName(name)
	if err != nil {
		delete(r.known, name)
		r.Feed.RemovePolicy(resource, func(x *policy.Index) { x.RemoveClusterNetworkPolicy(name) })
		return nil, outcome{}, nil
	}
	o := r.known[name]
	if o == nil || o.uid != p.UID || o.generation != p.Generation {
		o = &outcome{uid: p.UID, generation: p.Generation, since: time.Now()}
		r.known[name] = o
		o.findings = r.Feed.SetPolicy(interest.Policy{
			Resource: resource, Kind: "ClusterNetworkPolicy", Generation: p.Generation,
			Set:  func(x *policy.Index) []model.Finding { return x.SetClusterNetworkPolicy(p) },
			Told: func(in interest.InForce) { r.told(name, o, in) },
		})
		for _, f := range o.findings {
			log.FromContext(ctx).Info("a part of a ClusterNetworkPolicy cannot be enforced as it is and fails closed; the rest goes on",
				"object", f.Object, "field", f.Field, "message", f.Message, "fix", f.Fix)
		}
	}
	return p, *o, nil
}

// told notes that a generation is in force and has its status written.
func (r *Reconciler) told(name string, o *outcome, in interest.InForce) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o.inForce = &in
	if r.queue != nil {
		var req reconcile.Request
		req.Name = name
		r.queue.Add(req)
	}
}

// write writes the status if it says something else, and says whether it waits for another
// replica. Of several replicas that write at once, the others look again.
func (r *Reconciler) write(ctx context.Context, p *policyv1.ClusterNetworkPolicy, o outcome) (waits bool, err error) {
	var others []string
	if o.inForce != nil {
		if others, err = r.servers(ctx, o.inForce.Elsewhere); err != nil {
			return false, err
		}
	}
	after := p.DeepCopy()
	changed := setStatus(after, o, r.Self, others)
	c := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionInForce)
	waits = o.inForce != nil && c != nil && c.Reason == v1alpha1.ReasonWaiting
	if !changed {
		return waits, nil
	}
	err = r.Client.Status().Patch(ctx, after, client.MergeFromWithOptions(p, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsConflict(err) {
		return true, nil // its news is on the way here
	}
	return waits, client.IgnoreNotFound(err)
}

// servers are the replicas that nodes are connected to.
func (r *Reconciler) servers(ctx context.Context, nodes []string) ([]string, error) {
	var out []string
	for _, node := range nodes {
		var n v1alpha1.NodeNetwork
		if err := r.Client.Get(ctx, client.ObjectKey{Name: node}, &n); err != nil {
			if client.IgnoreNotFound(err) != nil {
				return nil, err
			}
			continue
		}
		if by := n.Status.ServedBy; by != "" && meta.IsStatusConditionTrue(n.Status.Conditions, v1alpha1.ConditionConnected) {
			out = append(out, by)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
