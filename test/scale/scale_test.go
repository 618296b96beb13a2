// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/charts"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/internal/release"
	"github.com/fairlead-io/fairlead/test/bench/report"
	"github.com/fairlead-io/fairlead/test/scale/sim"
)

const (
	area      = "scale"
	namespace = "fleet"
	stackName = "fleet"
	// nodesOf is how many nodes each cluster has.
	nodesOf = 3
	// spoiled is in how many clusters an object is changed.
	spoiled = 20
	// hungShare is one of how many clusters takes connections and never answers.
	hungShare = 3
)

// gates are what every run insists on. A bound of CPU time gets twice the room in the short
// form, which shares a small machine with other tests.
var gates = map[string]float64{
	"install / release requests": 20,
	"upgrade / release requests": 20,
	"noop / release requests":    2,
	"install / cpu":              0.08,
	"upgrade / cpu":              0.10,
	"idle / cpu per hour":        1,
	"drift / repair max":         60,
	"hung / slowdown":            1.10,
}

// fleetStory is a fleet with its operator.
type fleetStory struct {
	t     *testing.T
	hub   *fleettest.Server
	fleet *sim.Fleet
	op    *operator
	n     int
	rows  []report.Row
	// deadline bounds each wait.
	deadline time.Duration
}

// TestScale measures installation, idle time, upgrade, drift and clusters that hang. With
// -short it does so with few clusters, and insists on what does not depend on their number.
func TestScale(t *testing.T) {
	s := begin(t)
	s.install()
	s.idle()
	s.noop()
	s.upgrade("upgrade", 1400, nil)
	s.drift()
	s.hung()
	peak, err := s.op.peak()
	s.must(err)
	s.row("memory", "RSS peak", "MiB", peak)
	if out := os.Getenv("FAIRLEAD_SCALE_OUT"); out != "" {
		s.must(report.Update(out, area, s.rows))
	}
}

func (s *fleetStory) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// row records a figure and holds it against its gate.
func (s *fleetStory) row(caseName, metric, unit string, value float64) {
	s.t.Helper()
	s.t.Logf("%-8s %-22s %9.3f %s", caseName, metric, value, unit)
	s.rows = append(s.rows, report.Row{Area: area, Case: fmt.Sprintf("%s_%d", caseName, s.n), Subject: "fairlead", Metric: metric, Unit: unit, N: 1, Median: value, Low: value, High: value})
	gate, ok := gates[caseName+" / "+metric]
	if !ok {
		return
	}
	if testing.Short() {
		switch metric {
		case "cpu", "cpu per hour":
			gate *= 2
		case "release requests": // the first cluster is asked what its version serves
			gate++
		case "slowdown": // of less than a second
			return
		}
	}
	if value > gate {
		s.t.Errorf("%s: %s is %.3f %s, want at most %.3f", caseName, metric, value, unit, gate)
	}
}

// begin starts the management cluster and the fleet; the operator is not started yet.
func begin(t *testing.T) *fleetStory {
	t.Helper()
	s := &fleetStory{t: t, n: 1000, deadline: 15 * time.Minute}
	if testing.Short() {
		s.n, s.deadline = 20, time.Minute
	}
	if v := os.Getenv("FAIRLEAD_SCALE_CLUSTERS"); v != "" {
		var err error
		s.n, err = strconv.Atoi(v)
		s.must(err)
	}
	var err error
	s.hub, err = fleettest.Hub()
	s.must(err)
	t.Cleanup(func() { _ = s.hub.Stop() })
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
	return s
}

// eventually waits until a condition holds.
func (s *fleetStory) eventually(what string, holds func() bool) {
	s.t.Helper()
	until := time.Now().Add(s.deadline)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(until) {
			s.t.Fatalf("waited %s until %s", s.deadline, what)
		}
		<-tick.C
	}
}

func clusterName(i int) string { return fmt.Sprintf("c%04d", i) }

// populate creates the Clusters with their kubeconfigs, and the NetworkStack.
func (s *fleetStory) populate() {
	ctx := s.t.Context()
	s.must(s.hub.Client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	for i := range s.n {
		kubeconfig, err := fleettest.Kubeconfig(s.fleet.Config(i))
		s.must(err)
		s.must(s.hub.Client.Create(ctx, fleettest.KubeconfigSecret(namespace, clusterName(i), kubeconfig)))
		fleettest.CreateCluster(ctx, s.t, s.hub.Client, namespace, clusterName(i), nil, "192.0.2.1", 6443)
	}
	all := intstr.FromString("100%")
	s.must(s.hub.Client.Create(ctx, &v1alpha1.NetworkStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: stackName},
		Spec: v1alpha1.NetworkStackSpec{AllClusters: true, Rollout: v1alpha1.RolloutSpec{
			MaxConcurrent: &all, Soak: &metav1.Duration{}, Gates: v1alpha1.GatesSpec{Probes: v1alpha1.ProbesDisabled},
			Agents: v1alpha1.AgentUpdateSpec{MinReadySeconds: new(int32)},
		}},
	}))
}

// ready counts the ClusterStacks, of those that are chosen, that are Ready for an MTU.
func (s *fleetStory) ready(mtu v1alpha1.MTU, chosen func(int) bool) int {
	s.t.Helper()
	var list v1alpha1.ClusterStackList
	s.must(s.hub.Client.List(s.t.Context(), &list, client.InNamespace(namespace)))
	n := 0
	for i := range list.Items {
		cs := &list.Items[i]
		var number int
		_, err := fmt.Sscanf(cs.Name, "c%d", &number)
		s.must(err)
		if chosen != nil && !chosen(number) {
			continue
		}
		if cs.Spec.CNI.MTU == mtu && cs.Status.ObservedGeneration == cs.Generation && meta.IsStatusConditionTrue(cs.Status.Conditions, v1alpha1.ConditionReady) {
			n++
		}
	}
	return n
}

// counted sums, over the fleet, what was sent since before, and gives the most that one
// cluster was sent for its release.
func (s *fleetStory) counted(before []sim.Counts) (sum sim.Counts, most int64) {
	for i, c := range s.fleet.Clusters {
		now := c.Counts()
		if before != nil {
			now.Release, now.Watches, now.Other = now.Release-before[i].Release, now.Watches-before[i].Watches, now.Other-before[i].Other
		}
		sum.Release, sum.Watches, sum.Other = sum.Release+now.Release, sum.Watches+now.Watches, sum.Other+now.Other
		most = max(most, now.Release)
	}
	return sum, most
}

func (s *fleetStory) counts() []sim.Counts {
	var out []sim.Counts
	for _, c := range s.fleet.Clusters {
		out = append(out, c.Counts())
	}
	return out
}

// measured runs a case and records what it took.
func (s *fleetStory) measured(caseName string, run func()) time.Duration {
	s.t.Helper()
	before := s.counts()
	cpu, err := s.op.cpu()
	s.must(err)
	start := time.Now()
	run()
	wall := time.Since(start)
	after, err := s.op.cpu()
	s.must(err)
	sum, most := s.counted(before)
	each := func(n int64) float64 { return float64(n) / float64(s.n) }
	s.row(caseName, "wall", "s", wall.Seconds())
	s.row(caseName, "cpu", "s/cluster", (after-cpu)/float64(s.n))
	s.row(caseName, "release requests", "1/cluster", each(sum.Release))
	s.row(caseName, "release requests max", "1/cluster", float64(most))
	s.row(caseName, "other requests", "1/cluster", each(sum.Other))
	s.row(caseName, "watches", "1/cluster", each(sum.Watches))
	return wall
}

// install starts the operator with a fleet in which nothing is installed.
func (s *fleetStory) install() {
	s.populate()
	dir := s.t.TempDir()
	program := os.Getenv("FAIRLEAD_SCALE_PROGRAM")
	if program == "" {
		program = filepath.Join(dir, "fairlead")
		build := exec.Command("go", "build", "-ldflags", "-s -w -X github.com/fairlead-io/fairlead/internal/version.Version=v0.1.0", "-o", program, "./cmd/fairlead")
		build.Dir, build.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			s.t.Fatalf("%v\n%s", err, out)
		}
	}
	admin, err := s.hub.AddUser("operator")
	s.must(err)
	kubeconfig := filepath.Join(dir, "kubeconfig")
	s.must(os.WriteFile(kubeconfig, admin, 0o600))
	s.op, err = startOperator(program, kubeconfig, filepath.Join(dir, "operator.log"))
	s.must(err)
	s.t.Cleanup(func() {
		if err := s.op.stop(); err != nil {
			s.t.Error(err)
		}
		if s.t.Failed() {
			raw, _ := os.ReadFile(filepath.Join(dir, "operator.log")) // what there is
			s.t.Logf("the operator's last words (%v):\n%s", s.op.how, raw[max(0, len(raw)-4000):])
		}
	})
	s.measured("install", func() {
		s.eventually("every cluster is Ready", func() bool { return s.ready(0, nil) == s.n })
	})
}

// idle leaves everything alone, with drift being looked for.
func (s *fleetStory) idle() {
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
	s.row("idle", "cpu per hour", "s/cluster", (s.now()-cpu)/float64(s.n)/hours)
	s.row("idle", "release requests per hour", "1/cluster", float64(sum.Release)/float64(s.n)/hours)
	s.row("idle", "other requests per hour", "1/cluster", float64(sum.Other)/float64(s.n)/hours)
}

func (s *fleetStory) now() float64 {
	s.t.Helper()
	cpu, err := s.op.cpu()
	s.must(err)
	return cpu
}

// quiet waits until no cluster is asked for its release any more.
func (s *fleetStory) quiet() {
	s.t.Helper()
	last, since := int64(-1), time.Now()
	s.eventually("the operator rests", func() bool {
		sum, _ := s.counted(nil)
		if sum.Release != last {
			last, since = sum.Release, time.Now()
		}
		return time.Since(since) > 2*time.Second
	})
}

// noop has every cluster be looked at with nothing to do.
func (s *fleetStory) noop() {
	before := s.counts()
	var list v1alpha1.ClusterStackList
	s.must(s.hub.Client.List(s.t.Context(), &list, client.InNamespace(namespace)))
	for i := range list.Items {
		cs := list.Items[i].DeepCopy()
		cs.Annotations = map[string]string{"example.org/look": "now"}
		s.must(s.hub.Client.Patch(s.t.Context(), cs, client.MergeFrom(&list.Items[i])))
	}
	s.eventually("every cluster was looked at", func() bool {
		return !slices.ContainsFunc(s.fleet.Clusters, func(c *sim.Cluster) bool {
			i := slices.Index(s.fleet.Clusters, c)
			return c.Counts().Release == before[i].Release
		})
	})
	s.quiet()
	sum, _ := s.counted(before)
	s.row("noop", "release requests", "1/cluster", float64(sum.Release)/float64(s.n))
}

// upgrade gives every cluster another MTU, and waits for those that are chosen.
func (s *fleetStory) upgrade(caseName string, mtu v1alpha1.MTU, chosen func(int) bool) time.Duration {
	s.t.Helper()
	want := 0
	for i := range s.n {
		if chosen == nil || chosen(i) {
			want++
		}
	}
	s.quiet()
	return s.measured(caseName, func() {
		stack := &v1alpha1.NetworkStack{}
		s.must(s.hub.Client.Get(s.t.Context(), client.ObjectKey{Namespace: namespace, Name: stackName}, stack))
		old := stack.DeepCopy()
		stack.Spec.CNI.MTU = mtu
		s.must(s.hub.Client.Patch(s.t.Context(), stack, client.MergeFrom(old)))
		s.eventually("every cluster is upgraded", func() bool { return s.ready(mtu, chosen) == want })
		for i, c := range s.fleet.Clusters {
			if (chosen == nil || chosen(i)) && !c.AgentArgument(fmt.Sprintf("--mtu=%d", mtu)) {
				s.t.Errorf("cluster %d is Ready and its agents have another MTU", i)
			}
		}
	})
}

// drift changes an object in some clusters.
func (s *fleetStory) drift() {
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
func (s *fleetStory) unreachable() int {
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

// hung has 30 % of the clusters take connections and never answer. The others are upgraded
// twice: with them answering, and with them hanging.
func (s *fleetStory) hung() {
	chosen := func(i int) bool { return i%10 >= hungShare }
	healthy := s.upgrade("healthy", 1410, chosen)
	s.eventually("the rest follows", func() bool { return s.ready(1410, nil) == s.n })
	var ends []func()
	for i, c := range s.fleet.Clusters {
		if !chosen(i) {
			ends = append(ends, c.Hang())
		}
	}
	s.eventually("it is said which clusters hang", func() bool { return s.unreachable() == len(ends) })
	among := s.upgrade("hung", 1420, chosen)
	s.row("hung", "slowdown", report.RatioUnit, among.Seconds()/healthy.Seconds())
	for _, end := range ends {
		end()
	}
	s.eventually("those that hung follow", func() bool { return s.ready(1420, nil) == s.n })
}
