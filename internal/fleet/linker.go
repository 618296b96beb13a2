// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// linker has the links follow the Clusters that there are. It waits for no cluster.
type linker struct {
	clusters client.Reader
	fleet    *Fleet
}

func (l *linker) setup(mgr ctrl.Manager, skipNameValidation bool) error {
	return ctrl.NewControllerManagedBy(mgr).Named("fleet").For(&clusterv1.Cluster{}).
		WithOptions(controller.Options{SkipNameValidation: &skipNameValidation}).Complete(l)
}

// Reconcile implements reconcile.Reconciler.
func (l *linker) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	cluster := &clusterv1.Cluster{}
	err := l.clusters.Get(ctx, req.NamespacedName, cluster)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, err
	}
	l.fleet.follow(req.NamespacedName, !apierrors.IsNotFound(err), provisioned(cluster))
	if up := cluster.Status.Initialization.ControlPlaneInitialized; up != nil && *up {
		l.fleet.Hurry(req.NamespacedName) // its API server has answered Cluster API
	}
	return reconcile.Result{}, nil
}

// provisioned says whether a Cluster has infrastructure to connect to.
func provisioned(c *clusterv1.Cluster) bool {
	p := c.Status.Initialization.InfrastructureProvisioned
	return p != nil && *p
}

// follow keeps a link to each Cluster that is there, from when it can be connected to.
func (f *Fleet) follow(key client.ObjectKey, there, ready bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.links[key]
	switch {
	case there && ready && l == nil:
		ctx, end := context.WithCancel(f.ctx)
		l = &link{fleet: f, key: key, end: end, again: make(chan struct{}, 1)}
		f.links[key] = l
		go l.run(ctx)
	case !there && l != nil:
		l.end()
		delete(f.links, key)
	}
}

// tell has the controller look at a cluster.
func (f *Fleet) tell(key client.ObjectKey) {
	f.mu.Lock()
	queue, request := f.queue, f.request
	f.mu.Unlock()
	if queue == nil {
		return
	}
	for _, r := range request(key) {
		queue.Add(r)
	}
}
