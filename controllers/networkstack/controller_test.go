// SPDX-License-Identifier: Apache-2.0

package networkstack

import (
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

func TestOneClusterStackForEverySelectedCluster(t *testing.T) {
	s := begin(t)
	s.cluster("alpha", "lab")
	s.cluster("bravo", "lab")
	s.cluster("other", "prod")
	s.create(s.stack("lab", "lab"))

	s.Eventually(s.holders).Should(ConsistOf("alpha=lab", "bravo=lab"))
	cs := s.clusterStack("alpha")
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(cs), cs)).To(Succeed())
	s.Expect(cs.Spec.Version).To(Equal(carried))
	s.Expect(cs.Spec.CNI.Tunnel.Port).To(BeEquivalentTo(8472))
	s.Expect(*cs.Spec.CNI.Masquerade).To(BeTrue())
	s.Expect(cs.Finalizers).To(ConsistOf(v1alpha1.ClusterStackFinalizer))
	s.Expect(cs.OwnerReferences).To(HaveLen(1))
	s.Eventually(s.condition("lab", v1alpha1.ConditionReady)).Should(HavePrefix("False/ClustersNotReady: 0 of 2 clusters are Ready; not Ready: alpha, bravo"))
	s.Eventually(s.condition("lab", v1alpha1.ConditionReconciling)).Should(HavePrefix("True/"))

	s.report("alpha", metav1.ConditionTrue, "AllNodesAcknowledged")
	s.report("bravo", metav1.ConditionFalse, "NodesNotReady")
	s.Eventually(s.condition("lab", v1alpha1.ConditionReady)).Should(HavePrefix("False/ClustersNotReady: 1 of 2 clusters are Ready; not Ready: bravo (NodesNotReady)"))
	s.report("bravo", metav1.ConditionTrue, "AllNodesAcknowledged")
	s.Eventually(s.condition("lab", v1alpha1.ConditionReady)).Should(HavePrefix("True/ClustersReady"))
	s.Expect(s.condition("lab", v1alpha1.ConditionReconciling)()).To(BeEmpty())
	s.Expect(s.condition("lab", v1alpha1.ConditionStalled)()).To(BeEmpty())

	stack := s.stack("lab", "lab")
	edit(s, stack, func(n *v1alpha1.NetworkStack) { n.Spec.CNI.MTU = 1400 })
	s.Eventually(func() v1alpha1.MTU {
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(cs), cs)).To(Succeed())
		return cs.Spec.CNI.MTU
	}).Should(BeEquivalentTo(1400))
	// A ClusterStack whose status speaks of the former generation is not Ready.
	s.Eventually(s.condition("lab", v1alpha1.ConditionReady)).Should(HavePrefix("False/ClustersNotReady"))
}

func TestALabelTakenAwayUninstallsAndABackGivenOneInstalls(t *testing.T) {
	s := begin(t)
	s.cluster("alpha", "lab")
	s.create(s.stack("lab", "lab"))
	s.Eventually(s.holders).Should(ConsistOf("alpha=lab"))

	c := &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "alpha"}}
	edit(s, c, func(c *clusterv1.Cluster) { c.Labels = nil })
	s.Eventually(s.holders).Should(BeEmpty())
	s.Eventually(s.condition("lab", v1alpha1.ConditionReady)).Should(HavePrefix("False/Uninstalling: still to be cleaned: alpha"))
	// Selected again while it is still being cleaned: it waits for the end of that.
	edit(s, c, func(c *clusterv1.Cluster) { c.Labels = map[string]string{"env": "lab"} })
	s.release("alpha")
	s.Eventually(s.holders).Should(ConsistOf("alpha=lab"))
}

func TestAStackThatSelectsNothingSaysSo(t *testing.T) {
	s := begin(t)
	s.create(s.stack("lab", "nobody"))
	s.Eventually(s.condition("lab", v1alpha1.ConditionReady)).Should(HavePrefix("True/NoClusterSelected: no Cluster of namespace " + s.ns))
}

func TestASelectorThatIsEditedToMatchNothingTakesNoNetworkAway(t *testing.T) {
	s := begin(t)
	s.cluster("alpha", "lab")
	s.cluster("bravo", "lab")
	s.create(s.stack("lab", "lab"))
	s.Eventually(s.holders).Should(ConsistOf("alpha=lab", "bravo=lab"))
	edit(s, s.stack("lab", "lab"), func(n *v1alpha1.NetworkStack) { n.Spec.ClusterSelector.MatchLabels["env"] = "lba" })
	s.Eventually(s.condition("lab", v1alpha1.ConditionStalled)).Should(And(
		HavePrefix("True/SelectorMatchesNothing"), ContainSubstring("2 clusters have this network: they keep it")))
	s.status("alpha", func(cs *v1alpha1.ClusterStack) {
		setCondition(cs, v1alpha1.ConditionReady, metav1.ConditionTrue, "AllNodesAcknowledged")
	})
	s.Consistently(s.holders, "500ms").Should(ConsistOf("alpha=lab", "bravo=lab"))
	edit(s, s.stack("lab", "lab"), func(n *v1alpha1.NetworkStack) { n.Spec.ClusterSelector.MatchLabels["env"] = "lab" })
	s.Eventually(s.condition("lab", v1alpha1.ConditionAccepted)).Should(HavePrefix("True/"))
}

func TestTheOlderOfTwoStacksKeepsTheCluster(t *testing.T) {
	s := begin(t)
	s.cluster("alpha", "lab")
	s.cluster("bravo", "lab")
	s.create(s.stack("first", "lab"))
	s.Eventually(s.holders).Should(ConsistOf("alpha=first", "bravo=first"))
	s.report("alpha", metav1.ConditionTrue, "AllNodesAcknowledged")
	s.report("bravo", metav1.ConditionTrue, "AllNodesAcknowledged")

	// The name sorts before the older one's, and the creation may be in the same
	// second: move the names so that the order is by name then, too.
	second := s.stack("second", "lab")
	second.Spec.ClusterSelector = metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: "env", Operator: metav1.LabelSelectorOpIn, Values: []string{"lab", "prod"}},
	}}
	s.create(second)
	s.cluster("charlie", "prod")
	s.Eventually(s.holders).Should(ConsistOf("alpha=first", "bravo=first", "charlie=second"))
	s.Eventually(s.condition("second", v1alpha1.ConditionAccepted)).Should(And(
		HavePrefix("False/ClusterHeldByAnotherStack"),
		ContainSubstring(`Cluster "alpha" is held by NetworkStack "first"`),
		ContainSubstring("narrow spec.clusterSelector")))
	s.Eventually(s.condition("second", v1alpha1.ConditionStalled)).Should(HavePrefix("True/ClusterHeldByAnotherStack"))
	s.Eventually(s.condition("first", v1alpha1.ConditionReady)).Should(HavePrefix("True/ClustersReady"))

	// The first goes: its clusters are handed over as they are, not cleaned.
	s.Expect(hub.Client.Delete(s.ctx, s.stack("first", "lab"))).To(Succeed())
	s.Eventually(s.holders).Should(ConsistOf("alpha=second", "bravo=second", "charlie=second"))
	cs := s.clusterStack("alpha")
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(cs), cs)).To(Succeed())
	s.Expect(cs.OwnerReferences).To(HaveLen(1))
	s.Expect(cs.OwnerReferences[0].Name).To(Equal("second"))
	s.Eventually(s.condition("first", v1alpha1.ConditionReady)).Should(ContainSubstring("not found"))
	s.Eventually(s.condition("second", v1alpha1.ConditionAccepted)).Should(HavePrefix("True/Accepted"))
}

func TestAVersionThatTheOperatorDoesNotCarry(t *testing.T) {
	s := begin(t)
	s.cluster("alpha", "lab")
	s.create(s.stack("lab", "lab"))
	s.Eventually(s.holders).Should(ConsistOf("alpha=lab"))
	edit(s, s.stack("lab", "lab"), func(n *v1alpha1.NetworkStack) { n.Spec.Version = "v9.9.9" })
	s.Eventually(s.condition("lab", v1alpha1.ConditionStalled)).Should(And(
		HavePrefix("True/VersionNotSupported"), ContainSubstring("charts of v0.2.0, v0.1.0 only")))
	s.Expect(s.holders()).To(ConsistOf("alpha=lab"))
	edit(s, s.stack("lab", "lab"), func(n *v1alpha1.NetworkStack) { n.Spec.Version = carried })
	s.Eventually(s.condition("lab", v1alpha1.ConditionAccepted)).Should(HavePrefix("True/"))
}

func TestAnInvalidSelectorIsReported(t *testing.T) {
	s := begin(t)
	stack := s.stack("lab", "lab")
	stack.Spec.ClusterSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "env", Operator: "Maybe"}}
	s.create(stack)
	s.Eventually(s.condition("lab", v1alpha1.ConditionStalled)).Should(And(
		HavePrefix("True/InvalidSelector"), ContainSubstring(`spec.clusterSelector of NetworkStack "lab"`)))
}

func TestPausedHoldsTheRemovalBack(t *testing.T) {
	s := begin(t)
	s.cluster("alpha", "lab")
	s.create(s.stack("lab", "lab"))
	s.Eventually(s.holders).Should(ConsistOf("alpha=lab"))
	edit(s, s.stack("lab", "lab"), func(n *v1alpha1.NetworkStack) { n.Spec.Paused = true })
	edit(s, &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "alpha"}}, func(c *clusterv1.Cluster) { c.Labels = nil })
	s.Eventually(s.condition("lab", v1alpha1.ConditionReady)).Should(HavePrefix("False/Paused"))
	s.Expect(s.holders()).To(ConsistOf("alpha=lab"))
	edit(s, s.stack("lab", "lab"), func(n *v1alpha1.NetworkStack) { n.Spec.Paused = false })
	s.Eventually(s.holders).Should(BeEmpty())
}

func TestADeletedStackWaitsForItsClusters(t *testing.T) {
	s := begin(t)
	s.cluster("alpha", "lab")
	s.create(s.stack("lab", "lab"))
	s.Eventually(s.holders).Should(ConsistOf("alpha=lab"))
	s.Expect(hub.Client.Delete(s.ctx, s.stack("lab", "lab"))).To(Succeed())
	s.Eventually(s.condition("lab", v1alpha1.ConditionReady)).Should(HavePrefix("False/Uninstalling: still to be cleaned: alpha"))
	s.release("alpha")
	s.Eventually(func() bool {
		return apierrors.IsNotFound(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: "lab"}, &v1alpha1.NetworkStack{}))
	}).Should(BeTrue())
}

func TestStatusDoesNotFeedItself(t *testing.T) {
	s := begin(t)
	s.cluster("alpha", "lab")
	s.create(s.stack("lab", "lab"))
	s.Eventually(s.holders).Should(ConsistOf("alpha=lab"))
	s.report("alpha", metav1.ConditionTrue, "AllNodesAcknowledged")
	s.Eventually(s.condition("lab", v1alpha1.ConditionReady)).Should(HavePrefix("True/"))
	version := func() string {
		n, c := s.stack("lab", "lab"), s.clusterStack("alpha")
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(n), n)).To(Succeed())
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(c), c)).To(Succeed())
		return n.ResourceVersion + "/" + c.ResourceVersion
	}
	before := version()
	// An event that changes nothing: another Cluster, which nobody selects.
	s.cluster("other", "prod")
	s.Consistently(version, "1s", "100ms").Should(Equal(before))
}
