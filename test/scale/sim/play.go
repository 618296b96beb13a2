// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"maps"
	"strings"
)

// Collections that the cluster's own controllers are played on.
const (
	crds         = "apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	daemonSets   = "apis/apps/v1/daemonsets"
	deployments  = "apis/apps/v1/deployments"
	nodes        = "api/v1/nodes"
	namespaces   = "api/v1/namespaces"
	nodeNetworks = "apis/fairlead.io/v1alpha1/nodenetworks"
)

// played does what a cluster's controllers, kubelets and agents would: CRDs are served,
// workloads roll out, every node's agent says that it is in sync. It is called locked.
func (c *Cluster) played(collection string, o object) {
	m := meta(o)
	key := text(m, "namespace") + "/" + text(m, "name")
	generation, _ := m["generation"].(int64)
	switch collection {
	case crds:
		c.status(collection, key, o, object{
			"storedVersions": []any{"v1alpha1"},
			"conditions":     []any{object{"type": "Established", "status": "True"}},
		})
	case daemonSets:
		n := int64(c.nodes)
		c.status(collection, key, o, object{
			"observedGeneration": generation, "desiredNumberScheduled": n, "currentNumberScheduled": n,
			"updatedNumberScheduled": n, "numberAvailable": n, "numberReady": n,
		})
		c.acknowledge(version(o))
	case deployments:
		spec, _ := o["spec"].(object)
		n, _ := spec["replicas"].(int64)
		c.status(collection, key, o, object{
			"observedGeneration": generation, "replicas": n, "updatedReplicas": n, "availableReplicas": n, "readyReplicas": n,
		})
	}
}

// status writes an object's status when it is another one.
func (c *Cluster) status(collection, key string, o, status object) {
	next := maps.Clone(o)
	next["status"] = status
	c.store.put(collection, key, next)
}

// version is the tag of the image of a workload's first container.
func version(o object) string {
	spec, _ := o["spec"].(object)
	template, _ := spec["template"].(object)
	pod, _ := template["spec"].(object)
	all, _ := pod["containers"].([]any)
	if len(all) == 0 {
		return ""
	}
	first, _ := all[0].(object)
	image := text(first, "image")
	return image[strings.LastIndex(image, ":")+1:]
}

// acknowledge has every node report that its agent is of a version and in sync.
func (c *Cluster) acknowledge(version string) {
	for i := range c.nodes {
		name := fmt.Sprint("n", i)
		c.store.put(nodeNetworks, "/"+name, object{
			"apiVersion": "fairlead.io/v1alpha1", "kind": "NodeNetwork", "metadata": object{"name": name},
			"status": object{
				"agentVersion": version,
				"conditions": []any{object{
					"type": "Ready", "status": "True", "reason": "Synced", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
				}},
			},
		})
	}
}

// begin makes the cluster's nodes.
func (c *Cluster) begin() {
	for i := range c.nodes {
		name := fmt.Sprint("n", i)
		c.store.change(nodes, "/"+name, func(object) object {
			return object{"apiVersion": "v1", "kind": "Node", "metadata": object{"name": name}}
		})
	}
}
