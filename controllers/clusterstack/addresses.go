// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// applyFleetAddresses gives the cluster what its Cluster holds for load balancers as an AddressPool.
// Of its spec only the addresses are the operator's: how they are announced, and for whom they
// are, is for the people of the cluster.
func (r *Reconciler) applyFleetAddresses(ctx context.Context, s *scope) error {
	text := s.cluster.Annotations[v1alpha1.AnnotationLoadBalancerRanges]
	if text == "" {
		return nil
	}
	var want []v1alpha1.AddressRange
	for one := range strings.SplitSeq(text, ",") {
		want = append(want, v1alpha1.AddressRange(strings.TrimSpace(one)))
	}
	have := &v1alpha1.AddressPool{}
	err := s.conn.Cached.Get(ctx, client.ObjectKey{Name: v1alpha1.FleetAddressPool}, have)
	if err == nil && slices.Equal(have.Spec.Addresses, want) {
		return nil
	}
	if apierrors.IsTooManyRequests(err) { // it begins to serve the kind, whose CRD was applied just now
		s.lookAgain(time.Second)
		return nil
	}
	if err != nil && !meta.IsNoMatchError(err) && client.IgnoreNotFound(err) != nil {
		return s.fail(v1alpha1.ConditionReleased, v1alpha1.ReasonError, fmt.Errorf("reading AddressPool %s of the cluster: %w", v1alpha1.FleetAddressPool, err))
	}
	err = apply(ctx, s, &v1alpha1.AddressPool{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "AddressPool"},
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.FleetAddressPool, Labels: ourLabels()},
		Spec:       v1alpha1.AddressPoolSpec{Addresses: want},
	})
	if err != nil {
		err = fmt.Errorf("annotation %s of Cluster %s: %w", v1alpha1.AnnotationLoadBalancerRanges, s.identity(), err)
	}
	return s.fail(v1alpha1.ConditionReleased, v1alpha1.ReasonError, err)
}
