// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/testkit"
)

// kill ends, with SIGKILL, the processes of a node whose command line has the
// pattern. It runs in the node's own PID namespace, so it reaches no other process.
func kill(t *testing.T, node, pattern string) {
	t.Helper()
	signal(t, node, "-9", pattern)
}

// signal sends a signal, as kill's option, to the programs of a node whose command lines match.
func signal(t *testing.T, node, which, pattern string) {
	t.Helper()
	pids, err := lab.Exec(within(t, time.Minute), node, "pgrep", "-f", "--", pattern)
	if err != nil {
		t.Fatalf("%s runs no %q: %v", node, pattern, err)
	}
	if _, err := lab.Exec(within(t, time.Minute), node, append([]string{"kill", which}, strings.Fields(pids)...)...); err != nil {
		t.Fatal(err)
	}
}

// restarts sums the restarts of the pods of a component.
func restarts(ctx context.Context, c client.Client, component string) (int32, error) {
	var pods corev1.PodList
	err := c.List(ctx, &pods, client.InNamespace(testkit.OperatorNamespace), client.MatchingLabels{"app.kubernetes.io/component": component})
	var n int32
	for _, p := range pods.Items {
		for _, s := range p.Status.ContainerStatuses {
			if s.RestartCount > 0 && !s.Ready {
				return 0, errors.New("it is not ready again")
			}
			n += s.RestartCount
		}
	}
	return n, err
}

// TestBKilled ends each part with SIGKILL while the clusters work: everything
// else goes on, and the killed part comes back without help.
func TestBKilled(t *testing.T) {
	alpha := lab.Clusters()[0]
	nodes := nodesOf(t, alpha)
	for _, tc := range []struct {
		name      string
		component string
		cluster   string
		nodes     []string
		pattern   string
	}{
		{"every agent of a cluster", "agent", alpha, nodes, "^/fairlead-agent --"},
		{"both controllers", "controller", alpha, nodes, "^/fairlead controller"},
		{"the operator", "operator", testkit.Hub, nodesOf(t, testkit.Hub), "^/fairlead operator"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := clientOf(t, tc.cluster)
			before, err := restarts(within(t, time.Minute), c, tc.component)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range tc.nodes {
				kill(t, n, tc.pattern)
			}
			connected(t, alpha) // at once: nothing waits for the killed part
			eventually(t, 2*time.Minute, "it is back", func(ctx context.Context) error {
				n, err := restarts(ctx, c, tc.component)
				if err == nil && n < before+int32(len(tc.nodes)) {
					err = fmt.Errorf("%d restarts, want %d more than %d", n, len(tc.nodes), before)
				}
				return err
			})
			fleetReady(t)
			connected(t, alpha)
		})
	}

	t.Run("containerd", func(t *testing.T) {
		kill(t, nodes[0], "containerd --config|containerd -c|/containerd$")
		connectedPods(t, alpha)
		eventually(t, 2*time.Minute, "the node is Ready", func(ctx context.Context) error { return nodesReady(ctx, alpha) })
		newPods(t, alpha)
	})

	t.Run("a whole node", func(t *testing.T) {
		if err := lab.Run(within(t, time.Minute), "kill-node", nodes[1]); err != nil {
			t.Fatal(err)
		}
		if len(lab.Clusters()) > 1 {
			connected(t, lab.Clusters()[1])
		}
		if err := lab.Run(within(t, 2*time.Minute), "start-node", nodes[1]); err != nil {
			t.Fatal(err)
		}
		eventually(t, 3*time.Minute, "the nodes are Ready", func(ctx context.Context) error { return nodesReady(ctx, alpha) })
		fleetReady(t)
		newPods(t, alpha)
	})
}

// connectedPods is connected for a moment in which exec, which needs containerd,
// may not work yet: it waits for that first.
func connectedPods(t *testing.T, cluster string) {
	t.Helper()
	eventually(t, 2*time.Minute, "all paths work", func(ctx context.Context) error {
		cells, err := lab.Matrix(ctx, cluster, func(string) {})
		if err != nil {
			return err
		}
		for _, c := range cells {
			if !c.OK {
				return errors.New(c.Kind + " " + c.From + " " + c.To + ": " + c.Error)
			}
		}
		return nil
	})
}

// newPods asserts that pods that start now are connected.
func newPods(t *testing.T, cluster string) {
	t.Helper()
	if err := lab.RemoveProbes(within(t, 3*time.Minute), cluster); err != nil {
		t.Fatal(err)
	}
	connected(t, cluster)
}
