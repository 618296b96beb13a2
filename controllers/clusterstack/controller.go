// SPDX-License-Identifier: Apache-2.0

// Package clusterstack reconciles ClusterStacks: through internal/fleet it reaches
// one cluster, gives it its trust (internal/trust) and its release
// (internal/release), and reports what runs there; a deleted ClusterStack is
// cleaned off its cluster first. It must not select clusters or resolve their
// configuration; that is controllers/networkstack's matter.
package clusterstack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
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
	"github.com/fairlead-io/fairlead/internal/fleet"
	"github.com/fairlead-io/fairlead/internal/release"
	"github.com/fairlead-io/fairlead/internal/trust"
)

const (
	// Backoff for the world's faults.
	retryFirst = 500 * time.Millisecond
	retryLast  = time.Minute

	// catchUp is what a cache that is behind gets to catch up.
	catchUp = 200 * time.Millisecond

	defaultConcurrency = 16
)

// Reconciler reconciles ClusterStacks.
type Reconciler struct {
	Client client.Client
	Fleet  *fleet.Fleet
	// Roots keeps the fleet's roots.
	Roots *trust.Store
	// Events says at a ClusterStack what was done to its cluster beside the release.
	Events events.EventRecorder
	// Charts has the cni charts; ImageRepository is where their images are.
	Charts          *release.Catalogue
	ImageRepository string
	// Discovery is shared by all clusters.
	Discovery *release.Discovery
	// NewProbes reads the probes of the cluster at a configuration; nil is the function of
	// this name.
	NewProbes func(cfg *rest.Config) (Probes, error)
	// Now is the clock.
	Now func() time.Time
	// Concurrency is the number of clusters worked on at a time; 0 means 16.
	Concurrency int

	// probes are the *running of clusters that are being changed, by key.
	probes sync.Map
	// memories is what was learned of each cluster's release.
	memories release.Memories
	// listed has the NetworkStacks whose lists of revoked CAs have grown.
	listed chan event.GenericEvent
}

// SetupWithManager adds the reconciler to a manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Concurrency == 0 {
		r.Concurrency = defaultConcurrency
	}
	if r.NewProbes == nil {
		r.NewProbes = NewProbes
	}
	r.listed = make(chan event.GenericEvent)
	return ctrl.NewControllerManagedBy(mgr).
		Named("clusterstack").
		For(&v1alpha1.ClusterStack{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		Watches(&clusterv1.Cluster{}, handler.EnqueueRequestsFromMapFunc(sameName), builder.WithPredicates(clusterChanged())).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(clusterOfKubeconfig), builder.WithPredicates(contentChanged())).
		WatchesRawSource(r.Fleet.Source(requestFor)).
		WatchesRawSource(source.Channel(r.listed, handler.EnqueueRequestsFromMapFunc(r.clustersOf))).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: r.Concurrency,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFirst, retryLast),
		}).
		Complete(r)
}

// A ClusterStack has the name of its Cluster.
func requestFor(cluster client.ObjectKey) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: cluster}}
}

func sameName(_ context.Context, o client.Object) []reconcile.Request {
	return requestFor(client.ObjectKeyFromObject(o))
}

func clusterOfKubeconfig(_ context.Context, o client.Object) []reconcile.Request {
	if cluster, ok := fleet.IsKubeconfig(o); ok {
		return requestFor(cluster)
	}
	return nil
}

// clusterChanged passes the changes of a Cluster that matter here, and not the many
// of its status.
func clusterChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*clusterv1.Cluster)
		after, ok2 := e.ObjectNew.(*clusterv1.Cluster)
		return !ok1 || !ok2 || before.Generation != after.Generation ||
			before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
			before.Annotations[v1alpha1.AnnotationLoadBalancerRanges] != after.Annotations[v1alpha1.AnnotationLoadBalancerRanges] ||
			!equality.Semantic.DeepEqual(before.Status.Initialization, after.Status.Initialization)
	}}
}

func contentChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Secret)
		after, ok2 := e.ObjectNew.(*corev1.Secret)
		return !ok1 || !ok2 || !maps.EqualFunc(before.Data, after.Data, func(a, b []byte) bool { return string(a) == string(b) })
	}}
}

// scope is what one reconcile works on.
type scope struct {
	cs      *v1alpha1.ClusterStack
	cluster *clusterv1.Cluster
	// conn is set once the cluster is connected.
	conn *fleet.Cluster
	// again is when to look again by the clock, 0 for never: for renewals and for the
	// few things that send no event.
	again time.Duration
	// acted says that this reconcile changed the release.
	acted bool
	// services says who balances Services in the cluster for now. It differs from the spec
	// while kube-proxy is waited for.
	services v1alpha1.KubeProxyReplacement
	// nodes are the cluster's, as far as the cache keeps them.
	nodes []corev1.Node
	// rollout is what runs in the cluster, once it was observed.
	rollout verdict
	// blank says that our namespace is not in the cluster.
	blank bool
	// held says why the cluster must not be changed now, "" when it may be.
	held string
	// stored is the status as it was when the reconcile began.
	stored v1alpha1.ClusterStackStatus
	// root is that of the stack, once it was read; revoked says that the cluster is.
	root    *trust.Root
	revoked bool
}

// hold says why the cluster must not be changed now, if it must not. An existing release
// that is adopted is only marked.
func (s *scope) hold(action release.Action) {
	switch {
	case s.cs.Spec.Paused:
		s.held = "spec.paused of NetworkStack " + s.cs.Spec.NetworkStack + " holds changes back"
	case s.cs.Spec.AdoptOnly && action != release.None && action != release.Adopt:
		s.held = fmt.Sprintf("wave %s of NetworkStack %s has not begun", s.cs.Spec.Wave, s.cs.Spec.NetworkStack)
	}
}

func (s *scope) lookAgain(in time.Duration) {
	if s.again == 0 || in < s.again {
		s.again = in
	}
}

// Reconcile brings one cluster in line with its ClusterStack, or cleans it.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	s := &scope{cs: &v1alpha1.ClusterStack{}, cluster: &clusterv1.Cluster{}}
	if err := r.Client.Get(ctx, req.NamespacedName, s.cs); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if err := r.Client.Get(ctx, req.NamespacedName, s.cluster); err != nil {
		if !apierrors.IsNotFound(err) {
			return reconcile.Result{}, err
		}
		s.cluster = nil
	}
	before := s.cs.DeepCopy()
	s.stored = before.Status
	var err error
	if s.cs.DeletionTimestamp.IsZero() {
		err = s.settle(r.reconcile(ctx, s))
	} else {
		var done bool
		if done, err = r.reconcileDelete(ctx, s); done {
			return reconcile.Result{}, err
		}
		err = s.settleDelete(err)
	}
	s.cs.Status.ObservedGeneration = s.cs.Generation
	perr := r.patchStatus(ctx, before, s.cs)
	if apierrors.IsConflict(perr) {
		if err == nil {
			return reconcile.Result{RequeueAfter: catchUp}, nil
		}
		perr = nil
	}
	if perr != nil || err != nil {
		return reconcile.Result{}, errors.Join(err, perr)
	}
	return reconcile.Result{RequeueAfter: s.again}, nil
}

// reconcile runs the phases in their order. A phase that stops the later ones has
// said why in its own condition; an error is a fault of the world.
func (r *Reconciler) reconcile(ctx context.Context, s *scope) error {
	if err := r.revoke(ctx, s); err != nil {
		return err
	}
	if err := r.connect(ctx, s); err != nil {
		return err
	}
	if err := r.identify(ctx, s); err != nil {
		return err
	}
	if err := r.tellRevoked(ctx, s); err != nil {
		return err
	}
	if err := r.observeNodes(ctx, s); err != nil {
		return err
	}
	if err := r.decideServices(ctx, s); err != nil {
		return err
	}
	if !s.cs.Spec.AdoptOnly {
		r.begin(s)
	}
	due, state, target, err := r.observeRelease(ctx, s)
	if err != nil {
		return err
	}
	s.hold(due)
	if s.cs.Spec.AdoptOnly && s.held != "" {
		s.set(v1alpha1.ConditionReleased, false, v1alpha1.ReasonReleaseOutdated, fmt.Sprintf("the release is %s: %s", state, s.held))
		return s.stop(v1alpha1.ConditionProven, v1alpha1.ReasonNotAdmitted, s.held)
	}
	if err := r.applyTrust(ctx, s); err != nil {
		return err
	}
	r.begin(s)
	if s.held == "" {
		if err := r.preflight(ctx, s, state); err != nil {
			return err
		}
	}
	if err := r.actOnRelease(ctx, s, target, due, state); err != nil {
		r.checkDeadline(s, err)
		return err
	}
	if err := r.applyFleetAddresses(ctx, s); err != nil {
		return err
	}
	if err := r.observeRollout(ctx, s); err != nil {
		return err
	}
	if err := r.replaceKubeProxy(ctx, s); err != nil {
		return err
	}
	return r.prove(ctx, s)
}

// patchStatus writes the status when it differs, so that it never feeds itself. It is a
// conflict when the object has changed meanwhile: what was found out about one that was
// deleted must not be written to the next of its name.
func (r *Reconciler) patchStatus(ctx context.Context, before, after *v1alpha1.ClusterStack) error {
	if equality.Semantic.DeepEqual(before.Status, after.Status) {
		return nil
	}
	old := after.DeepCopy()
	old.Status = before.Status
	if err := client.IgnoreNotFound(r.Client.Status().Patch(ctx, after, client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{}))); err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	return nil
}
