// SPDX-License-Identifier: Apache-2.0

// Package networkstack reconciles NetworkStacks: it selects Clusters, has
// internal/stack plan them, applies one ClusterStack for each, removes those that
// are no longer selected, and aggregates their status. It must not touch a workload
// cluster; that is controllers/clusterstack's matter.
package networkstack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/notify"
	"github.com/fairlead-io/fairlead/internal/stack"
)

// fieldOwner owns the fields of ClusterStacks.
const fieldOwner = client.FieldOwner("fairlead-operator")

// Reconciler reconciles NetworkStacks.
type Reconciler struct {
	Client client.Client
	// Live reads the management cluster without a cache.
	Live client.Reader
	// Events says at a ClusterStack what a changed configuration does to its cluster.
	Events events.EventRecorder
	// Notifier tells programs what becomes of rollouts; nil tells nobody.
	Notifier *notify.Notifier
	// Versions are those that this operator can install now.
	Versions func() stack.Versions
	// Now is the clock.
	Now func() time.Time
	// Concurrency is the number of NetworkStacks reconciled at a time; 0 means 4.
	Concurrency int
}

// SetupWithManager adds the reconciler to a manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Concurrency == 0 {
		r.Concurrency = 4
	}
	everyStack := handler.EnqueueRequestsFromMapFunc(r.stacksOfNamespace)
	return ctrl.NewControllerManagedBy(mgr).
		Named("networkstack").
		// A change of one stack may give or take clusters of every other.
		Watches(&v1alpha1.NetworkStack{}, everyStack, builder.WithPredicates(
			predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		Watches(&clusterv1.Cluster{}, everyStack, builder.WithPredicates(selectionChanged())).
		Watches(&v1alpha1.ClusterStack{}, handler.EnqueueRequestsFromMapFunc(holderOf)).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.Concurrency}).
		Complete(r)
}

// selectionChanged passes only the events of a Cluster that can change who is selected.
func selectionChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()) ||
			e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	}}
}

func (r *Reconciler) stacksOfNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	var all v1alpha1.NetworkStackList
	if err := r.Client.List(ctx, &all, client.InNamespace(o.GetNamespace())); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing the NetworkStacks of a namespace failed", "namespace", o.GetNamespace())
		return nil
	}
	out := make([]reconcile.Request, 0, len(all.Items))
	for i := range all.Items {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&all.Items[i])})
	}
	return out
}

func holderOf(_ context.Context, o client.Object) []reconcile.Request {
	cs, ok := o.(*v1alpha1.ClusterStack)
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: cs.Namespace, Name: cs.Spec.NetworkStack}}}
}

// scope is what one reconcile works on: everything was read once, at its start.
type scope struct {
	stack    *v1alpha1.NetworkStack
	all      []v1alpha1.NetworkStack
	clusters []stack.Cluster
	// children are the ClusterStacks that the stack holds, by cluster; others those
	// that other stacks hold.
	children, others map[string]*v1alpha1.ClusterStack
	versions         stack.Versions
	plan             *stack.Plan
	step             stack.Step
	// written is the status that the API server has.
	written v1alpha1.NetworkStackStatus
	// announced is the rollout's status that events have told of.
	announced v1alpha1.RolloutStatus
	// refusal is why there is no plan.
	refusal error
	// emptied is how many clusters would lose their network because an edited selector
	// matches none any more; they keep it.
	emptied int
}

// Reconcile brings one NetworkStack's ClusterStacks and status in line with its spec.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	s, err := r.read(ctx, req.NamespacedName)
	if err != nil || s == nil {
		return reconcile.Result{}, err
	}
	s.written = *s.stack.Status.DeepCopy()
	s.announced = s.written.Rollout
	if s.stack.DeletionTimestamp.IsZero() {
		err = r.reconcile(ctx, s)
		if errors.Is(err, errBehind) {
			return reconcile.Result{RequeueAfter: catchUp}, nil
		}
	} else {
		var done bool
		if done, err = r.reconcileDelete(ctx, s); done {
			return reconcile.Result{}, err
		}
	}
	s.summarize(err)
	switch perr := r.writeStatus(ctx, s); {
	case apierrors.IsConflict(perr) && err == nil:
		return reconcile.Result{RequeueAfter: catchUp}, nil
	case perr != nil && !apierrors.IsConflict(perr):
		err = errors.Join(err, perr)
	case perr == nil:
		r.announceRollout(s)
	}
	return reconcile.Result{RequeueAfter: s.again(r.Now())}, err
}

// again is when to look again by the clock; 0 is never.
func (s *scope) again(now time.Time) time.Duration {
	if s.step.Again.IsZero() {
		return 0
	}
	return max(time.Second, s.step.Again.Sub(now))
}

// writeStatus writes the status when it differs, so that it never feeds itself. What was decided
// for an object that was deleted is not written to the next of its name, nor what was decided
// by a status that was not the last: it is a conflict then. A spec that has changed meanwhile
// is none: the status says of which generation it is.
func (r *Reconciler) writeStatus(ctx context.Context, s *scope) error {
	if equality.Semantic.DeepEqual(s.written, s.stack.Status) {
		return nil
	}
	for {
		old := s.stack.DeepCopy()
		old.Status = s.written
		err := r.Client.Status().Patch(ctx, s.stack, client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{}))
		if !apierrors.IsConflict(err) {
			return client.IgnoreNotFound(err)
		}
		live := &v1alpha1.NetworkStack{}
		if err := r.Live.Get(ctx, client.ObjectKeyFromObject(s.stack), live); err != nil {
			return client.IgnoreNotFound(err)
		}
		if live.UID != s.stack.UID || !equality.Semantic.DeepEqual(live.Status, s.written) {
			return err
		}
		s.stack.ResourceVersion = live.ResourceVersion
	}
}

// read fetches everything; it returns nil when the NetworkStack is gone.
func (r *Reconciler) read(ctx context.Context, key client.ObjectKey) (*scope, error) {
	s := &scope{stack: &v1alpha1.NetworkStack{}, children: map[string]*v1alpha1.ClusterStack{}, others: map[string]*v1alpha1.ClusterStack{}}
	if err := r.Client.Get(ctx, key, s.stack); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	var stacks v1alpha1.NetworkStackList
	if err := r.Client.List(ctx, &stacks, client.InNamespace(key.Namespace)); err != nil {
		return nil, err
	}
	s.all = stacks.Items
	var children v1alpha1.ClusterStackList
	if err := r.Client.List(ctx, &children, client.InNamespace(key.Namespace)); err != nil {
		return nil, err
	}
	for i := range children.Items {
		c := &children.Items[i]
		if c.Spec.NetworkStack == key.Name {
			s.children[c.Spec.ClusterName] = c
		} else {
			s.others[c.Spec.ClusterName] = c
		}
	}
	var clusters clusterv1.ClusterList
	if err := r.Client.List(ctx, &clusters, client.InNamespace(key.Namespace)); err != nil {
		return nil, err
	}
	for i := range clusters.Items {
		c := &clusters.Items[i]
		known := stack.Cluster{Name: c.Name, Labels: c.Labels, Deleting: !c.DeletionTimestamp.IsZero()}
		if cs := s.existing(c.Name); cs != nil {
			known.Override, known.Environment = cs.Spec.Override, cs.Status.Environment
		}
		s.clusters = append(s.clusters, known)
	}
	return s, nil
}

// existing is the ClusterStack of a cluster, whoever holds it; nil for none.
func (s *scope) existing(cluster string) *v1alpha1.ClusterStack {
	if cs := s.children[cluster]; cs != nil {
		return cs
	}
	return s.others[cluster]
}

// reconcile acts on a NetworkStack that is not being deleted.
func (r *Reconciler) reconcile(ctx context.Context, s *scope) error {
	if controllerutil.AddFinalizer(s.stack, v1alpha1.NetworkStackFinalizer) {
		old := s.stack.DeepCopy()
		controllerutil.RemoveFinalizer(old, v1alpha1.NetworkStackFinalizer)
		if err := r.Client.Patch(ctx, s.stack, client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{})); err != nil {
			return fmt.Errorf("adding the finalizer: %w", err)
		}
	}
	s.versions = r.Versions()
	s.plan, s.refusal = stack.Make(s.stack, s.all, s.clusters, s.versions)
	if s.refusal == nil {
		s.refusal = stack.CheckDowngrade(s.stack, s.plan, s.stacks())
	}
	if s.refusal != nil {
		// What is installed stays as it is until the spec can be acted on.
		s.plan = nil
		return nil
	}
	if err := r.rollOut(ctx, s); err != nil {
		return err
	}
	if s.stack.Spec.Paused {
		return nil
	}
	if s.emptied = s.wouldEmpty(); s.emptied > 0 {
		return nil
	}
	return r.prune(ctx, s)
}

// ignoreGone drops errors that say that someone else was first; the event of that
// change brings the next reconcile.
func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
