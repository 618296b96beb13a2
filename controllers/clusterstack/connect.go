// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
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
	}
	cacheDriftKinds(out)
	return out
}

// node is the metadata of a Node: nothing else of Nodes is held.
func node() *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Node"))
	return o
}

// comesAndGoes passes creation and deletion only.
func comesAndGoes() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }}
}

// connect gets the connection and starts the watches that every cluster has.
func (r *Reconciler) connect(ctx context.Context, s *scope) error {
	if s.cluster == nil {
		return &fleet.Problem{Reason: v1alpha1.ReasonClusterNotFound, Message: fmt.Sprintf(
			"there is no Cluster %s/%s; this ClusterStack goes with it", s.cs.Namespace, s.cs.Spec.ClusterName)}
	}
	conn, err := r.Fleet.Connect(ctx, s.cluster)
	if problem := (*fleet.Problem)(nil); errors.As(err, &problem) && problem.Recheck > 0 {
		s.lookAgain(problem.Recheck)
	}
	if err != nil {
		return err
	}
	s.conn = conn
	for _, w := range []fleet.Watch{
		{Name: "namespace", Object: &corev1.Namespace{}},
		{Name: "ca-secret", Object: &corev1.Secret{}},
		{Name: "trust-configmap", Object: &corev1.ConfigMap{}},
		{Name: "agent-and-kube-proxy-daemonsets", Object: &appsv1.DaemonSet{}},
		{Name: "controller-deployment", Object: &appsv1.Deployment{}},
		{Name: "nodes", Object: node(), Predicates: []predicate.Predicate{comesAndGoes()}},
	} {
		if err := r.watch(ctx, s, w); err != nil {
			return err
		}
	}
	s.set(v1alpha1.ConditionConnected, true, v1alpha1.ReasonConnected, "the API server at "+conn.Server+" answers")
	return nil
}

// watchNodeNetworks starts the watch on NodeNetworks, once their CRD is there. Its
// name holds the ClusterStack's UID, for it is stopped at the end of an uninstall
// and must be started anew after it.
func (r *Reconciler) watchNodeNetworks(ctx context.Context, s *scope) error {
	return r.watch(ctx, s, fleet.Watch{Name: "nodenetworks-" + string(s.cs.UID), Object: &v1alpha1.NodeNetwork{}})
}

func (r *Reconciler) watch(ctx context.Context, s *scope, w fleet.Watch) error {
	key := client.ObjectKeyFromObject(s.cluster)
	return r.Fleet.Watch(ctx, key, r.controller, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(s.cs)}, w)
}
