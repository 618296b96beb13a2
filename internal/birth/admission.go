// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"context"
	"encoding/json"
	"net/http"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// AdmissionPath is where the API server asks about Clusters that are created.
const AdmissionPath = "/admit-cluster"

// Admission pauses Clusters without a topology until they have their addresses, which the FleetPool's
// reconciler gives them: no provider acts on a Cluster that is paused. It reserves nothing itself,
// because a Cluster that is admitted has no UID yet and may never be stored.
type Admission struct {
	Reader client.Reader
}

// Handle answers one request.
func (a *Admission) Handle(ctx context.Context, req admission.Request) admission.Response {
	c := &clusterv1.Cluster{}
	if err := json.Unmarshal(req.Object.Raw, c); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	var pools v1alpha1.FleetPoolList
	if err := a.Reader.List(ctx, &pools, client.InNamespace(req.Namespace)); err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	if First(pools.Items) == nil || !pauses(c) {
		return admission.Allowed("")
	}
	yes := true
	c.Spec.Paused = &yes
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	c.Annotations[v1alpha1.AnnotationBirth] = v1alpha1.BirthPending
	raw, err := json.Marshal(c)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(req.Object.Raw, raw)
}

// pauses says that a Cluster which is being created is to wait for its addresses: it has no
// topology, so no hook is called, and is not told to wait or not to by whoever creates it.
func pauses(c *clusterv1.Cluster) bool {
	return !c.Spec.Topology.IsDefined() && c.Spec.Paused == nil && !given(c) && c.Annotations[v1alpha1.AnnotationBirth] == ""
}
