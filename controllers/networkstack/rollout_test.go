// SPDX-License-Identifier: Apache-2.0

package networkstack

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
)

// inWaves is a stack whose waves are the Clusters with wave=<name>.
func (s *story) inWaves(names ...string) *v1alpha1.NetworkStack {
	n := s.stack("lab", "lab")
	for _, name := range names {
		n.Spec.Rollout.Waves = append(n.Spec.Rollout.Waves, v1alpha1.WaveSpec{
			Name: name, ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{"wave": name}},
		})
	}
	return n
}

// labelled makes a Cluster of the stack in a wave.
func (s *story) labelled(name, wave string) {
	s.t.Helper()
	fleettest.CreateCluster(s.ctx, s.t, hub.Client, s.ns, name, map[string]string{"env": "lab", "wave": wave}, "192.0.2.1", 6443)
}

func (s *story) version(cluster string) func() string {
	return func() string {
		cs := s.clusterStack(cluster)
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(cs), cs)).To(Succeed())
		return cs.Spec.Version
	}
}

func (s *story) rollout() v1alpha1.RolloutStatus {
	n := s.stack("lab", "lab")
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(n), n)).To(Succeed())
	return n.Status.Rollout
}

func (s *story) phase() v1alpha1.RolloutPhase { return s.rollout().Phase }

func TestABreachInTheFirstWaveIsUndoneAndTheOthersNeverSeeIt(t *testing.T) {
	s := begin(t)
	s.labelled("alpha", "one")
	s.labelled("bravo", "one")
	s.labelled("charlie", "two")
	s.create(s.inWaves("one", "two"))
	for _, name := range []string{"alpha", "bravo", "charlie"} {
		s.report(name, metav1.ConditionTrue, "AllNodesAcknowledged")
	}
	s.Eventually(s.phase).Should(Equal(v1alpha1.RolloutComplete))
	s.Eventually(s.condition("lab", v1alpha1.ConditionReady)).Should(HavePrefix("True/"))

	edit(s, s.stack("lab", "lab"), func(n *v1alpha1.NetworkStack) {
		n.Spec.Version = "v0.2.0"
		all := intstr.FromString("100%")
		n.Spec.Rollout.MaxConcurrent = &all
	})
	s.Eventually(s.version("alpha")).Should(Equal("v0.2.0"))
	s.Eventually(s.version("bravo")).Should(Equal("v0.2.0"))
	s.Eventually(s.condition("lab", v1alpha1.ConditionReady)).Should(HavePrefix("False/"))
	s.Expect(s.version("charlie")()).To(Equal(carried))
	s.report("alpha", metav1.ConditionTrue, "AllNodesAcknowledged")
	s.status("bravo", func(cs *v1alpha1.ClusterStack) {
		cs.Status.Update.Breach = &v1alpha1.ProbeBreach{Node: "node-1", Probe: "peers"}
		setCondition(cs, v1alpha1.ConditionProven, metav1.ConditionFalse, v1alpha1.ReasonProbeBreached)
	})
	s.Eventually(s.version("alpha")).Should(Equal(carried), "the whole wave goes back, what is proven too")
	s.Eventually(s.version("bravo")).Should(Equal(carried))
	s.Eventually(s.phase).Should(Equal(v1alpha1.RolloutRollingBack))
	s.report("alpha", metav1.ConditionTrue, "AllNodesAcknowledged")
	s.report("bravo", metav1.ConditionTrue, "AllNodesAcknowledged")
	s.Eventually(s.phase).Should(Equal(v1alpha1.RolloutStopped))
	breach := s.rollout().Breach
	s.Expect([]string{breach.Cluster, breach.Node, breach.Probe, breach.Message}).To(Equal([]string{"bravo", "node-1", "peers", "message of ProbeBreached"}))
	s.Eventually(s.condition("lab", v1alpha1.ConditionStalled)).Should(HavePrefix("True/RolloutStopped"))
	s.Eventually(s.condition("lab", v1alpha1.ConditionReady)).Should(HavePrefix("False/RolloutStopped: cluster bravo of wave one"))
	s.Consistently(s.version("charlie"), "500ms").Should(Equal(carried))
	s.Eventually(func() []string { return s.events("NetworkStack") }).Should(ContainElements(
		HavePrefix("lab WaveStarted: wave one begins with 2 clusters"), HavePrefix("lab WaveFailed: wave one has failed"),
		HavePrefix("lab RollingBack: cluster bravo of wave one: message of ProbeBreached"), HavePrefix("lab RolloutStopped: ")))
	s.Eventually(s.heard.all).Should(ContainElements("io.fairlead.rollout.started", "io.fairlead.rollout.wave.started", "io.fairlead.rollout.complete",
		"io.fairlead.rollout.wave.failed", "io.fairlead.rollout.rollingback", "io.fairlead.rollout.stopped"))
}

func TestAPinnedClusterKeepsItsVersionAndItsOwnersOverride(t *testing.T) {
	s := begin(t)
	s.labelled("alpha", "one")
	s.labelled("bravo", "two")
	s.create(s.inWaves("one", "two"))
	s.report("alpha", metav1.ConditionTrue, "AllNodesAcknowledged")
	s.report("bravo", metav1.ConditionTrue, "AllNodesAcknowledged")
	s.Eventually(s.phase).Should(Equal(v1alpha1.RolloutComplete))

	edit(s, s.clusterStack("alpha"), func(cs *v1alpha1.ClusterStack) { cs.Spec.Pinned = true })
	mtu := v1alpha1.MTU(1400)
	edit(s, s.clusterStack("bravo"), func(cs *v1alpha1.ClusterStack) { cs.Spec.Override.MTU = &mtu })
	edit(s, s.stack("lab", "lab"), func(n *v1alpha1.NetworkStack) { n.Spec.Version = "v0.2.0" })
	s.Eventually(s.version("bravo")).Should(Equal("v0.2.0"))
	s.report("bravo", metav1.ConditionTrue, "AllNodesAcknowledged")
	s.Eventually(s.phase).Should(Equal(v1alpha1.RolloutComplete))
	s.Expect(s.version("alpha")()).To(Equal(carried))
	cs := s.clusterStack("bravo")
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(cs), cs)).To(Succeed())
	s.Expect(cs.Spec.CNI.MTU).To(Equal(mtu))
	s.Expect(*cs.Spec.Override.MTU).To(Equal(mtu), "the operator leaves to the owners what is theirs")
}

func TestADowngradeIsRefused(t *testing.T) {
	s := begin(t)
	s.labelled("alpha", "one")
	n := s.inWaves("one")
	n.Spec.Version = "v0.2.0"
	s.create(n)
	s.report("alpha", metav1.ConditionTrue, "AllNodesAcknowledged")
	edit(s, s.stack("lab", "lab"), func(n *v1alpha1.NetworkStack) { n.Spec.Version = carried })
	s.Eventually(s.condition("lab", v1alpha1.ConditionAccepted)).Should(And(
		HavePrefix("False/DowngradeRefused"), ContainSubstring("allowDowngrade")))
	s.Expect(s.version("alpha")()).To(Equal("v0.2.0"))
	edit(s, s.stack("lab", "lab"), func(n *v1alpha1.NetworkStack) { n.Spec.Rollout.AllowDowngrade = true })
	s.Eventually(s.version("alpha")).Should(Equal(carried))
}
