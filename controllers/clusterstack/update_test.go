// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"context"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/internal/gate"
	"github.com/fairlead-io/fairlead/internal/probe"
)

// network plays the probes of a cluster: no kubelet runs their pods here.
type network struct {
	mu    sync.Mutex
	image string
	lost  map[string]int64 // of 1,000 packets, by node
	nodes []string
}

func (n *network) lose(node string, packets int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost = map[string]int64{node: packets}
}

func (n *network) Read(context.Context, string, time.Time) ([]gate.NodeReading, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []gate.NodeReading
	for _, name := range n.nodes {
		out = append(out, gate.NodeReading{
			Node: name, Pod: "probe-" + name, Image: n.image, Ready: true, LastTo: time.Now().Add(1000 * time.Hour), Covered: window,
			Probes: []gate.ProbeReading{{Probe: "peers", Sent: 1000, Lost: n.lost[name], Times: probe.Times{}}},
		})
	}
	return out, nil
}

// beginWatched is begin with probes, and a clock that runs ten times as fast.
func beginWatched(t *testing.T) (*story, *network) {
	n := &network{image: "fairlead.io/fairlead:" + carried, nodes: []string{"n1", "n2"}}
	start := time.Now()
	s := beginWith(t, func(s *story) {
		s.now = func() time.Time { return start.Add(10 * time.Since(start)) }
		s.probes = n
	})
	return s, n
}

// reconfigure changes the ClusterStack as the NetworkStack's reconciler does.
func (s *story) reconfigure(change func(*v1alpha1.ClusterStackSpec)) {
	s.t.Helper()
	cs := &v1alpha1.ClusterStack{}
	s.Eventually(func() error {
		if err := hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: "alpha"}, cs); err != nil {
			return err
		}
		change(&cs.Spec)
		return hub.Client.Update(s.ctx, cs)
	}).Should(Succeed())
}

func (s *story) get() *v1alpha1.ClusterStack {
	cs := &v1alpha1.ClusterStack{}
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: "alpha"}, cs)).To(Succeed())
	return cs
}

// abandon deletes a ClusterStack and leaves its cluster as it is.
func (s *story) abandon(name string) {
	s.t.Helper()
	cs := &v1alpha1.ClusterStack{}
	s.Eventually(func() error {
		if err := hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: name}, cs); err != nil {
			return err
		}
		cs.Finalizers = nil
		return hub.Client.Update(s.ctx, cs)
	}).Should(Succeed())
	s.Expect(client.IgnoreNotFound(hub.Client.Delete(s.ctx, cs))).To(Succeed())
}

func (s *story) revision() int32 {
	if st := s.get().Status.Releases; len(st) == 1 {
		return st[0].Revision
	}
	return 0
}

func (s *story) probesThere() bool {
	err := work.Client.Get(s.ctx, client.ObjectKey{Namespace: Namespace, Name: probe.Name}, &appsv1.DaemonSet{})
	s.Expect(client.IgnoreNotFound(err)).To(Succeed())
	return err == nil
}

// another gives the cluster another configuration, under watch.
func another(spec *v1alpha1.ClusterStackSpec) {
	spec.CNI.MTU, spec.PlanDigest = 1400, "q"
	spec.Gates.Probes = v1alpha1.ProbesEnabled
	spec.Soak = metav1.Duration{Duration: 20 * time.Second}
	spec.Deadline = metav1.Duration{Duration: time.Hour}
}

func TestAChangeIsWatchedFromBeforeItsBeginToItsEnd(t *testing.T) {
	s, _ := beginWatched(t)
	s.running()
	s.Expect(s.get().Status.Proven.PlanDigest).To(Equal("p"))
	s.Expect(s.probesThere()).To(BeFalse())
	s.Expect(s.get().Status.Environment).To(Equal(v1alpha1.Environment{Kubernetes: []string{"v1.35.4"}, Kernels: []string{"6.12.1"}}))

	s.reconfigure(another)
	s.Eventually(s.condition("alpha", v1alpha1.ConditionProven)).Should(HavePrefix("False/Preflight"))
	s.Expect(s.revision()).To(BeEquivalentTo(1), "nothing changes before the baseline is there")
	s.Eventually(s.probesThere).Should(BeTrue())
	s.Eventually(s.revision).Should(BeEquivalentTo(2))
	s.Expect(s.get().Status.Update.Baseline).To(HaveLen(1))
	s.Eventually(s.condition("alpha", v1alpha1.ConditionProven)).Should(HavePrefix("False/Updating"))
	s.Expect(s.condition("alpha", v1alpha1.ConditionReady)()).To(HavePrefix("False/"))
	s.runController()
	s.runAgents(2)
	s.Eventually(s.condition("alpha", v1alpha1.ConditionProven)).Should(HavePrefix("False/Soaking: every agent is replaced"))
	s.Eventually(s.condition("alpha", v1alpha1.ConditionProven)).Should(HavePrefix("True/GatesHeld"))
	s.Expect(s.condition("alpha", v1alpha1.ConditionReady)()).To(HavePrefix("True/"))
	s.Expect(s.probesThere()).To(BeFalse(), "probes are there only while a cluster changes")
	s.Expect([]string{s.get().Status.Proven.PlanDigest, s.get().Status.Previous.PlanDigest}).To(Equal([]string{"q", "p"}))
}

func TestPacketsThatAreLostAreABreachAndTheWayBackIsProvenToo(t *testing.T) {
	s, packets := beginWatched(t)
	s.running()
	s.reconfigure(another)
	s.Eventually(s.revision).Should(BeEquivalentTo(2))
	packets.lose("n2", 20)
	s.Eventually(s.condition("alpha", v1alpha1.ConditionProven)).Should(And(HavePrefix("False/ProbeBreached"), ContainSubstring("n2")))
	s.Expect(s.condition("alpha", v1alpha1.ConditionReady)()).To(HavePrefix("False/ProbeBreached"))
	breach := s.get().Status.Update.Breach
	s.Expect([]string{breach.Node, breach.Probe}).To(Equal([]string{"n2", "peers"}))
	s.Expect(s.get().Status.Proven.PlanDigest).To(Equal("p"))

	s.reconfigure(func(spec *v1alpha1.ClusterStackSpec) { spec.CNI.MTU, spec.PlanDigest = 0, "p" })
	s.Eventually(s.revision).Should(BeEquivalentTo(3), "the way back waits for nothing")
	s.runController()
	s.runAgents(2)
	s.Eventually(s.condition("alpha", v1alpha1.ConditionProven)).Should(HavePrefix("False/ProbeBreached"))
	packets.lose("n2", 0)
	s.Eventually(s.condition("alpha", v1alpha1.ConditionProven)).Should(HavePrefix("True/GatesHeld"))
	s.Expect(s.get().Status.Update.PlanDigest).To(Equal("p"))
}

func TestAnAgentThatDoesNotComeUpOnOneNodeIsABreach(t *testing.T) {
	s, _ := beginWatched(t)
	s.running()
	s.reconfigure(another)
	s.Eventually(s.revision).Should(BeEquivalentTo(2))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "agent-n1", Labels: map[string]string{
			"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": "agent",
		}},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "agent", Image: "fairlead.io/fairlead:" + carried}}},
	}
	s.Expect(work.Client.Create(s.ctx, pod)).To(Succeed())
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "agent", RestartCount: 3, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: "no such flag"}},
	}}
	s.Expect(work.Client.Status().Update(s.ctx, pod)).To(Succeed())
	s.Eventually(s.condition("alpha", v1alpha1.ConditionProven)).Should(
		HavePrefix("False/AgentFailing: the agent of " + carried + " on node n1 does not come up: CrashLoopBackOff after 3 restarts (exit code 1: no such flag)"))
}

func TestWhatTakesTooLongIsABreach(t *testing.T) {
	s, _ := beginWatched(t)
	s.running()
	s.reconfigure(func(spec *v1alpha1.ClusterStackSpec) {
		another(spec)
		spec.Deadline = metav1.Duration{Duration: time.Minute}
	})
	s.Eventually(s.condition("alpha", v1alpha1.ConditionProven)).Should(HavePrefix("False/DeadlineExceeded: not rolled out within 1m0s"))
}

func TestNothingIsChangedBeforeTheImageRunsEverywhere(t *testing.T) {
	s, packets := beginWatched(t)
	s.running()
	packets.mu.Lock()
	packets.nodes = []string{"n1"}
	packets.mu.Unlock()
	s.reconfigure(another)
	s.Eventually(s.condition("alpha", v1alpha1.ConditionProven)).Should(HavePrefix("False/ProbesNotRunning: nothing was changed"))
	s.Expect(s.revision()).To(BeEquivalentTo(1))
}

func TestAClusterWhoseWaveHasNotBegunIsLeftAlone(t *testing.T) {
	s := begin(t)
	s.networkStack()
	s.alpha()
	s.clusterStack("alpha", func(spec *v1alpha1.ClusterStackSpec) { spec.AdoptOnly, spec.Wave = true, "two" })
	s.Eventually(s.condition("alpha", v1alpha1.ConditionProven)).Should(HavePrefix("False/NotAdmitted: wave two of NetworkStack lab has not begun"))
	err := work.Client.Get(s.ctx, client.ObjectKey{Name: Namespace}, &corev1.Namespace{})
	s.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "not even a namespace is made")
	s.reconfigure(func(spec *v1alpha1.ClusterStackSpec) { spec.AdoptOnly = false })
	s.Eventually(s.revision).Should(BeEquivalentTo(1))
}

// The management cluster was lost: what runs in the cluster is taken over as it is.
func TestWhatRunsIsAdopted(t *testing.T) {
	s := begin(t)
	s.running()
	s.abandon("alpha")
	before, err := work.Agents(s.ctx)
	s.Expect(err).NotTo(HaveOccurred())

	s.clusterStack("alpha", func(spec *v1alpha1.ClusterStackSpec) { spec.AdoptOnly, spec.Wave = true, "two" })
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("True/"))
	s.Expect(s.revision()).To(BeEquivalentTo(1))
	after, err := work.Agents(s.ctx)
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(after.Generation).To(Equal(before.Generation))
	s.Expect(s.get().Status.Proven).NotTo(BeNil())
}

func TestTheStatusOfADeletedObjectIsNotWrittenToTheNextOfItsName(t *testing.T) {
	s := begin(t)
	r := &Reconciler{Client: hub.Client}
	stale := s.clusterStack("gone")
	s.abandon("gone")
	s.clusterStack("gone")
	after := stale.DeepCopy()
	after.Status.Proven = &v1alpha1.ProvenStatus{Version: carried}
	s.Expect(r.patchStatus(s.ctx, stale, after)).To(MatchError(apierrors.IsConflict, "IsConflict"))
	current := &v1alpha1.ClusterStack{}
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: "gone"}, current)).To(Succeed())
	s.Expect(current.Status.Proven).To(BeNil())
}

func TestAKubeconfigThatLeadsToAnotherCluster(t *testing.T) {
	s := begin(t)
	s.running()
	// Somebody puts alpha's kubeconfig into bravo's Secret.
	host, port := work.Endpoint()
	fleettest.CreateCluster(s.ctx, t, hub.Client, s.ns, "bravo", nil, host, port)
	kubeconfig, err := work.AddUser("fairlead-operator")
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(hub.Client.Create(s.ctx, fleettest.KubeconfigSecret(s.ns, "bravo", kubeconfig))).To(Succeed())
	s.clusterStack("bravo")
	s.Eventually(s.condition("bravo", v1alpha1.ConditionConnected)).Should(And(
		HavePrefix("False/WrongCluster: the kubeconfig of Cluster "+s.ns+"/bravo leads to"),
		ContainSubstring("which belongs to Cluster "+s.ns+"/alpha: put the right kubeconfig into Secret "+s.ns+"/bravo-kubeconfig")))
	s.Expect(s.condition("bravo", v1alpha1.ConditionStalled)()).To(HavePrefix("True/WrongCluster"))
	s.Expect(s.condition("alpha", v1alpha1.ConditionReady)()).To(HavePrefix("True/"))
	// Its removal must not clean the other's nodes.
	cs := &v1alpha1.ClusterStack{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "bravo"}}
	s.Expect(hub.Client.Delete(s.ctx, cs)).To(Succeed())
	s.Eventually(s.condition("bravo", v1alpha1.ConditionConnected)).Should(HavePrefix("False/WrongCluster"))
	s.Consistently(s.revision, "1s").Should(BeEquivalentTo(1))
}
