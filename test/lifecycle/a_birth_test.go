// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/continuity"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// A cluster is applied while no operator runs, and the operator is killed again when it has
// reserved addresses: Cluster API asks until it has its answer, and nothing is taken twice.
func TestAClusterIsBornWithANetwork(t *testing.T) {
	apply(t, fleetPool)
	apply(t, networkStack)
	apply(t, topology("alpha", oldKubernetes, 2, 1))
	first := startOperator(t)
	testkit.Eventually(t, 2*time.Minute, "alpha's addresses are reserved", func(ctx context.Context) error {
		if holding(ctx, t, "alpha") == nil {
			return errors.New("nothing is held")
		}
		return nil
	})
	first.Kill()
	reserved := *holding(t.Context(), t, "alpha")
	began := time.Now()
	startOperator(t)

	testkit.Eventually(t, time.Minute, "the Cluster shows what was reserved", func(context.Context) error {
		c := cluster(t, "alpha")
		if !slices.Equal(c.Spec.ClusterNetwork.Pods.CIDRBlocks, reserved.Pods) || !slices.Equal(c.Spec.ClusterNetwork.Services.CIDRBlocks, reserved.Services) ||
			c.Annotations[fairlead.AnnotationClusterID] != fmt.Sprint(reserved.ID) {
			return fmt.Errorf("it has %+v and %v, reserved are %+v", c.Spec.ClusterNetwork, c.Annotations, reserved)
		}
		return nil
	})
	kubelets(t, 3*time.Minute, "alpha", "", oldKubernetes, 3)
	t.Logf("first nodes Ready %s after an operator was there", time.Since(began).Round(100*time.Millisecond))
	ready(t, 2*time.Minute, "alpha", past)
	t.Logf("network Ready after %s", time.Since(began).Round(100*time.Millisecond))
	paths(t, "alpha")

	c := clientOf(t, "alpha")
	t.Run("nodes have ranges of the cluster's", func(t *testing.T) {
		var nodes corev1.NodeList
		if err := c.List(t.Context(), &nodes); err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes.Items {
			if len(n.Spec.PodCIDRs) != 2 || n.Spec.PodCIDRs[0][:6] != reserved.Pods[0][:6] {
				t.Errorf("%s has %v, the cluster %v", n.Name, n.Spec.PodCIDRs, reserved.Pods)
			}
		}
	})
	t.Run("there never was a kube-proxy", func(t *testing.T) {
		err := c.Get(t.Context(), client.ObjectKey{Namespace: metav1.NamespaceSystem, Name: "kube-proxy"}, &appsv1.DaemonSet{})
		if !apierrors.IsNotFound(err) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("load balancers' ranges are there", func(t *testing.T) {
		pool := &fairlead.AddressPool{}
		if err := c.Get(t.Context(), client.ObjectKey{Name: fairlead.FleetAddressPool}, pool); err != nil {
			t.Fatal(err)
		}
		if string(pool.Spec.Addresses[0]) != reserved.LoadBalancers[0] {
			t.Errorf("the cluster has %v, reserved are %v", pool.Spec.Addresses, reserved.LoadBalancers)
		}
	})
}

// A cluster that names a range of another's is held, and born once it is corrected: from there to
// the first packet nobody does anything.
func TestAClusterThatNamesAnothersRangeIsHeldUntilItDoesNot(t *testing.T) {
	startOperator(t)
	t.Cleanup(func() { remove(t, "bravo") })
	taken := cluster(t, "alpha").Spec.ClusterNetwork.Pods.CIDRBlocks[0]
	apply(t, topology("bravo", oldKubernetes, 1, 0)+"  clusterNetwork: {pods: {cidrBlocks: ["+taken+"]}}\n")
	says(t, time.Minute, "bravo", clusterv1.ClusterTopologyReconciledCondition, "Cluster fleet/alpha has "+taken+" for pods: name another, or none")
	if ref := cluster(t, "bravo").Spec.InfrastructureRef; ref.IsDefined() {
		t.Errorf("something was made of it: %v", ref)
	}
	began := time.Now()
	edit(t, "bravo", func(c *clusterv1.Cluster) { c.Spec.ClusterNetwork = clusterv1.ClusterNetwork{} })
	kubelets(t, 2*time.Minute, "bravo", "", oldKubernetes, 1)
	t.Logf("bravo: node Ready after %s", time.Since(began).Round(100*time.Millisecond))
	c := clientOf(t, "bravo")
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testkit.LoadNamespace}}); err != nil {
		t.Fatal(err)
	}
	for i, node := range kubelets(t, time.Minute, "bravo", "", oldKubernetes, 1) {
		for _, name := range []string{"one", "two"} {
			if err := c.Create(t.Context(), testkit.LoadPod(fmt.Sprintf("%s-%d", name, i), node)); err != nil {
				t.Fatal(err)
			}
		}
	}
	to, err := lab.AwaitLoadPod(testkit.Within(t, time.Minute), "bravo", "two-0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lab.AwaitLoadPod(testkit.Within(t, time.Minute), "bravo", "one-0"); err != nil {
		t.Fatal(err)
	}
	load, err := lab.StartLoad(t.Context(), "bravo", "one-0", netip.AddrPortFrom(to.Addresses[0], testkit.LoadPort), continuity.Config{Flows: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("bravo: the first packet from pod to pod %s after the Cluster was corrected", time.Since(began).Round(100*time.Millisecond))
	if r, err := load.Stop(); err != nil || r.Err() != nil {
		t.Errorf("%v, %v", r.Err(), err)
	}
}

// remove deletes a Cluster and waits until it is gone.
func remove(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	c := &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: testkit.FleetNamespace, Name: name}}
	h := hub(t)
	for {
		if err := h.Delete(ctx, c); apierrors.IsNotFound(err) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("Cluster %s is still there", name)
		case <-time.After(300 * time.Millisecond):
		}
	}
}
