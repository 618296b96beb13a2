// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// labConfigs makes the bootstrap data of Machines. The lab writes a machine's certificate and
// configuration on its disk, so there is nothing secret in it.
type labConfigs struct{ client.Client }

func (r *labConfigs) reconcile(ctx context.Context, o *labConfig) (reconcile.Result, error) {
	machine := owner(o, "Machine")
	if !o.DeletionTimestamp.IsZero() || machine == "" || o.Status.Initialization.DataSecretCreated {
		return reconcile.Result{}, nil
	}
	cluster, err := clusterOf(ctx, r, o)
	if err != nil || paused(cluster, o) {
		return reconcile.Result{}, err
	}
	if !infrastructureIsProvisioned(cluster) || !controlPlaneIsInitialized(cluster) {
		set(o, &o.Status.Conditions, ready, reasonWaiting, "the cluster has no control plane yet")
		return reconcile.Result{}, nil
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name + "-bootstrap"}}
	_, err = controllerutil.CreateOrUpdate(ctx, r, secret, func() error {
		secret.Labels = map[string]string{clusterv1.ClusterNameLabel: cluster.Name}
		secret.Type = clusterv1.ClusterSecretType
		secret.Data = map[string][]byte{"format": []byte("lab"), "value": fmt.Appendf(nil, "%s joins %s\n", machine, cluster.Name)}
		return controllerutil.SetControllerReference(o, secret, r.Scheme())
	})
	if err != nil {
		return reconcile.Result{}, err
	}
	o.Status.DataSecretName = secret.Name
	o.Status.Initialization.DataSecretCreated = true
	set(o, &o.Status.Conditions, ready, reasonReady, "")
	return reconcile.Result{}, nil
}

func infrastructureIsProvisioned(c *clusterv1.Cluster) bool {
	return c.Status.Initialization.InfrastructureProvisioned != nil && *c.Status.Initialization.InfrastructureProvisioned
}

func controlPlaneIsInitialized(c *clusterv1.Cluster) bool {
	return c.Status.Initialization.ControlPlaneInitialized != nil && *c.Status.Initialization.ControlPlaneInitialized
}
