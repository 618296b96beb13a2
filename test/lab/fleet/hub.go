// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/lab/plan"
)

// Namespace is where the hub keeps the Cluster objects.
const Namespace = "fleet"

const capiGroup = "cluster.x-k8s.io"

// CRDs applies Cluster API's CRDs from a folder.
func CRDs(ctx context.Context, c client.Client, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		crds, err := parse(raw)
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		for _, crd := range crds {
			crd.SetLabels(map[string]string{
				capiGroup + "/provider": "cluster-api",
				capiGroup + "/v1beta1":  "v1beta1",
				capiGroup + "/v1beta2":  "v1beta2",
			})
		}
		if err := apply(ctx, c, crds...); err != nil {
			return err
		}
	}
	return nil
}

// Clusters applies a Cluster with its kubeconfig Secret for each workload cluster, in the state in
// which Cluster API leaves a cluster that is provisioned.
func Clusters(ctx context.Context, c client.Client, clusters []plan.Cluster, kubeconfigs map[string][]byte) error {
	namespace := object("v1", "Namespace", "", Namespace)
	if err := apply(ctx, c, namespace); err != nil {
		return err
	}
	for _, cluster := range clusters {
		if err := apply(ctx, c, clusterObject(cluster), kubeconfigSecret(cluster.Name, kubeconfigs[cluster.Name])); err != nil {
			return err
		}
	}
	return nil
}

func clusterObject(c plan.Cluster) *unstructured.Unstructured {
	u := object(capiGroup+"/v1beta2", "Cluster", Namespace, c.Name)
	u.SetLabels(map[string]string{"environment": "lab", "fairlead.io/lab": "true"})
	var pods, services []any
	for i := range c.PodCIDRs {
		pods, services = append(pods, c.PodCIDRs[i].String()), append(services, c.ServiceCIDRs[i].String())
	}
	u.Object["spec"] = map[string]any{
		"clusterNetwork": map[string]any{
			"pods":          map[string]any{"cidrBlocks": pods},
			"services":      map[string]any{"cidrBlocks": services},
			"serviceDomain": "cluster.local",
		},
		"controlPlaneEndpoint": map[string]any{"host": c.ControlPlane.IPv4.String(), "port": int64(plan.APIPort)},
		// The lab is its own provider: these kinds have no CRD and no controller.
		"infrastructureRef": map[string]any{"apiGroup": "infrastructure." + capiGroup, "kind": "LabCluster", "name": c.Name},
		"controlPlaneRef":   map[string]any{"apiGroup": "controlplane." + capiGroup, "kind": "LabControlPlane", "name": c.Name},
	}
	u.Object["status"] = clusterStatus()
	return u
}

func clusterStatus() map[string]any {
	// A constant time: applying again changes nothing.
	const provisioned = "2026-01-01T00:00:00Z"
	var conditions []any
	for _, c := range []struct{ kind, reason string }{
		{"Available", "Available"},
		{"InfrastructureReady", "Ready"},
		{"ControlPlaneInitialized", "Initialized"},
		{"ControlPlaneAvailable", "Available"},
		{"RemoteConnectionProbe", "ProbeSucceeded"},
	} {
		conditions = append(conditions, map[string]any{
			"type": c.kind, "status": "True", "reason": c.reason, "message": "", "lastTransitionTime": provisioned,
		})
	}
	return map[string]any{
		"phase":          "Provisioned",
		"initialization": map[string]any{"infrastructureProvisioned": true, "controlPlaneInitialized": true},
		"conditions":     conditions,
	}
}

// kubeconfigSecret follows Cluster API's contract for the Secret that every cluster has.
func kubeconfigSecret(cluster string, kubeconfig []byte) *unstructured.Unstructured {
	u := object("v1", "Secret", Namespace, cluster+"-kubeconfig")
	u.SetLabels(map[string]string{capiGroup + "/cluster-name": cluster})
	u.Object["type"] = capiGroup + "/secret"
	u.Object["data"] = map[string]any{"value": base64.StdEncoding.EncodeToString(kubeconfig)}
	return u
}

func object(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion(apiVersion)
	u.SetKind(kind)
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}
