// SPDX-License-Identifier: Apache-2.0

// Package networkpolicy feeds NetworkPolicies to the agents that they concern, and tells
// people by Events what cannot be enforced and what is in force. It owns no decision:
// internal/model/policy has those.
package networkpolicy

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/interest"
	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/model/policy"
)

const (
	// maxEvents bounds the Events about the faults of one NetworkPolicy; the log has all.
	maxEvents = 8
	// eventsPerSecond and eventBurst bound those about what is in force, over all of them.
	eventsPerSecond, eventBurst = 5, 50
)

// Reconciler takes one NetworkPolicy at a time over.
type Reconciler struct {
	// Client reads NetworkPolicies from a cache.
	Client client.Reader
	Feed   *interest.Feed
	Events events.EventRecorder

	mu      sync.Mutex
	taken   map[types.NamespacedName]generation
	limiter *rate.Limiter
}

// generation tells contents of an object apart, and the object from its successors.
type generation struct {
	uid types.UID
	of  int64
}

// SetupWithManager watches NetworkPolicies.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("networkpolicy").
		Watches(&networkingv1.NetworkPolicy{}, &handler.EnqueueRequestForObject{}).
		Complete(r)
}

// Transform leaves of a NetworkPolicy what it says, before it enters the cache.
func Transform(obj any) (any, error) {
	p, ok := obj.(*networkingv1.NetworkPolicy)
	if !ok {
		return obj, nil // a tombstone
	}
	return &networkingv1.NetworkPolicy{TypeMeta: p.TypeMeta, Spec: p.Spec, ObjectMeta: metav1.ObjectMeta{
		Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion, Generation: p.Generation,
	}}, nil
}

// Reconcile takes the request's NetworkPolicy over.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return reconcile.Result{}, r.take(ctx, req.NamespacedName)
}

// SyncAll takes all NetworkPolicies over.
func (r *Reconciler) SyncAll(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list networkingv1.NetworkPolicyList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	for i := range list.Items {
		if err := r.take(ctx, client.ObjectKeyFromObject(&list.Items[i])); err != nil {
			return err
		}
	}
	return nil
}

// take reads a NetworkPolicy, under the lock, and takes it over if it is new.
func (r *Reconciler) take(ctx context.Context, key types.NamespacedName) error {
	if r.taken == nil {
		r.taken, r.limiter = map[types.NamespacedName]generation{}, rate.NewLimiter(eventsPerSecond, eventBurst)
	}
	p := &networkingv1.NetworkPolicy{}
	err := r.Client.Get(ctx, key, p)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	resource := policy.NetworkPolicyName(key.Namespace, key.Name)
	if err != nil {
		delete(r.taken, key)
		r.Feed.RemovePolicy(resource, func(x *policy.Index) { x.RemoveNetworkPolicy(key.Namespace, key.Name) })
		return nil
	}
	now := generation{p.UID, p.Generation}
	if r.taken[key] == now {
		return nil
	}
	r.taken[key] = now
	findings := r.Feed.SetPolicy(interest.Policy{
		Resource: resource, Kind: "NetworkPolicy", Generation: p.Generation,
		Set:  func(x *policy.Index) []model.Finding { return x.SetNetworkPolicy(p) },
		Told: func(in interest.InForce) { r.inForce(reference(p), in) },
	})
	r.tell(ctx, p, findings)
	return nil
}

// reference is what an Event needs of a NetworkPolicy.
func reference(p *networkingv1.NetworkPolicy) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion}}
}

// tell tells people of what is wrong, once for each generation.
func (r *Reconciler) tell(ctx context.Context, p *networkingv1.NetworkPolicy, findings []model.Finding) {
	for i, f := range findings {
		log.FromContext(ctx).Info("a part of a NetworkPolicy cannot be enforced as it is and allows nothing; the rest goes on",
			"object", f.Object, "field", f.Field, "message", f.Message, "fix", f.Fix)
		if i < maxEvents && r.Events != nil {
			// Events of one object, reason and action are taken for one another: the action names the field.
			r.Events.Eventf(reference(p), nil, corev1.EventTypeWarning, v1alpha1.ReasonNotEnforced, "Enforce "+f.Field[:min(len(f.Field), 100)],
				"%s: %s; %s", f.Field, f.Message, f.Fix)
		}
	}
}

// inForce tells people that a generation is in force. Nobody is told of what was in force
// when the controller started.
func (r *Reconciler) inForce(p *networkingv1.NetworkPolicy, in interest.InForce) {
	if r.Events == nil || in.Acknowledged+in.Refused == 0 || !r.limiter.Allow() {
		return
	}
	if in.Refused > 0 {
		r.Events.Eventf(p, nil, corev1.EventTypeWarning, v1alpha1.ReasonRefused, "Enforce",
			"generation %d: refused by %d nodes, acknowledged by %d; see their NodeNetworks", in.Generation, in.Refused, in.Acknowledged)
		return
	}
	r.Events.Eventf(p, nil, corev1.EventTypeNormal, v1alpha1.ReasonInForce, "Enforce",
		"generation %d: acknowledged by %d nodes after %s", in.Generation, in.Acknowledged, in.After.Round(100*time.Microsecond))
}
