// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// UpgradePath is where the API server asks about control planes and groups of machines that get
// another version of Kubernetes.
const UpgradePath = "/admit-upgrade"

// UpgradeAdmission refuses upgrades that a cluster's network does not support where no hook is
// called about them: of Clusters without a topology. Those with one are upgraded by Cluster API
// itself, whom a refusal would stop in the middle.
type UpgradeAdmission struct {
	Support *Support
}

// Handle answers one request.
func (a *UpgradeAdmission) Handle(ctx context.Context, req admission.Request) admission.Response {
	before, after := &unstructured.Unstructured{}, &unstructured.Unstructured{}
	if err := errors.Join(json.Unmarshal(req.OldObject.Raw, &before.Object), json.Unmarshal(req.Object.Raw, &after.Object)); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	to := kubernetesOf(after)
	if to == "" || to == kubernetesOf(before) {
		return admission.Allowed("")
	}
	c := &clusterv1.Cluster{}
	key := client.ObjectKey{Namespace: req.Namespace, Name: after.GetLabels()[clusterv1.ClusterNameLabel]}
	if err := a.Support.Reader.Get(ctx, key, c); client.IgnoreNotFound(err) != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	} else if err != nil || c.Spec.Topology.IsDefined() {
		return admission.Allowed("")
	}
	unmet, err := a.Support.Unmet(ctx, c, to)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	if unmet != "" {
		return admission.Denied(unmet)
	}
	return admission.Allowed("")
}

// kubernetesOf is the version that a control plane, or a MachineDeployment, has; "" for none.
func kubernetesOf(u *unstructured.Unstructured) string {
	path := []string{"spec", "version"}
	if u.GetKind() == "MachineDeployment" {
		path = []string{"spec", "template", "spec", "version"}
	}
	version, _, _ := unstructured.NestedString(u.Object, path...)
	return version
}
