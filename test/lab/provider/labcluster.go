// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// labClusters makes the networks of clusters.
type labClusters struct {
	client.Client
	host Host
}

func (r *labClusters) reconcile(ctx context.Context, o *labCluster) (reconcile.Result, error) {
	name := owner(o, "Cluster")
	if !o.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, r.remove(ctx, o, name)
	}
	if name == "" {
		set(o, &o.Status.Conditions, ready, reasonWaiting, "no Cluster owns it yet")
		return reconcile.Result{}, nil
	}
	if err := keep(ctx, r, o); err != nil {
		return reconcile.Result{}, err
	}
	address, err := r.host.Reserve(o.Namespace, name)
	if err != nil {
		set(o, &o.Status.Conditions, ready, reasonFailed, err.Error())
		return reconcile.Result{}, err
	}
	err = change(ctx, r, o, func() {
		o.Spec.ControlPlaneEndpoint = endpoint{Host: address.Addr().String(), Port: int32(address.Port())}
	})
	if err != nil {
		return reconcile.Result{}, err
	}
	o.Status.Initialization.Provisioned = true
	set(o, &o.Status.Conditions, ready, reasonReady, "")
	return reconcile.Result{}, nil
}

// remove comes last: Cluster API deletes the infrastructure of a cluster when its Machines and its control plane are gone.
func (r *labClusters) remove(ctx context.Context, o *labCluster, cluster string) error {
	if o.Status.Initialization.Provisioned && cluster != "" {
		if err := r.host.Release(cluster); err != nil {
			set(o, &o.Status.Conditions, ready, reasonFailed, err.Error())
			return err
		}
	}
	return letGo(ctx, r, o)
}
