// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/testkit"
)

// agentPods returns the agents' pods of a cluster.
func agentPods(ctx context.Context, c client.Client) ([]corev1.Pod, error) {
	var pods corev1.PodList
	err := c.List(ctx, &pods, client.InNamespace(testkit.OperatorNamespace), client.MatchingLabels{"app.kubernetes.io/component": "agent"})
	return pods.Items, err
}

// agentsReplaced deletes the agents' pods and waits for others: the kubelet starts a
// container that ended soon after another end later and later, but not that of a new pod.
func agentsReplaced(t *testing.T, cluster string) {
	t.Helper()
	c := clientOf(t, cluster)
	before, err := agentPods(within(t, time.Minute), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteAllOf(within(t, time.Minute), &corev1.Pod{}, client.InNamespace(testkit.OperatorNamespace),
		client.MatchingLabels{"app.kubernetes.io/component": "agent"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the agents are replaced", func(ctx context.Context) error {
		now, err := agentPods(ctx, c)
		if err != nil {
			return err
		}
		if len(now) != len(before) {
			return fmt.Errorf("%d agents, want %d", len(now), len(before))
		}
		for _, p := range now {
			if slices.ContainsFunc(before, func(b corev1.Pod) bool { return b.UID == p.UID }) || !ready(&p) {
				return fmt.Errorf("pod %s: deleted or not ready", p.Name)
			}
		}
		return nil
	})
}

func ready(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// agentServes asks a node's agent whether it serves, and which endpoints it has.
func agentServes(ctx context.Context, node string) (endpoints int, err error) {
	if _, err := lab.Exec(ctx, node, "curl", "-sS", "-f", "-m", "2", "http://127.0.0.1:9442/readyz"); err != nil {
		return 0, err
	}
	out, err := lab.Exec(ctx, node, "curl", "-sS", "-f", "-m", "2", "http://127.0.0.1:9442/status")
	if err != nil {
		return 0, err
	}
	var status struct{ Endpoints []struct{} }
	err = json.Unmarshal([]byte(out), &status)
	return len(status.Endpoints), err
}

// TestBAgentsKilledUnderLoad: no packet of any flow is lost by the death of agents, nor
// when others take over from them.
func TestBAgentsKilledUnderLoad(t *testing.T) {
	alpha := lab.Clusters()[0]
	nodes := nodesOf(t, alpha)[:2]
	ends := deployLoad(t, alpha)
	agentsReplaced(t, alpha)
	losesNothing(t, alpha, ends, func(await func(...string)) {
		for range 2 {
			for _, n := range nodes {
				kill(t, n, "^/fairlead-agent --")
			}
			await()
			for _, n := range nodes {
				eventually(t, time.Minute, "the agent of "+n+" serves again", func(ctx context.Context) error {
					_, err := agentServes(ctx, n)
					return err
				})
			}
			await()
		}
	})
	fleetReady(t)
}

// timedKill kills a node's agent and prints, in milliseconds, the time from there until
// another one serves, and how much of it that one has lived.
const timedKill = `set -e
old=$(pgrep -f '^/fairlead-agent --')
began=$(date +%s%3N)
kill -9 $old
while [ -e /proc/$old ]; do sleep 0.01; done
until curl -sf -m 1 -o /dev/null http://127.0.0.1:9442/readyz; do sleep 0.01; done
ended=$(date +%s%3N)
up=$(cut -d' ' -f1 /proc/uptime | tr -d .)
born=$(sed 's/.*) //' /proc/$(pgrep -f '^/fairlead-agent --')/stat | cut -d' ' -f20)
echo $((ended-began)) $(((up-born)*10))`

// TestBARestartIsQuick: an agent that is killed on a node full of pods serves them all
// again soon.
func TestBARestartIsQuick(t *testing.T) {
	const (
		pods   = 20
		rounds = 5
		bound  = 5 * time.Second
	)
	alpha := lab.Clusters()[0]
	node := nodesOf(t, alpha)[0]
	deployLoad(t, alpha)
	if err := lab.Crowd(within(t, 2*time.Minute), alpha, node, pods); err != nil {
		t.Fatal(err)
	}
	var fromKill, fromStart []time.Duration
	for range rounds {
		agentsReplaced(t, alpha)
		before, err := agentServes(within(t, time.Minute), node)
		if err != nil {
			t.Fatal(err)
		}
		if before < pods {
			t.Fatalf("the agent has %d endpoints, want %d and more", before, pods)
		}
		out, err := lab.Exec(within(t, time.Minute), node, "sh", "-c", timedKill)
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var kill, start int
		if _, err := fmt.Sscan(out, &kill, &start); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		fromKill = append(fromKill, time.Duration(kill)*time.Millisecond)
		fromStart = append(fromStart, time.Duration(start)*time.Millisecond)
		if after, err := agentServes(within(t, time.Minute), node); err != nil || after != before {
			t.Errorf("the agent has %d endpoints, %d before it was killed (%v)", after, before, err)
		}
	}
	slices.Sort(fromKill)
	slices.Sort(fromStart)
	t.Logf("served again after %v from the kill (all: %v), %v from the agent's start (all: %v)",
		fromKill[rounds/2], fromKill, fromStart[rounds/2], fromStart)
	if slowest := fromKill[rounds-1]; slowest > bound {
		t.Errorf("the slowest restart took %v, want %v at most", slowest, bound)
	}
	fleetReady(t)
}
