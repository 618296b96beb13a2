// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"testing"
	"time"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

func TestBANodeThatIsAddedGetsItsNetworkByItself(t *testing.T) {
	startOperator(t)
	began := time.Now()
	scale(t, "alpha", "turn", 2)
	kubelets(t, 2*time.Minute, "alpha", "turn", oldKubernetes, 2)
	t.Logf("the node is Ready after %s", time.Since(began).Round(100*time.Millisecond))
	paths(t, "alpha")
	scale(t, "alpha", "turn", 1)
	kubelets(t, 2*time.Minute, "alpha", "turn", oldKubernetes, 1)
	ready(t, time.Minute, "alpha", past)
}

// scale changes how many machines a group of a Cluster has.
func scale(t *testing.T, name, group string, n int32) {
	t.Helper()
	edit(t, name, func(c *clusterv1.Cluster) {
		for i := range c.Spec.Topology.Workers.MachineDeployments {
			if md := &c.Spec.Topology.Workers.MachineDeployments[i]; md.Name == group {
				md.Replicas = &n
			}
		}
	})
}
