// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// controllers says which events have which objects worked on again.
func controllers(ctx context.Context, m manager.Manager, host Host) error {
	c := m.GetClient()
	nodes := newNodeWatches(ctx)
	ofCluster := func(list client.ObjectList) handler.EventHandler {
		return handler.EnqueueRequestsFromMapFunc(labelled(c, list))
	}
	return errors.Join(
		builder.ControllerManagedBy(m).Named("labcluster").For(&labCluster{}).
			Complete(reconcilerOf(c, (&labClusters{c, host}).reconcile)),
		builder.ControllerManagedBy(m).Named("labconfig").For(&labConfig{}).
			Watches(&clusterv1.Cluster{}, ofCluster(&objects[configSpec, configStatus]{})).
			Complete(reconcilerOf(c, (&labConfigs{c}).reconcile)),
		builder.ControllerManagedBy(m).Named("labmachine").For(&labMachine{}).
			Watches(&clusterv1.Cluster{}, ofCluster(&objects[machineSpec, machineStatus]{})).
			Watches(&clusterv1.Machine{}, handler.EnqueueRequestsFromMapFunc(infrastructureOf)).
			Complete(reconcilerOf(c, (&labMachines{c, host}).reconcile)),
		builder.ControllerManagedBy(m).Named("labcontrolplane").For(&labControlPlane{}).
			Watches(&clusterv1.Cluster{}, ofCluster(&objects[controlPlaneSpec, controlPlaneStatus]{})).
			WatchesRawSource(source.Channel(nodes.events, &handler.EnqueueRequestForObject{})).
			Complete(reconcilerOf(c, (&labControlPlanes{c, host, nodes}).reconcile)),
	)
}

// labelled finds the objects of a kind that belong to a Cluster.
func labelled(c client.Reader, kind client.ObjectList) handler.MapFunc {
	return func(ctx context.Context, cluster client.Object) []reconcile.Request {
		list := kind.DeepCopyObject().(client.ObjectList)
		err := c.List(ctx, list, client.InNamespace(cluster.GetNamespace()), client.MatchingLabels{clusterv1.ClusterNameLabel: cluster.GetName()})
		if err != nil {
			return nil // The cache has not been filled; what is in it then is an event of its own.
		}
		var all []reconcile.Request
		_ = meta.EachListItem(list, func(o runtime.Object) error { // A list of this package always has items.
			all = append(all, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o.(client.Object))})
			return nil
		})
		return all
	}
}

// infrastructureOf finds the LabMachine of a Machine.
func infrastructureOf(_ context.Context, o client.Object) []reconcile.Request {
	ref := o.(*clusterv1.Machine).Spec.InfrastructureRef
	if ref.Kind != "LabMachine" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: o.GetNamespace(), Name: ref.Name}}}
}

func groupOf(apiVersion string) string {
	gv, _ := schema.ParseGroupVersion(apiVersion)
	return gv.Group
}
