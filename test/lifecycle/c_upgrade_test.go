// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/continuity"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// An upgrade that the network does not support is held, also by the operator that follows one
// that was killed, and goes on by itself once the network has moved. It goes through under
// traffic: pods whose nodes are not replaced lose nothing.
func TestCAnUpgradeWaitsForTheNetworkAndLosesNothing(t *testing.T) {
	operator := startOperator(t)
	edit(t, "alpha", func(c *clusterv1.Cluster) { c.Spec.Topology.Version = newKubernetes })
	held := "Fairlead " + past + " needs Kubernetes " + pastSupports + ", and there is " + newKubernetes + ": set spec.version of NetworkStack lab to one that does: [" + present + "]"
	holds(t, held)
	operator.Kill()
	startOperator(t)
	holds(t, held)
	if v := controlPlane(t); v != oldKubernetes {
		t.Fatalf("the control plane runs %s although the upgrade is held", v)
	}

	s := &fairlead.NetworkStack{ObjectMeta: metav1.ObjectMeta{Namespace: testkit.FleetNamespace, Name: testkit.StackName}}
	if err := hub(t).Patch(t.Context(), s, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"version":"`+present+`"}}`))); err != nil {
		t.Fatal(err)
	}
	stay := kubelets(t, time.Minute, "alpha", "stay", oldKubernetes, 2)
	loads := begun(t, stay)
	ready(t, 3*time.Minute, "alpha", present)
	moved := time.Now()
	testkit.Eventually(t, 3*time.Minute, "the control plane is upgraded", func(context.Context) error {
		if v := controlPlane(t); v != newKubernetes {
			return fmt.Errorf("it runs %s", v)
		}
		return nil
	})
	t.Logf("control plane upgraded %s after the network had moved", time.Since(moved).Round(100*time.Millisecond))
	kubelets(t, 4*time.Minute, "alpha", "turn", newKubernetes, 1)
	t.Logf("nodes of group turn replaced %s after the network had moved", time.Since(moved).Round(100*time.Millisecond))
	loads.end(t)

	edit(t, "alpha", func(c *clusterv1.Cluster) {
		for i := range c.Spec.Topology.Workers.MachineDeployments {
			c.Spec.Topology.Workers.MachineDeployments[i].Metadata = clusterv1.ObjectMeta{} // deferred no more
		}
	})
	kubelets(t, 6*time.Minute, "alpha", "stay", newKubernetes, 2)
	ready(t, 2*time.Minute, "alpha", present)
	paths(t, "alpha")
}

// holds waits until Cluster API says that a hook holds the upgrade, and why.
func holds(t *testing.T, why string) {
	t.Helper()
	testkit.Eventually(t, 90*time.Second, "the upgrade is held", func(ctx context.Context) error {
		c := &clusterv1.Cluster{}
		if err := hub(t).Get(ctx, client.ObjectKey{Namespace: testkit.FleetNamespace, Name: "alpha"}, c); err != nil {
			return err
		}
		for _, kind := range []string{clusterv1.ClusterTopologyReconciledCondition, clusterv1.ClusterRollingOutCondition} {
			if m := meta.FindStatusCondition(c.Status.Conditions, kind); m != nil && strings.Contains(m.Message, why) {
				return nil
			}
		}
		return fmt.Errorf("the conditions are %+v", c.Status.Conditions)
	})
}

// controlPlane is the version that alpha's API server says it has.
func controlPlane(t *testing.T) string {
	t.Helper()
	v, err := lab.KubernetesVersion(t.Context(), "alpha")
	if err != nil {
		return err.Error()
	}
	return v
}

// traffic is a load between nodes in both directions and families.
type traffic struct {
	names []string
	loads []*testkit.Load
}

// begun starts traffic between two nodes of alpha. It is commanded through the nodes, because the
// API server is restarted meanwhile.
func begun(t *testing.T, nodes []string) *traffic {
	t.Helper()
	c := clientOf(t, "alpha")
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testkit.LoadNamespace}}); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
	var pods []testkit.Pod
	for i, node := range nodes {
		name := fmt.Sprintf("load-%d", i)
		if err := c.Create(t.Context(), testkit.LoadPod(name, node)); err != nil {
			t.Fatal(err)
		}
		pod, err := lab.AwaitLoadPod(testkit.Within(t, time.Minute), "alpha", name)
		if err != nil {
			t.Fatal(err)
		}
		pods = append(pods, pod)
	}
	out := &traffic{}
	for _, p := range []struct {
		name     string
		from, to testkit.Pod
		family   int
	}{{"IPv4", pods[0], pods[1], 0}, {"IPv6", pods[1], pods[0], 1}} {
		server := netip.AddrPortFrom(p.to.Addresses[p.family], testkit.LoadPort)
		l, err := lab.StartLoadByNode(t.Context(), "alpha", p.from.Name, server, continuity.Config{
			Flows: 200, Rest: time.Second, DatagramRate: 1000, Connects: true, ConnectRest: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		out.names, out.loads = append(out.names, p.name), append(out.loads, l)
	}
	return out
}

// end ends the traffic, which must have lost nothing.
func (l *traffic) end(t *testing.T) {
	t.Helper()
	for i, one := range l.loads {
		if err := one.Await(); err != nil {
			t.Errorf("%s: %v", l.names[i], err)
		}
		r, err := one.Stop()
		if err != nil {
			t.Errorf("%s: %v", l.names[i], err)
		}
		t.Logf("%s across nodes: %d exchanges, %d datagrams, %d new connections", l.names[i], r.Exchanges, r.Sent, r.Connected)
		if err := r.Err(); err != nil {
			t.Errorf("%s: %v", l.names[i], err)
		}
		if r.Sent == 0 || r.Exchanges == 0 {
			t.Errorf("%s: no traffic", l.names[i])
		}
	}
}
