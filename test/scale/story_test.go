// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/test/bench/report"
	"github.com/fairlead-io/fairlead/test/program"
	"github.com/fairlead-io/fairlead/test/scale/front"
)

const (
	namespace = "fleet"
	stackName = "fleet"
)

// gates are what every run insists on. A bound of CPU time gets twice the room in the short
// form, which shares a small machine with other tests.
var gates = map[string]float64{
	"install / release requests":      20,
	"upgrade / release requests":      20,
	"noop / release requests":         2,
	"install / cpu":                   0.08,
	"upgrade / cpu":                   0.10,
	"idle / cpu per hour":             1,
	"drift / repair max":              60,
	"memory / RSS peak":               1024,
	"status / p95":                    200,
	"hung / slowdown":                 1.10,
	"ill / slowdown":                  1.50,
	"real_install / release requests": 20,
	"real_upgrade / release requests": 20,
	"real_drift / repair max":         60,
}

// fleetStory is a fleet with its operator.
type fleetStory struct {
	t   *testing.T
	hub *fleettest.Server
	// front is where the clusters are reached.
	front *front.Front
	// agentsHave says whether a cluster's agents have an argument.
	agentsHave func(i int, arg string) bool
	op         *program.Program
	// kubeconfig is a file with the management cluster's.
	kubeconfig string
	n          int
	// kind is what names of cases begin with.
	kind string
	rows []report.Row
	// deadline bounds each wait.
	deadline time.Duration
}

// clustersOf is how many clusters a test has: what a variable says, else one of two numbers.
func clustersOf(variable string, full, short int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	if testing.Short() {
		return short
	}
	return full
}

// begin starts the management cluster; there are no clusters and no operator yet.
func begin(t *testing.T, kind string, n int) *fleetStory {
	t.Helper()
	s := &fleetStory{t: t, kind: kind, n: n, deadline: 15 * time.Minute}
	if testing.Short() {
		s.deadline = time.Minute
	}
	var err error
	s.hub, err = fleettest.Hub()
	s.must(err)
	t.Cleanup(func() { _ = s.hub.Stop() })
	return s
}

func (s *fleetStory) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// area is whose rows these are: those of a test take the place of its earlier ones, and of no
// other test's.
func (s *fleetStory) area() string { return strings.ToLower(strings.TrimPrefix(s.t.Name(), "Test")) }

// end records what was measured.
func (s *fleetStory) end() {
	s.t.Helper()
	if out := os.Getenv("FAIRLEAD_SCALE_OUT"); out != "" {
		s.must(report.Update(out, s.area(), s.rows))
	}
}

// row records a figure and holds it against its gate.
func (s *fleetStory) row(caseName, metric, unit string, value float64) {
	s.t.Helper()
	caseName = s.kind + caseName
	s.t.Logf("%-12s %-22s %9.3f %s", caseName, metric, value, unit)
	s.rows = append(s.rows, report.Row{Area: s.area(), Case: fmt.Sprintf("%s_%d", caseName, s.n), Subject: "fairlead", Metric: metric, Unit: unit, N: 1, Median: value, Low: value, High: value})
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
			if s.kind != "" { // and a few clusters are looked at between any two nodes' acknowledgements
				return
			}
		case "slowdown", "p95": // of less than a second
			return
		}
	}
	if value > gate {
		s.t.Errorf("%s: %s is %.3f %s, want at most %.3f", caseName, metric, value, unit, gate)
	}
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
		kubeconfig, err := fleettest.Kubeconfig(s.front.Config(i))
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
func (s *fleetStory) counted(before []front.Counts) (sum front.Counts, most int64) {
	for i, now := range s.counts() {
		if before != nil {
			now = now.Minus(before[i])
		}
		sum = sum.Plus(now)
		most = max(most, now.Release)
	}
	return sum, most
}

func (s *fleetStory) counts() []front.Counts {
	var out []front.Counts
	for i := range s.n {
		out = append(out, s.front.Counts(i))
	}
	return out
}

// measured runs a case and records what it took.
func (s *fleetStory) measured(caseName string, run func()) time.Duration {
	s.t.Helper()
	before := s.counts()
	cpu, err := s.op.CPUSeconds()
	s.must(err)
	start := time.Now()
	run()
	wall := time.Since(start)
	after, err := s.op.CPUSeconds()
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

// install waits until every cluster has its network.
func (s *fleetStory) install() {
	s.start()
	s.measured("install", func() {
		s.eventually("every cluster is Ready", func() bool { return s.ready(0, nil) == s.n })
	})
}

func (s *fleetStory) now() float64 {
	s.t.Helper()
	cpu, err := s.op.CPUSeconds()
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
	took := s.measured(caseName, func() {
		s.setMTU(mtu)
		s.eventually("every cluster is upgraded", func() bool { return s.ready(mtu, chosen) == want })
	})
	s.haveMTU(mtu, chosen)
	return took
}

// setMTU has the fleet be upgraded.
func (s *fleetStory) setMTU(mtu v1alpha1.MTU) {
	s.t.Helper()
	stack := &v1alpha1.NetworkStack{}
	s.must(s.hub.Client.Get(s.t.Context(), client.ObjectKey{Namespace: namespace, Name: stackName}, stack))
	old := stack.DeepCopy()
	stack.Spec.CNI.MTU = mtu
	s.must(s.hub.Client.Patch(s.t.Context(), stack, client.MergeFrom(old)))
}

// haveMTU insists on what the agents of the clusters that are chosen have.
func (s *fleetStory) haveMTU(mtu v1alpha1.MTU, chosen func(int) bool) {
	s.t.Helper()
	for i := range s.n {
		if (chosen == nil || chosen(i)) && !s.agentsHave(i, fmt.Sprintf("--mtu=%d", mtu)) {
			s.t.Errorf("cluster %d is Ready and its agents have another MTU", i)
		}
	}
}
