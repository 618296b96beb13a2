// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/reach"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// cutWithin is how soon a path closes, and a new one opens, after the API has answered.
const cutWithin = time.Second

// policyStep is something that is done to policies or pods, and the ways that are open then.
type policyStep struct {
	name string
	do   func(*policedWorld)
	open func(policedPath) bool
}

// TestBPolicies: what NetworkPolicies say is what packets meet, on a node and across nodes, in both
// families, of connections that are there, new ones, and datagrams; within a second.
func TestBPolicies(t *testing.T) {
	alpha := lab.Clusters()[0]
	t.Run("tunnels", func(t *testing.T) { policyStory(t, alpha, policySteps()) })
	restored(t, func(ctx context.Context) error { return lab.SetRouting(ctx, fairlead.RoutingTunnel) })
	if err := lab.SetRouting(within(t, time.Minute), fairlead.RoutingNative); err != nil {
		t.Fatal(err)
	}
	fleetReady(t)
	// What differs is the way of packets, not what policies mean.
	t.Run("native routing", func(t *testing.T) { policyStory(t, alpha, policySteps()[:5]) })
}

func policyStory(t *testing.T, cluster string, steps []policyStep) {
	w := newPolicedWorld(t, cluster)
	for _, s := range steps {
		// The previous step has settled: what changes from here on is of this one.
		began := time.Now()
		s.do(w)
		answered := time.Now()
		opened, closed := w.settle(20*time.Second, s.open)
		if late := closed.Sub(answered); late > cutWithin {
			t.Errorf("%s: the last packet that must not pass did so %v after the write", s.name, late)
		}
		t.Logf("%s: settled; opened %v and closed %v after it was begun", s.name, max(0, opened.Sub(began)), max(0, closed.Sub(began)))
	}
	w.undisturbed()
}

func policySteps() []policyStep {
	everything := func(policedPath) bool { return true }
	nothing := func(policedPath) bool { return false }
	fromOne := func(p policedPath) bool { return p.client == "client-one" }
	denied := func(w *policedWorld) { w.apply(policy("deny", "role", "server", ingress())) }
	udp := corev1.ProtocolUDP
	return []policyStep{
		{"nobody may come in", denied, nothing},
		{"one client may", func(w *policedWorld) {
			w.apply(policy("allow", "role", "server", ingress(networkingv1.NetworkPolicyIngressRule{From: []networkingv1.NetworkPolicyPeer{podsWith("guest", "yes")}})))
			w.label("client-one", "guest", "yes")
		}, fromOne},
		{"a label lets the other in, too", func(w *policedWorld) { w.label("client-two", "guest", "yes") }, everything},
		{"a label that is gone does not", func(w *policedWorld) { w.label("client-one", "guest", "") }, func(p policedPath) bool { return p.client == "client-two" }},
		{"no policy is left", (*policedWorld).withdraw, everything},
		{"a port by its name", func(w *policedWorld) {
			name := intstr.FromString(testkit.MainUDP)
			w.apply(policy("named", "role", "server", ingress(networkingv1.NetworkPolicyIngressRule{
				Ports: []networkingv1.NetworkPolicyPort{{Protocol: &udp, Port: &name}},
			})))
		}, func(p policedPath) bool { return p.Kind == reach.UDP && p.port == testkit.MainPort }},
		{"every address but one, at first beside it", func(w *policedWorld) {
			w.apply(policy("block", "role", "server", ingress(networkingv1.NetworkPolicyIngressRule{From: blocks(w.pods["client-two"])})))
		}, func(p policedPath) bool {
			return p.client == "client-one" || p.Kind == reach.UDP && p.port == testkit.MainPort
		}},
		{"and no policy again", (*policedWorld).withdraw, everything},
		// A Service is no peer: what counts is its backend.
		{"to one server alone, its Service included", func(w *policedWorld) {
			w.apply(policy("out", "role", "client", egress(networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{podsWith("pod", "server-two")}})))
		}, func(p policedPath) bool { return p.server == "server-two" }},
		{"which lets nobody in", func(w *policedWorld) { w.apply(policy("closed", "pod", "server-two", ingress())) }, nothing},
		{"and no policy at the end", (*policedWorld).withdraw, everything},
	}
}
