// SPDX-License-Identifier: Apache-2.0

// Package fleetpool reconciles FleetPools: it gives Clusters without a topology their addresses
// (those with one get them by Cluster API's hooks, or here, whoever is first), takes back what
// Clusters that are gone held, and reports what is left. What is given is decided and written by
// internal/birth. It must not reach a workload cluster.
package fleetpool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/birth"
)

const (
	// together is how many Clusters are given addresses at a time: they share a write.
	together = 32
	// askAgain is when Clusters that get nothing are looked at again, beside the events that
	// may change that.
	askAgain = 30 * time.Second
	// catchUp is what a cache that is behind gets to catch up.
	catchUp = 200 * time.Millisecond
)

// Reconciler reconciles FleetPools.
type Reconciler struct {
	Client client.Client
	// Live reads the management cluster without a cache.
	Live  client.Reader
	Giver *birth.Giver
	Now   func() time.Time
}

// SetupWithManager adds the reconciler to a manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	everyPool := handler.EnqueueRequestsFromMapFunc(r.pools)
	return ctrl.NewControllerManagedBy(mgr).
		Named("fleetpool").
		// A change of one may make another valid, or not.
		Watches(&v1alpha1.FleetPool{}, everyPool, builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		Watches(&clusterv1.Cluster{}, handler.EnqueueRequestsFromMapFunc(r.poolsOfNamespace), builder.WithPredicates(matters())).
		Complete(r)
}

// matters passes the changes of a Cluster that addresses may follow from.
func matters() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*clusterv1.Cluster)
		after, ok2 := e.ObjectNew.(*clusterv1.Cluster)
		return !ok1 || !ok2 || before.Generation != after.Generation ||
			!maps.Equal(before.Labels, after.Labels) || !maps.Equal(before.Annotations, after.Annotations) ||
			!equality.Semantic.DeepEqual(before.Status.Initialization, after.Status.Initialization)
	}}
}

func (r *Reconciler) pools(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.list(ctx)
}

func (r *Reconciler) poolsOfNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	return r.list(ctx, client.InNamespace(o.GetNamespace()))
}

func (r *Reconciler) list(ctx context.Context, options ...client.ListOption) []reconcile.Request {
	var all v1alpha1.FleetPoolList
	if err := r.Client.List(ctx, &all, options...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing the FleetPools failed")
		return nil
	}
	out := make([]reconcile.Request, 0, len(all.Items))
	for i := range all.Items {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&all.Items[i])})
	}
	return out
}

// Reconcile brings what Clusters hold, and what is said of it, in line with the Clusters.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	object := &v1alpha1.FleetPool{}
	if err := r.Client.Get(ctx, req.NamespacedName, object); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !object.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	s := &scope{object: object, old: object.DeepCopy(), now: r.Now()}
	page, err := r.Giver.Ledger.Look(ctx, object)
	var fault *birth.PoolError
	switch {
	case errors.As(err, &fault):
		s.refuse(fault)
		return reconcile.Result{}, r.patchStatus(ctx, s)
	case err != nil:
		return reconcile.Result{}, err
	}
	s.page = page
	if err := r.act(ctx, s); err != nil {
		return reconcile.Result{}, err
	}
	s.summarize()
	return reconcile.Result{RequeueAfter: s.again}, r.patchStatus(ctx, s)
}

// scope is what one reconcile works on.
type scope struct {
	object, old *v1alpha1.FleetPool
	page        *birth.Page
	now         time.Time
	clusters    []clusterv1.Cluster
	waiting     []v1alpha1.WaitingCluster
	// again is when to look again by the clock, 0 for never.
	again time.Duration
}

func (s *scope) lookAgain(in time.Duration) {
	if s.again == 0 || in < s.again {
		s.again = in
	}
}

// act gives, takes back and forgets.
func (r *Reconciler) act(ctx context.Context, s *scope) error {
	var clusters clusterv1.ClusterList
	if err := r.Client.List(ctx, &clusters, client.InNamespace(s.object.Namespace)); err != nil {
		return err
	}
	s.clusters = clusters.Items
	if err := r.give(ctx, s); err != nil {
		return err
	}
	if err := r.takeBack(ctx, s); err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(s.page.Held(), s.object.Status.Holdings) {
		return nil
	}
	// Clusters that ran before, or what rests no longer: a write by itself notes both.
	return r.Giver.Ledger.Write(ctx, s.object.Namespace, func(*birth.Page) error { return nil })
}

// give gives every Cluster that has nothing its addresses.
func (r *Reconciler) give(ctx context.Context, s *scope) error {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for i := range s.clusters {
		c := &s.clusters[i]
		if !birth.Asks(c) {
			continue
		}
		group.Go(func() error {
			answer, err := r.Giver.Settle(ctx, client.ObjectKeyFromObject(c))
			mu.Lock()
			defer mu.Unlock()
			if answer.Refused != "" {
				s.waiting = append(s.waiting, v1alpha1.WaitingCluster{Cluster: c.Name, Message: answer.Refused})
				s.lookAgain(askAgain)
			}
			return err
		})
	}
	return group.Wait()
}

// takeBack has what Clusters that are gone held rest. The cache may not know a Cluster yet
// whose addresses were reserved just now: it is asked for live.
func (r *Reconciler) takeBack(ctx context.Context, s *scope) error {
	there := map[string]bool{}
	for i := range s.clusters {
		there[string(s.clusters[i].UID)] = true
	}
	var gone []v1alpha1.Holding
	for _, h := range s.object.Status.Holdings {
		switch {
		case h.Freed != nil:
			s.lookAgain(max(h.Freed.Add(s.page.Pool.Quarantine).Sub(s.now), time.Second))
		case !there[h.UID]:
			is, err := r.isGone(ctx, client.ObjectKey{Namespace: s.object.Namespace, Name: h.Cluster}, h.UID)
			if err != nil {
				return err
			}
			if is {
				gone = append(gone, h)
			} else {
				s.lookAgain(catchUp)
			}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return r.Giver.Ledger.Write(ctx, s.object.Namespace, func(p *birth.Page) error {
		for _, h := range gone {
			p.Book.Free(s.object.Namespace+"/"+h.Cluster, h.UID)
		}
		return nil
	})
}

func (r *Reconciler) isGone(ctx context.Context, key client.ObjectKey, uid string) (bool, error) {
	c := &clusterv1.Cluster{}
	err := r.Live.Get(ctx, key, c)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading Cluster %s: %w", key, err)
	}
	return string(c.UID) != uid, nil
}

// patchStatus writes the status when it differs, but for the holdings, which only the ledger
// writes.
func (r *Reconciler) patchStatus(ctx context.Context, s *scope) error {
	s.object.Status.Holdings = s.old.Status.Holdings
	s.object.Status.ObservedGeneration = s.object.Generation
	if equality.Semantic.DeepEqual(s.old.Status, s.object.Status) {
		return nil
	}
	if err := client.IgnoreNotFound(r.Client.Status().Patch(ctx, s.object, client.MergeFrom(s.old))); err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	return nil
}
