// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// surge has a node of each cluster at a time start the new agent beside the old one.
func surge(s *fairlead.NetworkStack) {
	one := intstr.FromInt32(1)
	s.Spec.Rollout.Agents.MaxUnavailable, s.Spec.Rollout.Agents.MaxSurge = nil, &one
}

// long skips what is not part of the short form: three upgrades of the fleet take minutes.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("FAIRLEAD_SURGE") == "" {
		t.Skip("part of the long form, make rollout-surge; test/standby has two real agents on a node in short")
	}
}

// TestBASurgeReplacesAgentsWithoutAGap: the time that a node is without an agent by an upgrade
// with a surge, beside that of the same upgrade without one. Allowing a surge restarts nothing.
func TestBASurgeReplacesAgentsWithoutAGap(t *testing.T) {
	long(t)
	startOperator(t, alone)
	installed(t, present)
	without := upgradeWatched(t, next, func(*fairlead.NetworkStack) {})

	before := agents(t)
	apply(t, func(s *fairlead.NetworkStack) { s.Spec.Version = next; surge(s) })
	for _, cluster := range clusters {
		testkit.Eventually(t, time.Minute, "a surge is allowed in "+cluster, func(ctx context.Context) error {
			d := &appsv1.DaemonSet{}
			if err := clientOf(t, cluster).Get(ctx, client.ObjectKey{Namespace: system, Name: "fairlead-agent"}, d); err != nil {
				return err
			}
			u := d.Spec.UpdateStrategy.RollingUpdate
			if u == nil || u.MaxSurge.IntValue() != 1 || u.MaxUnavailable.IntValue() != 0 || d.Status.ObservedGeneration != d.Generation {
				return fmt.Errorf("its DaemonSet says %+v", u)
			}
			return nil
		})
	}
	if after := agents(t); !maps.Equal(before, after) {
		t.Errorf("allowing a surge has replaced agents: %v, before %v", after, before)
	}

	with := upgradeWatched(t, present, surge)
	t.Logf("longest time without an agent on a node: %v with a surge, %v without", with, without)
	for node, gap := range with {
		if gap >= without[node] {
			t.Errorf("node %s was without an agent for %v with a surge, and for %v without", node, gap, without[node])
		}
	}
}

// TestBASurgeKeepsTheAgentThatTheNextCannotReplace: on the node where the build does not start
// the old agent serves all the while.
func TestBASurgeKeepsTheAgentThatTheNextCannotReplace(t *testing.T) {
	long(t)
	startOperator(t, alone)
	installed(t, next)
	h := watch(t)
	stop := served(t, clusters[0])
	apply(t, func(s *fairlead.NetworkStack) { s.Spec.Version = failing; surge(s) })
	s := phase(t, 4*time.Minute, failing, fairlead.RolloutStopped)
	gaps := stop()
	h.stop()
	b := s.Status.Rollout.Breach
	if b == nil || b.Cluster != clusters[0] || b.Reason != fairlead.ReasonAgentFailing || b.Node == "" {
		t.Fatalf("breach: %+v", b)
	}
	t.Logf("breach: %s", b.Message)
	t.Logf("longest time without an agent: %v", gaps)
	if gap := gaps[b.Node]; gap > 2*time.Second {
		t.Errorf("node %s was without an agent for %v", b.Node, gap)
	}
	h.never(t, failing, clusters[1:]...)
	h.allReady(t)
	runs(t, next)
}

// upgradeWatched brings the fleet to a version and returns how long each node of the first
// cluster was without an agent at the most. No agent ends by itself.
func upgradeWatched(t *testing.T, version string, how func(*fairlead.NetworkStack)) map[string]time.Duration {
	t.Helper()
	h := watch(t)
	stop := served(t, clusters[0])
	apply(t, func(s *fairlead.NetworkStack) { s.Spec.Version = version; how(s) })
	phase(t, 6*time.Minute, version, fairlead.RolloutComplete)
	gaps := stop()
	h.stop()
	h.allReady(t)
	runs(t, version)
	for pod, restarts := range agents(t) {
		if restarts > 0 {
			t.Errorf("agent %s was started %d times more", pod, restarts)
		}
	}
	return gaps
}

// agents are those of all clusters, with how often each was started again.
func agents(t *testing.T) map[types.UID]int32 {
	t.Helper()
	out := map[types.UID]int32{}
	for _, cluster := range clusters {
		var pods corev1.PodList
		if err := clientOf(t, cluster).List(testkit.Within(t, time.Minute), &pods, client.InNamespace(system),
			client.MatchingLabels{"app.kubernetes.io/component": "agent"}); err != nil {
			t.Fatal(err)
		}
		for _, p := range pods.Items {
			if p.DeletionTimestamp != nil {
				continue
			}
			out[p.UID] = 0
			for _, c := range p.Status.ContainerStatuses {
				out[p.UID] += c.RestartCount
			}
		}
	}
	return out
}

// watchServed asks a node's agent every 50 ms whether it serves, until there is the file that
// it is given, and prints the longest time in milliseconds that it did not.
const watchServed = `last=$(date +%s%3N); most=0
until [ -e "$1" ]; do
  if curl -sf -m 1 -o /dev/null http://127.0.0.1:9442/readyz; then
    now=$(date +%s%3N)
    if [ $((now-last)) -gt $most ]; then most=$((now-last)); fi
    last=$now
  fi
  sleep 0.05
done
rm -f "$1"
echo $most`

// served watches whether the nodes of a cluster are served until stop, which returns the
// longest time that each was not.
func served(t *testing.T, cluster string) (stop func() map[string]time.Duration) {
	t.Helper()
	c, err := lab.Plan().Cluster(cluster)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		node string
		gap  time.Duration
		err  error
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	answers := make(chan answer, len(c.Nodes))
	file := func(node string) string { return "/run/" + node + ".watched" }
	for _, m := range c.Nodes {
		go func() {
			out, err := lab.Exec(ctx, m.Name, "sh", "-c", watchServed, "sh", file(m.Name))
			ms, parsed := strconv.Atoi(strings.TrimSpace(out))
			answers <- answer{m.Name, time.Duration(ms) * time.Millisecond, errors.Join(err, parsed)}
		}()
	}
	end := sync.OnceValue(func() (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, m := range c.Nodes {
			_, failed := lab.Exec(ctx, m.Name, "touch", file(m.Name))
			err = errors.Join(err, failed)
		}
		return err
	})
	t.Cleanup(func() { _ = end() }) // of a test that failed before
	return func() map[string]time.Duration {
		t.Helper()
		if err := end(); err != nil {
			t.Fatal(err)
		}
		out := map[string]time.Duration{}
		for range c.Nodes {
			a := <-answers
			if a.err != nil {
				t.Fatalf("watching node %s: %v", a.node, a.err)
			}
			out[a.node] = a.gap
		}
		return out
	}
}
