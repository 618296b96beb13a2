// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"regexp"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/testkit"
)

var agentKey = client.ObjectKey{Namespace: testkit.OperatorNamespace, Name: "fairlead-agent"}

// changeAgents edits the agents' DaemonSet of a cluster, for all nodes at the same time.
func changeAgents(ctx context.Context, c client.Client, change func(*corev1.PodSpec)) error {
	var ds appsv1.DaemonSet
	if err := c.Get(ctx, agentKey, &ds); err != nil {
		return err
	}
	all := intstr.FromString("100%")
	ds.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &all}
	change(&ds.Spec.Template.Spec)
	return c.Update(ctx, &ds)
}

// TestBWithoutAgentsUnderLoad: agents that end again and again, and then agents that do not
// come back, harm no pod that is there: old connections and new ones work, none loses a
// packet. Pods that start meanwhile get their network when the agents are back.
func TestBWithoutAgentsUnderLoad(t *testing.T) {
	alpha := lab.Clusters()[0]
	c := clientOf(t, alpha)
	ends := deployLoad(t, alpha)
	var good appsv1.DaemonSet
	if err := c.Get(within(t, time.Minute), agentKey, &good); err != nil {
		t.Fatal(err)
	}
	restore := func(ctx context.Context) error {
		var ds appsv1.DaemonSet
		if err := c.Get(ctx, agentKey, &ds); err != nil {
			return err
		}
		ds.Spec = *good.Spec.DeepCopy()
		return c.Update(ctx, &ds)
	}
	restored(t, restore)
	late := testkit.LoadPod("late", ends.OneA.Node)
	losesNothing(t, alpha, ends, func(await func(...string)) {
		if err := changeAgents(within(t, time.Minute), c, func(s *corev1.PodSpec) {
			s.Containers[0].Args = append(s.Containers[0].Args, "--mtu=1") // refused at once
		}); err != nil {
			t.Fatal(err)
		}
		eventually(t, 2*time.Minute, "every agent has ended twice", func(ctx context.Context) error { return restartedTwice(ctx, c, len(nodesOf(t, alpha))) })
		await()

		if err := changeAgents(within(t, time.Minute), c, func(s *corev1.PodSpec) {
			s.NodeSelector = map[string]string{"fairlead.io/no-such-node": "true"}
		}); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Minute, "no agent is left", func(ctx context.Context) error {
			pods, err := agentPods(ctx, c)
			if err == nil && len(pods) > 0 {
				err = fmt.Errorf("%d agents are there", len(pods))
			}
			return err
		})
		if err := c.Create(within(t, time.Minute), late); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Minute, "a pod asks for a network in vain", func(ctx context.Context) error { return warned(ctx, c, late) })
		await()
		if err := everyNodeIsReady(within(t, time.Minute), c); err != nil {
			t.Errorf("Kubernetes will evict pods whose network works: %v", err)
		}
		if err := c.Get(within(t, time.Minute), client.ObjectKeyFromObject(late), late); err != nil {
			t.Fatal(err)
		}
		if len(late.Status.PodIPs) > 0 {
			t.Errorf("a pod has addresses %v while no agent runs: who gave them?", late.Status.PodIPs)
		}

		if err := restore(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := lab.AwaitLoadPod(within(t, time.Minute), alpha, late.Name); err != nil {
			t.Error(err)
		}
	})
}

// everyNodeIsReady returns an error that names a node which Kubernetes calls not ready.
func everyNodeIsReady(ctx context.Context, c client.Client) error {
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes); err != nil {
		return err
	}
	for _, n := range nodes.Items {
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status != corev1.ConditionTrue {
				return fmt.Errorf("node %s is not ready: %s", n.Name, cond.Message)
			}
		}
	}
	return nil
}

// restartedTwice returns an error until there are so many agents that their kubelets have
// started anew, twice each, in vain.
func restartedTwice(ctx context.Context, c client.Client, want int) error {
	pods, err := agentPods(ctx, c)
	if err != nil {
		return err
	}
	n := 0
	for _, p := range pods {
		for _, s := range p.Status.ContainerStatuses {
			if p.DeletionTimestamp == nil && s.RestartCount >= 2 && !s.Ready {
				n++
			}
		}
	}
	if n != want {
		return fmt.Errorf("%d agents, want %d", n, want)
	}
	return nil
}

// warned returns an error until something has gone wrong with a pod.
func warned(ctx context.Context, c client.Client, pod *corev1.Pod) error {
	var events corev1.EventList
	if err := c.List(ctx, &events, client.InNamespace(pod.Namespace)); err != nil {
		return err
	}
	for _, e := range events.Items {
		if e.InvolvedObject.Name == pod.Name && e.Type == corev1.EventTypeWarning {
			return nil
		}
	}
	return fmt.Errorf("pod %s: no warning", pod.Name)
}

// TestBAGapUnderLoadIsNoticed: the load of these tests tells when one pod is without its
// network for a moment, and only the paths of that pod do.
func TestBAGapUnderLoadIsNoticed(t *testing.T) {
	alpha := lab.Clusters()[0]
	ends := deployLoad(t, alpha)
	const cut, whole = "same node, IPv6", "Service on the node, IPv6"
	node := ends.TwoA.Node
	out, err := lab.Exec(within(t, time.Minute), node, "ip", "route", "get", ends.TwoA.Addresses[0].String())
	if err != nil {
		t.Fatal(err)
	}
	device := regexp.MustCompile("fl[0-9a-f]{12}").FindString(out)
	set := func(state string) {
		t.Helper()
		if _, err := lab.Exec(within(t, time.Minute), node, "ip", "link", "set", device, state); err != nil {
			t.Fatal(err)
		}
	}
	results := underLoad(t, alpha, everyPath(ends)[2:], func(await func(...string)) {
		set("down")
		await(whole)
		set("up")
	})
	if r := results[cut]; r.Lost()+r.Refused == 0 || r.Err() == nil {
		t.Errorf("nobody noticed that the pod was cut off: %+v", r)
	}
	if err := results[whole].Err(); err != nil {
		t.Errorf("a path that was not cut: %v", err)
	}
}
