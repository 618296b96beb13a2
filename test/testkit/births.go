// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// className is the lab's ClusterClass.
const className = "lab"

// NameInClass has the lab's ClusterClass ask the operator for patches.
func NameInClass(ctx context.Context, hub client.Client) error {
	class := &clusterv1.ClusterClass{}
	if err := hub.Get(ctx, client.ObjectKey{Namespace: FleetNamespace, Name: className}, class); err != nil {
		return err
	}
	old := class.DeepCopy()
	class.Spec.Patches = []clusterv1.ClusterClassPatch{{Name: "fairlead", External: &clusterv1.ExternalPatchDefinition{
		GeneratePatchesExtension: "generate-patches.fairlead", DiscoverVariablesExtension: "discover-variables.fairlead",
	}}}
	return hub.Patch(ctx, class, client.MergeFrom(old))
}

// Bear applies a topology Cluster of the lab's ClusterClass with so many workers, and tells
// progress what becomes of it until its control plane answers.
func Bear(ctx context.Context, hub client.Client, name, kubernetes string, workers int64, progress func(string)) error {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"topology": map[string]any{
		"classRef": map[string]any{"name": className}, "version": kubernetes,
		"workers": map[string]any{"machineDeployments": []any{map[string]any{"class": "worker", "name": "workers", "replicas": workers}}},
	}}}}
	u.SetGroupVersionKind(clusterv1.GroupVersion.WithKind("Cluster"))
	u.SetNamespace(FleetNamespace)
	u.SetName(name)
	u.SetLabels(map[string]string{"environment": "lab"})
	last := ""
	tell := func(line string) {
		if line != last {
			last = line
			progress(name + ": " + line)
		}
	}
	err := wait.PollUntilContextCancel(ctx, 300*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		// Cluster API's admission may not know the ClusterClass yet.
		if err := Apply(ctx, hub, u.DeepCopy()); err != nil {
			tell(err.Error())
			return false, nil
		}
		c := &clusterv1.Cluster{}
		if err := hub.Get(ctx, client.ObjectKeyFromObject(u), c); err != nil {
			tell(err.Error())
			return false, nil
		}
		if up := c.Status.Initialization.ControlPlaneInitialized; up != nil && *up {
			tell("its control plane answers")
			return true, nil
		}
		switch pods := c.Spec.ClusterNetwork.Pods.CIDRBlocks; {
		case len(pods) == 0:
			tell(topologySays(c))
		default:
			tell(fmt.Sprintf("number %s, pods %v", c.Annotations["fairlead.io/cluster-id"], pods))
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("no cluster is born of Cluster %s/%s: %s: %w", FleetNamespace, name, last, err)
	}
	return nil
}

// topologySays is why Cluster API has made nothing of a Cluster yet.
func topologySays(c *clusterv1.Cluster) string {
	if m := meta.FindStatusCondition(c.Status.Conditions, clusterv1.ClusterTopologyReconciledCondition); m != nil && m.Message != "" {
		return m.Message
	}
	return "applied"
}
