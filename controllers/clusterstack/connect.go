// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet"
)

// Namespace is where everything of Fairlead is in a workload cluster.
const Namespace = "fairlead-system"

// Names of the objects in Namespace.
const (
	caSecretName       = "fairlead-cluster-ca"
	trustConfigMapName = "fairlead-trust"
	agentName          = "fairlead-agent"
	controllerName     = "fairlead-controller"
	releaseName        = "fairlead-cni"
)

// CachedObjects restricts the caches of workload clusters to what this package
// reads: of a cluster with thousands of Secrets the operator holds one.
func CachedObjects() map[client.Object]ctrlcache.ByObject {
	named := func(name string) ctrlcache.ByObject {
		return ctrlcache.ByObject{Namespaces: map[string]ctrlcache.Config{
			Namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", name)},
		}}
	}
	out := map[client.Object]ctrlcache.ByObject{
		&corev1.Namespace{}: {Field: fields.OneTermEqualSelector("metadata.name", Namespace)},
		&corev1.Secret{}:    named(caSecretName),
		&corev1.ConfigMap{}: named(trustConfigMapName),
		&appsv1.DaemonSet{}: {Namespaces: map[string]ctrlcache.Config{
			Namespace:          {FieldSelector: fields.OneTermEqualSelector("metadata.name", agentName)},
			kubeProxyNamespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", kubeProxyName)},
		}},
		&appsv1.Deployment{}: named(controllerName),
		&corev1.Node{}:       {Transform: onlyEnvironment},

		&v1alpha1.AddressPool{}: {Field: fields.OneTermEqualSelector("metadata.name", v1alpha1.FleetAddressPool)},
	}
	cacheDriftKinds(out)
	return out
}

// onlyEnvironment empties every cached Node but for what it is and whether it is Ready.
func onlyEnvironment(o any) (any, error) {
	n, ok := o.(*corev1.Node)
	if !ok {
		return o, nil
	}
	kept := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion}}
	kept.Status.NodeInfo.KubeletVersion, kept.Status.NodeInfo.KernelVersion = n.Status.NodeInfo.KubeletVersion, n.Status.NodeInfo.KernelVersion
	if isReady(n) {
		kept.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	}
	return kept, nil
}

// isReady says whether a Node is.
func isReady(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// environmentChanged passes the changes of a Node that matter here, and not its heartbeats.
func environmentChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Node)
		after, ok2 := e.ObjectNew.(*corev1.Node)
		return !ok1 || !ok2 || before.Status.NodeInfo != after.Status.NodeInfo || isReady(before) != isReady(after)
	}}
}

// connect gets the connection and starts the watches that every cluster has.
func (r *Reconciler) connect(ctx context.Context, s *scope) error {
	if s.cluster == nil {
		return &fleet.Problem{Reason: v1alpha1.ReasonClusterNotFound, Message: fmt.Sprintf(
			"there is no Cluster %s/%s; this ClusterStack goes with it", s.cs.Namespace, s.cs.Spec.ClusterName)}
	}
	conn, err := r.Fleet.Connect(ctx, s.cluster)
	if err != nil {
		return err
	}
	s.conn = conn
	for _, o := range []client.Object{&corev1.Namespace{}, &corev1.Secret{}, &corev1.ConfigMap{}, &appsv1.DaemonSet{}, &appsv1.Deployment{}} {
		if err := r.watch(s, o); err != nil {
			return err
		}
	}
	if err := r.watch(s, &corev1.Node{}, environmentChanged()); err != nil {
		return err
	}
	s.set(v1alpha1.ConditionConnected, true, v1alpha1.ReasonConnected, "the API server at "+conn.Server+" answers")
	return nil
}

// renew has everything that is held of a cluster be read anew, because its API server has
// begun anew, and ends the reconcile.
func (r *Reconciler) renew(ctx context.Context, s *scope, why error) error {
	ctrl.LoggerFrom(ctx).Info("The cluster has begun anew: everything of it is read again", "why", why.Error())
	r.Fleet.Renew(client.ObjectKeyFromObject(s.cluster))
	r.probes.Delete(client.ObjectKeyFromObject(s.cs))
	return s.stop(v1alpha1.ConditionConnected, v1alpha1.ReasonConnecting, fmt.Sprintf("the cluster at %s is read anew: %s", s.conn.Server, why))
}

// watch has the ClusterStack looked at whenever an object of a kind changes in its cluster.
func (r *Reconciler) watch(s *scope, o client.Object, predicates ...predicate.Predicate) error {
	request := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(s.cs)}
	return r.Fleet.Watch(client.ObjectKeyFromObject(s.cluster), request, o, predicates...)
}
