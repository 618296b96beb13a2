// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/fairlead/test/testkit"
)

// TestAOneStackGivesEveryClusterANetwork is the product in one test: a stack is
// applied, both clusters become Ready, and packets agree.
func TestAOneStackGivesEveryClusterANetwork(t *testing.T) {
	if err := lab.ApplySample(within(t, time.Minute), hub(t)); err != nil {
		t.Fatal(err)
	}
	fleetReady(t)
	connected(t, lab.Clusters()...)
	for _, cluster := range lab.Clusters() {
		eventually(t, time.Minute, "the nodes of "+cluster+" are Ready", func(ctx context.Context) error { return nodesReady(ctx, cluster) })
	}
	if n := programs(); n <= programsBefore {
		t.Error("no program of ours is in the kernel: what carried the packets?")
	}
}

func nodesReady(ctx context.Context, cluster string) error {
	c, err := lab.Client(cluster)
	if err != nil {
		return err
	}
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes); err != nil {
		return err
	}
	for _, n := range nodes.Items {
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status != corev1.ConditionTrue {
				return fmt.Errorf("node %s: %s", n.Name, cond.Message)
			}
		}
	}
	return nil
}

// TestAThePodNetworkIsPlain checks the details that a pod's owner would notice:
// the path MTU is right to the byte, and addresses are of the node's ranges.
func TestAThePodNetworkIsPlain(t *testing.T) {
	for _, cluster := range lab.Clusters() {
		plan, err := lab.Plan().Cluster(cluster)
		if err != nil {
			t.Fatal(err)
		}
		places, err := lab.Pods(within(t, time.Minute), cluster)
		if err != nil {
			t.Fatal(err)
		}
		if len(places) < 2*len(plan.Nodes) {
			t.Fatalf("%s has %d probe pods, want two on each of %d nodes", cluster, len(places), len(plan.Nodes))
		}
		for _, p := range places {
			for i, a := range p.Addresses {
				if !plan.PodCIDRs[i].Contains(a) {
					t.Errorf("%s/%s has %s, which is not of %s", cluster, p.Name, a, plan.PodCIDRs[i])
				}
			}
		}
		first, other := places[0], testkit.OnAnotherNode(places, places[0])
		for _, to := range other.Addresses {
			if err := lab.PathMTU(within(t, time.Minute), cluster, first, to); err != nil {
				t.Errorf("%s: from %s to %s: %v", cluster, first.Name, to, err)
			}
		}
	}
}
