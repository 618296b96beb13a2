// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// system is Fairlead's namespace in workload clusters.
const system = "fairlead-system"

func clientOf(t *testing.T, cluster string) client.Client {
	t.Helper()
	c, err := lab.Client(cluster)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// startOperator runs an operator until the test ends.
func startOperator(t *testing.T, args ...string) *testkit.OperatorProcess {
	t.Helper()
	fmt.Fprintf(operatorLog, "==== %s\n", t.Name()) //nolint:errcheck // a log
	p, err := lab.StartOperator(operatorLog, lab.Path("out", "charts"), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// alone has an operator act at once: nobody else is there to take its turn.
const alone = "--leader-election=false"

// stack is the fleet's NetworkStack: a wave for each cluster.
func stack() *fairlead.NetworkStack {
	s := &fairlead.NetworkStack{
		TypeMeta:   metav1.TypeMeta{APIVersion: fairlead.GroupVersion.String(), Kind: "NetworkStack"},
		ObjectMeta: metav1.ObjectMeta{Namespace: testkit.FleetNamespace, Name: testkit.StackName},
	}
	s.Spec.Version = present
	s.Spec.ClusterSelector.MatchLabels = map[string]string{"environment": "lab"}
	s.Spec.CNI.KubeProxyReplacement = fairlead.KubeProxyReplacementEnabled
	second, one := int32(3), intstr.FromInt32(1)
	s.Spec.Rollout = fairlead.RolloutSpec{
		Soak: &metav1.Duration{Duration: 5 * time.Second}, AllowDowngrade: true,
		Agents: fairlead.AgentUpdateSpec{MaxUnavailable: &one, MinReadySeconds: &second},
	}
	// Two cores carry three clusters and whatever else the machine does: what packets wait for
	// is a processor.
	for _, probe := range []string{"peers", "dns", "service", "policy"} {
		s.Spec.Rollout.Gates.Budgets = append(s.Spec.Rollout.Gates.Budgets, fairlead.ProbeBudget{Probe: probe, Latency: duration(time.Second)})
	}
	for _, name := range clusters {
		s.Spec.Rollout.Waves = append(s.Spec.Rollout.Waves, fairlead.WaveSpec{
			Name: "wave-" + name, ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{waveLabel: name}},
		})
	}
	return s
}

// apply makes the stack what it is in stack(), and changed.
func apply(t *testing.T, change func(*fairlead.NetworkStack)) {
	t.Helper()
	want := stack()
	change(want)
	testkit.Eventually(t, time.Minute, "the stack is applied", func(ctx context.Context) error {
		hub := clientOf(t, testkit.Hub)
		have := &fairlead.NetworkStack{}
		err := hub.Get(ctx, client.ObjectKeyFromObject(want), have)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if err != nil {
			return hub.Create(ctx, want.DeepCopy())
		}
		have.Spec, have.Annotations = want.Spec, want.Annotations
		return hub.Update(ctx, have)
	})
}

// upgrade sets the stack's version.
func upgrade(t *testing.T, version string) {
	t.Helper()
	apply(t, func(s *fairlead.NetworkStack) { s.Spec.Version = version })
}

func readStack(ctx context.Context) (*fairlead.NetworkStack, error) {
	hub, err := lab.Client(testkit.Hub)
	if err != nil {
		return nil, err
	}
	s := &fairlead.NetworkStack{}
	return s, hub.Get(ctx, client.ObjectKey{Namespace: testkit.FleetNamespace, Name: testkit.StackName}, s)
}

// phase waits for a phase of the rollout of a version.
func phase(t *testing.T, within time.Duration, version string, want fairlead.RolloutPhase) *fairlead.NetworkStack {
	t.Helper()
	var found *fairlead.NetworkStack
	last := ""
	testkit.Eventually(t, within, fmt.Sprintf("the rollout of %s is %s", version, want), func(ctx context.Context) error {
		s, err := readStack(ctx)
		if err != nil {
			return err
		}
		if line := fmt.Sprintf("%s: %s", s.Status.Rollout.Phase, s.Status.Rollout.Message); line != last {
			last = line
			t.Log(line)
		}
		if s.Status.Version != version || s.Status.ObservedGeneration != s.Generation || s.Status.Rollout.Phase != want {
			return fmt.Errorf("%s %s: %s", s.Status.Version, s.Status.Rollout.Phase, s.Status.Rollout.Message)
		}
		found = s
		return nil
	})
	return found
}

// installed brings the fleet to a version and waits until it is there. What a test before
// has stopped on the way to it is begun anew.
func installed(t *testing.T, version string) {
	t.Helper()
	s, err := readStack(testkit.Within(t, time.Minute))
	if client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	apply(t, func(want *fairlead.NetworkStack) {
		want.Spec.Version = version
		if r := s.Status.Rollout; err == nil && r.Breach != nil {
			want.Annotations = map[string]string{fairlead.RetryAnnotation: fmt.Sprintf("%s/%d", r.Revision, r.Attempt)}
		}
	})
	phase(t, 6*time.Minute, version, fairlead.RolloutComplete)
	// How agents are replaced is no part of a rollout; it is there when the stack is Ready.
	if err := testkit.WaitReady(testkit.Within(t, 2*time.Minute), clientOf(t, testkit.Hub), testkit.StackName, func(string) {}); err != nil {
		t.Fatal(err)
	}
}

func clusterStack(ctx context.Context, cluster string) (*fairlead.ClusterStack, error) {
	hub, err := lab.Client(testkit.Hub)
	if err != nil {
		return nil, err
	}
	cs := &fairlead.ClusterStack{}
	return cs, hub.Get(ctx, client.ObjectKey{Namespace: testkit.FleetNamespace, Name: cluster}, cs)
}

// history is what a fleet was seen to run, from the start of a watch to its end.
type history struct {
	mu sync.Mutex
	// wanted are the versions of each ClusterStack, in the order in which they came.
	wanted map[string][]string
	// running are the most nodes of a cluster that ran a version at a time.
	running map[string]int
	// unready are the most nodes of a cluster that were not Ready at a time.
	unready map[string]int
	at      map[string]time.Time
	stop    func()
}

// watch looks at the fleet until the test ends, or stop is called.
func watch(t *testing.T) *history {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h := &history{wanted: map[string][]string{}, running: map[string]int{}, unready: map[string]int{}, at: map[string]time.Time{}}
	var group sync.WaitGroup
	for _, cluster := range clusters {
		group.Go(func() {
			for ctx.Err() == nil {
				h.look(ctx, cluster)
				select {
				case <-ctx.Done():
				case <-time.After(300 * time.Millisecond):
				}
			}
		})
	}
	h.stop = sync.OnceFunc(func() { cancel(); group.Wait() })
	t.Cleanup(h.stop)
	return h
}

func (h *history) look(ctx context.Context, cluster string) {
	cs, err := clusterStack(ctx, cluster)
	if err != nil {
		return
	}
	c, err := lab.Client(cluster)
	if err != nil {
		return
	}
	var networks fairlead.NodeNetworkList
	var nodes corev1.NodeList
	if c.List(ctx, &networks) != nil || c.List(ctx, &nodes) != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if seen := h.wanted[cluster]; len(seen) == 0 || seen[len(seen)-1] != cs.Spec.Version {
		h.wanted[cluster] = append(seen, cs.Spec.Version)
	}
	mark := func(what string) {
		if h.at[what].IsZero() {
			h.at[what] = time.Now()
		}
	}
	mark(cluster + " wants " + cs.Spec.Version)
	by := map[string]int{}
	for _, n := range networks.Items {
		by[n.Status.AgentVersion]++
		mark(cluster + " runs " + n.Status.AgentVersion)
	}
	for version, n := range by {
		h.running[cluster+" "+version] = max(h.running[cluster+" "+version], n)
	}
	unready := 0
	for _, n := range nodes.Items {
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
				unready++
			}
		}
	}
	h.unready[cluster] = max(h.unready[cluster], unready)
}

// allReady asserts that no node was ever seen not Ready.
func (h *history) allReady(t *testing.T) {
	t.Helper()
	for _, cluster := range slices.Sorted(maps.Keys(h.unready)) {
		if n := h.unready[cluster]; n > 0 {
			t.Errorf("%d nodes of %s were not Ready at a time", n, cluster)
		}
	}
}

// never asserts that clusters were never told to run a version.
func (h *history) never(t *testing.T, version string, names ...string) {
	t.Helper()
	for _, name := range names {
		if slices.Contains(h.wanted[name], version) || h.running[name+" "+version] > 0 {
			t.Errorf("%s saw %s: %s", name, version, strings.Join(h.wanted[name], ", "))
		}
	}
}

// generations are those of Fairlead's workloads in each cluster: how often their templates
// were changed.
func generations(t *testing.T) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	for _, cluster := range clusters {
		d := &appsv1.DaemonSet{}
		if err := clientOf(t, cluster).Get(testkit.Within(t, time.Minute), client.ObjectKey{Namespace: system, Name: "fairlead-agent"}, d); err != nil {
			t.Fatal(err)
		}
		c := &appsv1.Deployment{}
		if err := clientOf(t, cluster).Get(testkit.Within(t, time.Minute), client.ObjectKey{Namespace: system, Name: "fairlead-controller"}, c); err != nil {
			t.Fatal(err)
		}
		out[cluster+" agents"], out[cluster+" controllers"] = d.Generation, c.Generation
	}
	return out
}
