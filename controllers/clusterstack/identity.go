// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet"
)

// clusterAnnotation names, at our namespace in a cluster, the Cluster that it belongs to.
const clusterAnnotation = "fairlead.io/cluster"

// identity is how a cluster names the Cluster that it belongs to.
func (s *scope) identity() string { return s.cs.Namespace + "/" + s.cs.Spec.ClusterName }

// identify makes sure that the kubeconfig leads to the cluster that it is said to: one that
// was put into the wrong Secret would have another cluster get this one's network.
func (r *Reconciler) identify(ctx context.Context, s *scope) error {
	ns := &corev1.Namespace{}
	if err := s.conn.Cached.Get(ctx, client.ObjectKey{Name: Namespace}, ns); err != nil {
		s.blank = apierrors.IsNotFound(err)
		return client.IgnoreNotFound(err)
	}
	other := ns.Annotations[clusterAnnotation]
	if other == "" || other == s.identity() {
		return nil
	}
	return &fleet.Problem{Reason: v1alpha1.ReasonWrongCluster, Person: true, Message: fmt.Sprintf(
		"the kubeconfig of Cluster %s leads to %s, which belongs to Cluster %s: put the right kubeconfig into Secret %s/%s-kubeconfig, or, if the Cluster was renamed, remove the annotation %s from namespace %s there",
		s.identity(), s.conn.Server, other, s.cs.Namespace, s.cs.Spec.ClusterName, clusterAnnotation, Namespace)}
}
