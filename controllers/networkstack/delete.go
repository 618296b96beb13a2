// SPDX-License-Identifier: Apache-2.0

package networkstack

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// reconcileDelete has every held cluster cleaned, or handed to its next NetworkStack,
// and then lets the NetworkStack go. done says that nothing is left to report.
func (r *Reconciler) reconcileDelete(ctx context.Context, s *scope) (done bool, err error) {
	if !controllerutil.ContainsFinalizer(s.stack, v1alpha1.NetworkStackFinalizer) {
		return true, nil
	}
	s.versions = r.Versions()
	if len(s.children) > 0 {
		return false, r.prune(ctx, s)
	}
	old := s.stack.DeepCopy()
	controllerutil.RemoveFinalizer(s.stack, v1alpha1.NetworkStackFinalizer)
	if err := r.Client.Patch(ctx, s.stack, client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{})); err != nil {
		return true, client.IgnoreNotFound(err)
	}
	ctrl.LoggerFrom(ctx).Info("Every cluster is clean; the NetworkStack goes")
	return true, nil
}
