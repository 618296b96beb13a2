// SPDX-License-Identifier: Apache-2.0

package fleetmetrics

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// fleet is what a manager's cache holds.
type fleet struct {
	client.Reader
	stacks   []v1alpha1.NetworkStack
	clusters []v1alpha1.ClusterStack
	pools    []v1alpha1.FleetPool
}

func (f *fleet) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	switch l := into.(type) {
	case *v1alpha1.NetworkStackList:
		l.Items = f.stacks
	case *v1alpha1.ClusterStackList:
		l.Items = f.clusters
	case *v1alpha1.FleetPoolList:
		l.Items = f.pools
	default:
		return fmt.Errorf("nobody should ask for %T", into)
	}
	return nil
}

// cache is a reader of a fleet of n clusters in one stack; every third is Ready.
func cache(t testing.TB, n int) client.Reader {
	t.Helper()
	out := &fleet{}
	ready := func(status metav1.ConditionStatus) []metav1.Condition {
		return []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status, Reason: "x"}}
	}
	out.stacks = []v1alpha1.NetworkStack{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "production"},
		Status: v1alpha1.NetworkStackStatus{Conditions: ready(metav1.ConditionFalse), Rollout: v1alpha1.RolloutStatus{
			Phase: v1alpha1.RolloutProgressing,
			Waves: []v1alpha1.WaveStatus{{Name: "canary", Clusters: 3, Proven: 2, Away: 1}, {Name: "rest", Clusters: int32(n) - 3, Waiting: int32(n) - 3}},
		}},
	}}
	for i := range n {
		cs := v1alpha1.ClusterStack{
			ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: fmt.Sprintf("c-%04d", i)},
			Spec:       v1alpha1.ClusterStackSpec{NetworkStack: "production", PlanDigest: "new"},
			Status: v1alpha1.ClusterStackStatus{
				Conditions: ready(metav1.ConditionFalse), Nodes: v1alpha1.NodeCounts{Total: 3, Updated: 2, Acknowledged: 1},
				Proven: &v1alpha1.ProvenStatus{PlanDigest: "old"},
			},
		}
		if i%3 == 0 {
			cs.Status.Conditions, cs.Status.Proven.PlanDigest = ready(metav1.ConditionTrue), "new"
		}
		out.clusters = append(out.clusters, cs)
	}
	return out
}

func TestWhatIsCollected(t *testing.T) {
	want := `
# HELP fairlead_cluster_nodes_acknowledged Updated nodes of a cluster whose agent has acknowledged its state.
# TYPE fairlead_cluster_nodes_acknowledged gauge
fairlead_cluster_nodes_acknowledged{cluster="c-0000",namespace="fleet",stack="production"} 1
fairlead_cluster_nodes_acknowledged{cluster="c-0001",namespace="fleet",stack="production"} 1
# HELP fairlead_cluster_proven 1 while the configuration that a cluster shall have is proven by packets.
# TYPE fairlead_cluster_proven gauge
fairlead_cluster_proven{cluster="c-0000",namespace="fleet",stack="production"} 1
fairlead_cluster_proven{cluster="c-0001",namespace="fleet",stack="production"} 0
# HELP fairlead_cluster_ready 1 while a cluster's ClusterStack is Ready at its newest generation.
# TYPE fairlead_cluster_ready gauge
fairlead_cluster_ready{cluster="c-0000",namespace="fleet",stack="production"} 1
fairlead_cluster_ready{cluster="c-0001",namespace="fleet",stack="production"} 0
# HELP fairlead_clusters_omitted Clusters that have no series of their own, because there are more than --metrics-clusters.
# TYPE fairlead_clusters_omitted gauge
fairlead_clusters_omitted 3
# HELP fairlead_stack_ready 1 while a NetworkStack is Ready at its newest generation.
# TYPE fairlead_stack_ready gauge
fairlead_stack_ready{namespace="fleet",stack="production"} 0
# HELP fairlead_stack_rollout_phase 1 for the phase that the rollout of a NetworkStack is in, 0 for the others.
# TYPE fairlead_stack_rollout_phase gauge
fairlead_stack_rollout_phase{namespace="fleet",phase="Complete",stack="production"} 0
fairlead_stack_rollout_phase{namespace="fleet",phase="Paused",stack="production"} 0
fairlead_stack_rollout_phase{namespace="fleet",phase="Progressing",stack="production"} 1
fairlead_stack_rollout_phase{namespace="fleet",phase="RollingBack",stack="production"} 0
fairlead_stack_rollout_phase{namespace="fleet",phase="Stopped",stack="production"} 0
fairlead_stack_rollout_phase{namespace="fleet",phase="Waiting",stack="production"} 0
# HELP fairlead_wave_clusters Clusters of a wave by how far they are; each is counted once.
# TYPE fairlead_wave_clusters gauge
fairlead_wave_clusters{namespace="fleet",stack="production",state="away",wave="canary"} 1
fairlead_wave_clusters{namespace="fleet",stack="production",state="away",wave="rest"} 0
fairlead_wave_clusters{namespace="fleet",stack="production",state="failed",wave="canary"} 0
fairlead_wave_clusters{namespace="fleet",stack="production",state="failed",wave="rest"} 0
fairlead_wave_clusters{namespace="fleet",stack="production",state="held",wave="canary"} 0
fairlead_wave_clusters{namespace="fleet",stack="production",state="held",wave="rest"} 0
fairlead_wave_clusters{namespace="fleet",stack="production",state="proven",wave="canary"} 2
fairlead_wave_clusters{namespace="fleet",stack="production",state="proven",wave="rest"} 0
fairlead_wave_clusters{namespace="fleet",stack="production",state="updating",wave="canary"} 0
fairlead_wave_clusters{namespace="fleet",stack="production",state="updating",wave="rest"} 0
fairlead_wave_clusters{namespace="fleet",stack="production",state="waiting",wave="canary"} 0
fairlead_wave_clusters{namespace="fleet",stack="production",state="waiting",wave="rest"} 2
`
	c := New(Options{Reader: cache(t, 5), Clusters: 2})
	names := []string{"fairlead_cluster_nodes_acknowledged", "fairlead_cluster_proven", "fairlead_cluster_ready", "fairlead_clusters_omitted",
		"fairlead_stack_ready", "fairlead_stack_rollout_phase", "fairlead_wave_clusters"}
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(c)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestTheNumberOfSeriesIsBounded(t *testing.T) {
	const perStack = 1 + 6 + 2*6 + 1 // ready, phases, two waves of six states, what is omitted
	for _, c := range []struct {
		name               string
		clusters, bound, n int
	}{
		{"a small fleet", 10, DefaultClusters, 10 * 5},
		{"the bound", 1000, DefaultClusters, 1000 * 5},
		{"a fleet that is larger", 3000, DefaultClusters, 1000 * 5},
		{"waves only", 3000, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := testutil.CollectAndCount(New(Options{Reader: cache(t, c.clusters), Clusters: c.bound})); got != perStack+c.n {
				t.Errorf("%d series, want %d", got, perStack+c.n)
			}
		})
	}
}

func TestAStandbyCollectsNothing(t *testing.T) {
	acting := make(chan struct{})
	c := New(Options{Reader: cache(t, 5), Clusters: 5, Acting: acting})
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	if got, err := testutil.GatherAndCount(registry); err != nil || got != 0 {
		t.Errorf("a stand-by has %d series, %v", got, err)
	}
	close(acting)
	if got, err := testutil.GatherAndCount(registry); err != nil || got == 0 {
		t.Errorf("the acting operator has %d series, %v", got, err)
	}
}
