// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"testing"
	"time"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// TestAGoodUpgradeGoesThroughThreeWaves: each wave begins when the one before is proven.
func TestAGoodUpgradeGoesThroughThreeWaves(t *testing.T) {
	startOperator(t, alone)
	start := time.Now()
	installed(t, present)
	t.Logf("three clusters installed and proven, one after another: %.0f s", time.Since(start).Seconds())

	h := watch(t)
	start = time.Now()
	installed(t, next)
	t.Logf("upgraded in three waves: %.0f s", time.Since(start).Seconds())
	h.stop()
	h.allReady(t)
	for i := 1; i < len(clusters); i++ {
		before, err := clusterStack(testkit.Within(t, time.Minute), clusters[i-1])
		if err != nil {
			t.Fatal(err)
		}
		if began := h.at[clusters[i]+" wants "+next]; began.Add(time.Second).Before(before.Status.Proven.Time.Time) {
			t.Errorf("%s began at %s, before %s was proven at %s", clusters[i], began, clusters[i-1], before.Status.Proven.Time)
		}
	}
}

// TestABuildThatLosesPacketsIsUndone: 2 % of the packets of other nodes are dropped by a
// build that is Ready everywhere. It does not get past the first wave, nor past the first
// node if packets are found to be lost while the next one still waits.
func TestABuildThatLosesPacketsIsUndone(t *testing.T) {
	startOperator(t, alone)
	installed(t, next)
	h := watch(t)
	apply(t, func(s *fairlead.NetworkStack) {
		s.Spec.Version = lossy
		long := int32(12)
		s.Spec.Rollout.Agents.MinReadySeconds = &long
	})
	s := phase(t, 4*time.Minute, lossy, fairlead.RolloutStopped)
	recovered := time.Now()
	h.stop()
	b := s.Status.Rollout.Breach
	// Which probe meets a loss first, that of packets or that of names, is up to chance.
	if b == nil || b.Cluster != clusters[0] || b.Probe == "" || b.Reason != fairlead.ReasonProbeBreached || b.Node == "" {
		t.Fatalf("breach: %+v", b)
	}
	t.Logf("breach: %s", b.Message)
	first := h.at[clusters[0]+" runs "+lossy]
	t.Logf("from the first bad agent: detected after %.1f s, recovered and proven after %.1f s; %d of 2 nodes ran it",
		b.Time.Sub(first).Seconds(), recovered.Sub(first).Seconds(), h.running[clusters[0]+" "+lossy])
	h.never(t, lossy, clusters[1:]...)
	h.allReady(t)
	runs(t, next)
}

// TestABuildThatDoesNotStartOnOneNodeIsUndone: the DaemonSet would wait there for ever.
func TestABuildThatDoesNotStartOnOneNodeIsUndone(t *testing.T) {
	startOperator(t, alone)
	installed(t, next)
	h := watch(t)
	upgrade(t, failing)
	s := phase(t, 4*time.Minute, failing, fairlead.RolloutStopped)
	h.stop()
	b := s.Status.Rollout.Breach
	if b == nil || b.Cluster != clusters[0] || b.Reason != fairlead.ReasonAgentFailing || b.Node == "" {
		t.Fatalf("breach: %+v", b)
	}
	t.Logf("breach: %s", b.Message)
	h.never(t, failing, clusters[1:]...)
	h.allReady(t)
	runs(t, next)
}

// runs asserts that every node of the fleet runs a version, in sync.
func runs(t *testing.T, version string) {
	t.Helper()
	for _, cluster := range clusters {
		var list fairlead.NodeNetworkList
		if err := clientOf(t, cluster).List(testkit.Within(t, time.Minute), &list); err != nil {
			t.Fatal(err)
		}
		if len(list.Items) < 2 {
			t.Errorf("%s has %d nodes", cluster, len(list.Items))
		}
		for _, n := range list.Items {
			if n.Status.AgentVersion != version {
				t.Errorf("node %s of %s runs %s, want %s", n.Name, cluster, n.Status.AgentVersion, version)
			}
		}
	}
}
