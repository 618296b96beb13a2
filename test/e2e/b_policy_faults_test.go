// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/reach"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// guarded brings policies into force that let client-one in to the servers and nobody else.
func (w *policedWorld) guarded() (open, closed func(policedPath) bool) {
	w.t.Helper()
	open = func(p policedPath) bool { return p.client == "client-one" }
	w.apply(policy("guard", "role", "server", ingress(networkingv1.NetworkPolicyIngressRule{From: []networkingv1.NetworkPolicyPeer{podsWith("pod", "client-one")}})))
	w.settle(20*time.Second, open)
	return open, func(p policedPath) bool { return !open(p) }
}

// holds asserts that, while something is done, no packet arrives that policies forbid, and every one
// that they allow does.
func (w *policedWorld) holds(do func()) {
	w.t.Helper()
	open, closed := w.guarded()
	before := w.seen(testkit.MainPort)
	do()
	if leaks := w.leaked(testkit.MainPort, before, closed); len(leaks) > 0 {
		w.t.Errorf("packets passed that must not: %v", leaks)
	}
	w.settle(5*time.Second, open)
	ends, err := w.watches["client-one"].Stop()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range w.paths {
		if c := ends[p.Name]; open(p) && c.Answered != c.Sent {
			w.t.Errorf("%s: %d of %d were not answered", p.Name, c.Sent-c.Answered, c.Sent)
		}
	}
}

// TestBPoliciesOutliveAgents: agents die and come back while policies are in force.
func TestBPoliciesOutliveAgents(t *testing.T) {
	alpha := lab.Clusters()[0]
	agentsReplaced(t, alpha) // their restarts are not put off
	w := newPolicedWorld(t, alpha)
	w.holds(func() {
		for _, n := range nodesOf(t, alpha) {
			kill(t, n, "^/fairlead-agent --")
		}
		agentsServe(t, alpha)
		fleetReady(t)
	})
	w.undisturbed()
}

func agentsServe(t *testing.T, cluster string) {
	t.Helper()
	for _, n := range nodesOf(t, cluster) {
		eventually(t, time.Minute, "the agent of "+n+" serves", func(ctx context.Context) error {
			_, err := agentServes(ctx, n)
			return err
		})
	}
}

// TestBPoliciesOutliveControllers: no controller is there, and agents that start meanwhile know
// policies from before.
func TestBPoliciesOutliveControllers(t *testing.T) {
	alpha := lab.Clusters()[0]
	c := clientOf(t, alpha)
	agentsReplaced(t, alpha) // as above
	w := newPolicedWorld(t, alpha)
	w.holds(func() {
		before, err := scaleController(within(t, time.Minute), c, 0)
		if err != nil {
			t.Fatal(err)
		}
		restored(t, func(ctx context.Context) error { _, err := scaleController(ctx, c, before); return err })
		eventually(t, time.Minute, "no controller is left", func(ctx context.Context) error {
			var pods corev1.PodList
			err := c.List(ctx, &pods, client.InNamespace(testkit.OperatorNamespace), client.MatchingLabels{"app.kubernetes.io/component": "controller"})
			if err == nil && len(pods.Items) > 0 {
				err = errors.New("there are some")
			}
			return err
		})
		for _, n := range nodesOf(t, alpha) {
			kill(t, n, "^/fairlead-agent --")
		}
		agentsServe(t, alpha)
	})
}

// TestBANewPodIsNeverUnpoliced: pods that must not send anything are born while their node's agent
// dies and comes back. They try from their first moment on, and nothing of it arrives.
func TestBANewPodIsNeverUnpoliced(t *testing.T) {
	const born = 4
	alpha := lab.Clusters()[0]
	agentsReplaced(t, alpha) // as above
	w := newPolicedWorld(t, alpha)
	c := clientOf(t, alpha)
	w.apply(policy("silent", "role", "born", egress()))
	node := nodesOf(t, alpha)[0]
	free := w.sender("free", otherNamespace, node, 1000)
	if _, err := lab.DeployPoliced(within(t, time.Minute), alpha, free); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "a pod that may send does", func(context.Context) error {
		if w.seen(testkit.MainPort)["server-two"][1000] == 0 {
			return errors.New("nothing has arrived")
		}
		return nil
	})

	kill(t, node, "^/fairlead-agent --")
	for i := range born {
		if err := c.Create(within(t, time.Minute), w.sender(fmt.Sprintf("born-%d", i), testkit.PolicedNamespace, node, 1001+uint64(i))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range born {
		if _, err := testkit.AwaitPod(within(t, time.Minute), c, testkit.PolicedNamespace, fmt.Sprintf("born-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	seen := w.seen(testkit.MainPort)["server-two"]
	for i := range born {
		if n := seen[1001+uint64(i)]; n > 0 {
			t.Errorf("%d packets of pod born-%d have arrived", n, i)
		}
	}
	fleetReady(t)
}

// sender is a pod that does nothing but to send to server-two.
func (w *policedWorld) sender(name, namespace, node string, stream uint64) *corev1.Pod {
	w.t.Helper()
	cfg, err := json.Marshal(reach.Config{Interval: time.Millisecond, Silence: time.Second, Paths: []reach.Path{{
		Name: "out", Kind: reach.UDP, Stream: stream,
		Server: net.JoinHostPort(w.pods["server-two"].Addresses[0].String(), strconv.Itoa(testkit.MainPort)),
	}}})
	if err != nil {
		w.t.Fatal(err)
	}
	p := testkit.PolicedPod(name, node, map[string]string{"role": "born"})
	p.Namespace = namespace
	one := &p.Spec.Containers[0]
	one.Command, one.Stdin, one.Ports, one.ReadinessProbe, one.LivenessProbe = []string{"/probe", "reach", string(cfg)}, true, nil, nil, nil
	return p
}
