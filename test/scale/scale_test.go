// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/charts"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/internal/release"
	"github.com/fairlead-io/fairlead/test/bench/report"
	"github.com/fairlead-io/fairlead/test/scale/sim"
)

const (
	// nodesOf is how many nodes each cluster has.
	nodesOf = 3
	// spoiled is in how many clusters an object is changed.
	spoiled = 20
	// hungShare is how many clusters of ten take connections and never answer.
	hungShare = 3
	// statusAsked is how often it is asked how the fleet does.
	statusAsked = 30
)

// simStory is a fleet of clusters that are played.
type simStory struct {
	*fleetStory
	fleet *sim.Fleet
}

// TestScale measures installation, idle time, upgrade, drift and clusters that hang. With
// -short it does so with few clusters, and insists on what does not depend on their number.
func TestScale(t *testing.T) {
	s := beginSim(t, "", clustersOf("FAIRLEAD_SCALE_CLUSTERS", 1000, 20))
	s.install()
	s.idle()
	s.noop()
	s.status()
	s.upgrade("upgrade", 1400, nil)
	s.drift()
	s.hung()
	peak, err := s.op.PeakMiB()
	s.must(err)
	s.row("memory", "RSS peak", "MiB", peak)
	s.end()
}

// beginSim starts the management cluster and the fleet; the operator is not started yet.
func beginSim(t *testing.T, kind string, n int) *simStory {
	t.Helper()
	s := &simStory{fleetStory: begin(t, kind, n)}
	like, err := fleettest.Workload()
	s.must(err)
	t.Cleanup(func() { _ = like.Stop() })
	chart, err := release.LoadChart(charts.CNI, charts.CNIRoot)
	s.must(err)
	for _, crd := range chart.CRDs() {
		s.must(like.Client.Create(t.Context(), crd))
	}
	s.eventually("the CRDs are served", func() bool {
		return like.Client.List(t.Context(), &v1alpha1.NodeNetworkList{}) == nil && like.Client.List(t.Context(), &v1alpha1.AddressPoolList{}) == nil
	})
	s.fleet, err = sim.Start(like.Config, s.n, nodesOf)
	s.must(err)
	t.Cleanup(func() { _ = s.fleet.Stop() })
	s.front = s.fleet.Front
	s.agentsHave = func(i int, arg string) bool { return s.fleet.Clusters[i].AgentArgument(arg) }
	return s
}

// idle leaves everything alone, with drift being looked for.
func (s *simStory) idle() {
	// What goes on after an installation is not part of it.
	s.quiet()
	long := 60 * time.Second
	if testing.Short() {
		long = 10 * time.Second
	}
	before, cpu := s.counts(), s.now()
	<-time.After(long) // the time itself is what is measured
	hours := long.Hours()
	sum, _ := s.counted(before)
	resident, err := s.op.ResidentMiB()
	s.must(err)
	s.row("idle", "RSS", "MiB", resident)
	s.row("idle", "cpu per hour", "s/cluster", (s.now()-cpu)/float64(s.n)/hours)
	s.row("idle", "release requests per hour", "1/cluster", float64(sum.Release)/float64(s.n)/hours)
	s.row("idle", "other requests per hour", "1/cluster", float64(sum.Other)/float64(s.n)/hours)
}

// noop has every cluster be looked at with nothing to do.
func (s *simStory) noop() {
	before := s.counts()
	var list v1alpha1.ClusterStackList
	s.must(s.hub.Client.List(s.t.Context(), &list, client.InNamespace(namespace)))
	for i := range list.Items {
		cs := list.Items[i].DeepCopy()
		cs.Annotations = map[string]string{"example.org/look": "now"}
		s.must(s.hub.Client.Patch(s.t.Context(), cs, client.MergeFrom(&list.Items[i])))
	}
	s.eventually("every cluster was looked at", func() bool {
		for i, now := range s.counts() {
			if now.Release == before[i].Release {
				return false
			}
		}
		return true
	})
	s.quiet()
	sum, _ := s.counted(before)
	s.row("noop", "release requests", "1/cluster", float64(sum.Release)/float64(s.n))
}

// status asks how the fleet does, as a person would.
func (s *simStory) status() {
	ctl, err := build("./cmd/fairleadctl")
	s.must(err)
	var took []time.Duration
	for range statusAsked {
		ask := exec.Command(ctl, "status", "--namespace", namespace)
		ask.Env = append(os.Environ(), "KUBECONFIG="+s.kubeconfig)
		start := time.Now()
		if out, err := ask.CombinedOutput(); err != nil {
			s.t.Fatalf("%v\n%s", err, out)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	s.row("status", "p50", "ms", took[statusAsked/2].Seconds()*1000)
	s.row("status", "p95", "ms", took[statusAsked*95/100].Seconds()*1000)
}

// drift changes an object in some clusters.
func (s *simStory) drift() {
	s.quiet()
	var repaired []func() bool
	start := time.Now()
	for i := range min(spoiled, s.n) {
		repaired = append(repaired, s.fleet.Clusters[i].Spoil(i%2 == 0))
	}
	s.eventually("every object is put right", func() bool {
		return !slices.ContainsFunc(repaired, func(done func() bool) bool { return !done() })
	})
	s.row("drift", "repair max", "s", time.Since(start).Seconds())
}

// unreachable counts the clusters that are said not to answer.
func (s *simStory) unreachable() int {
	s.t.Helper()
	var list v1alpha1.ClusterStackList
	s.must(s.hub.Client.List(s.t.Context(), &list, client.InNamespace(namespace)))
	n := 0
	for i := range list.Items {
		if meta.IsStatusConditionFalse(list.Items[i].Status.Conditions, v1alpha1.ConditionConnected) {
			n++
		}
	}
	return n
}

// hung has 30 % of the clusters take connections and never answer, and upgrades the others. It
// compares how long a cluster takes with an upgrade of the whole fleet.
func (s *simStory) hung() {
	chosen := func(i int) bool { return i%10 >= hungShare }
	healthy := s.upgrade("healthy", 1410, nil)
	var ends []func()
	for i, c := range s.fleet.Clusters {
		if !chosen(i) {
			ends = append(ends, c.Hang())
		}
	}
	s.eventually("it is said which clusters hang", func() bool { return s.unreachable() == len(ends) })
	among := s.upgrade("hung", 1420, chosen)
	each := func(took time.Duration, clusters int) float64 { return took.Seconds() / float64(clusters) }
	s.row("hung", "slowdown", report.RatioUnit, each(among, s.n-len(ends))/each(healthy, s.n))
	for _, end := range ends {
		end()
	}
	s.eventually("those that hung follow", func() bool { return s.ready(1420, nil) == s.n })
}
