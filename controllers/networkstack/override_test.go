// SPDX-License-Identifier: Apache-2.0

package networkstack

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// routing is the mode of a ClusterStack.
func (s *story) routing(cluster string) func() v1alpha1.RoutingMode {
	return func() v1alpha1.RoutingMode {
		cs := s.clusterStack(cluster)
		if err := hub.Client.Get(s.ctx, client.ObjectKeyFromObject(cs), cs); err != nil {
			return v1alpha1.RoutingMode(err.Error())
		}
		return cs.Spec.CNI.Routing.Mode
	}
}

// events are "name reason: note" of all events at objects of a kind.
func (s *story) events(kind string) []string {
	var l eventsv1.EventList
	s.Expect(hub.Client.List(s.ctx, &l, client.InNamespace(s.ns))).To(Succeed())
	var out []string
	for _, e := range l.Items {
		if e.Regarding.Kind == kind {
			out = append(out, e.Regarding.Name+" "+e.Reason+": "+e.Note)
		}
	}
	return out
}

func TestRoutingDiffersByOverrideAndASwitchIsAnnounced(t *testing.T) {
	s := begin(t)
	s.cluster("alpha", "lab")
	s.cluster("bravo", "prod")
	stack := s.stack("fleet", "")
	stack.Spec.ClusterSelector = metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "env", Operator: metav1.LabelSelectorOpExists}}}
	stack.Spec.Overrides = []v1alpha1.ClusterOverride{nativeIn("production", "prod")}
	s.create(stack)
	s.Eventually(s.routing("alpha")).Should(Equal(v1alpha1.RoutingTunnel))
	s.Eventually(s.routing("bravo")).Should(Equal(v1alpha1.RoutingNative))
	events := func() []string { return s.events("ClusterStack") }
	s.Expect(events()).To(BeEmpty(), "a cluster that is new changes nothing")
	s.report("alpha", metav1.ConditionTrue, "AllNodesAcknowledged")
	s.report("bravo", metav1.ConditionTrue, "AllNodesAcknowledged")

	// The label that the override selects by moves: so does the routing, and people are told.
	alpha := &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "alpha"}}
	edit(s, alpha, func(c *clusterv1.Cluster) { c.Labels = map[string]string{"env": "prod"} })
	s.Eventually(s.routing("alpha")).Should(Equal(v1alpha1.RoutingNative))
	s.Eventually(events).Should(ContainElement(And(
		HavePrefix("alpha RoutingChanged: spec.cni.routing.mode: Tunnel -> Native: agents restart one after another"),
		ContainSubstring("the network between nodes must route"))))

	// While paused nothing changes, and the plan says what will.
	s.report("alpha", metav1.ConditionTrue, "AllNodesAcknowledged")
	edit(s, stack, func(n *v1alpha1.NetworkStack) {
		n.Spec.Paused, n.Spec.CNI.MTU, n.Spec.CNI.FlowTable.Entries = true, 1400, 16384
	})
	plan := func() []string {
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(stack), stack)).To(Succeed())
		var out []string
		for _, c := range stack.Status.Plan {
			out = append(out, fmt.Sprintf("%s: %s -> %s in %d", c.Field, c.From, c.To, c.Clusters))
		}
		return out
	}
	s.Eventually(plan).Should(ConsistOf(
		"spec.cni.mtu: 0 (the uplink's) -> 1400 in 2", "spec.cni.flowTable.entries: 131072 -> 16384 in 2"))
	s.Expect(stack.Status.Rollout.Phase).To(Equal(v1alpha1.RolloutPaused))
	// Two fields at once are two events.
	edit(s, stack, func(n *v1alpha1.NetworkStack) { n.Spec.Paused = false })
	s.Eventually(events).Should(ContainElements(
		HavePrefix("alpha ConfigurationChanged: spec.cni.mtu: 0 (the uplink's) -> 1400"),
		HavePrefix("alpha ConfigurationChanged: spec.cni.flowTable.entries: 131072 -> 16384")))
	for _, e := range events() {
		s.Expect(strings.HasPrefix(e, "bravo RoutingChanged")).To(BeFalse(), "bravo's routing never changed: %s", e)
	}
}

func TestAnOverrideWithAnInvalidSelectorIsReported(t *testing.T) {
	s := begin(t)
	s.cluster("alpha", "lab")
	stack := s.stack("lab", "lab")
	s.create(stack)
	s.Eventually(s.holders).Should(ConsistOf("alpha=lab"))
	edit(s, stack, func(n *v1alpha1.NetworkStack) {
		n.Spec.CNI.MTU = 1400
		n.Spec.Overrides = []v1alpha1.ClusterOverride{nativeIn("broken", "no such value!")}
	})
	s.Eventually(s.condition("lab", v1alpha1.ConditionStalled)).Should(And(
		HavePrefix("True/InvalidSelector"), ContainSubstring(`clusterSelector of spec.overrides[name=broken] of NetworkStack "lab"`)))
	s.Expect(s.holders()).To(ConsistOf("alpha=lab"), "what is installed stays")
	cs := s.clusterStack("alpha")
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(cs), cs)).To(Succeed())
	s.Expect(cs.Spec.CNI.MTU).To(BeZero())
}
