// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1 "k8s.io/api/core/v1"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// gone waits until a cluster has no ClusterStack, no namespace and, on no node, a
// trace of Fairlead.
func gone(t *testing.T, cluster string) {
	t.Helper()
	eventually(t, 4*time.Minute, "the ClusterStack is gone", func(ctx context.Context) error {
		var cs fairlead.ClusterStack
		err := hub(t).Get(ctx, client.ObjectKey{Namespace: testkit.FleetNamespace, Name: cluster}, &cs)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("conditions: %+v", cs.Status.Conditions))
	})
	var ns corev1.Namespace
	if err := clientOf(t, cluster).Get(within(t, time.Minute), client.ObjectKey{Name: testkit.OperatorNamespace}, &ns); !apierrors.IsNotFound(err) {
		t.Errorf("%s still has our namespace: %v", cluster, err)
	}
	for _, node := range nodesOf(t, cluster) {
		for _, trace := range traces(t, node) {
			if trace != "" {
				t.Errorf("%s: left behind: %s", node, trace)
			}
		}
	}
}

func TestDALabelThatIsRemovedUninstalls(t *testing.T) {
	alpha, bravo := lab.Clusters()[0], lab.Clusters()[1]
	if len(traces(t, nodesOf(t, alpha)[0])) < 5 {
		t.Fatal("the search finds nothing on a node that Fairlead runs on: it proves nothing afterwards")
	}
	if err := lab.RemoveProbes(within(t, 3*time.Minute), alpha); err != nil {
		t.Fatal(err)
	}
	key := client.ObjectKey{Namespace: testkit.FleetNamespace, Name: alpha}
	label := func(value string) {
		var cluster clusterv1.Cluster
		if err := hub(t).Get(within(t, time.Minute), key, &cluster); err != nil {
			t.Fatal(err)
		}
		before := cluster.DeepCopy()
		cluster.Labels["environment"] = value
		if err := hub(t).Patch(within(t, time.Minute), &cluster, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	label("none")
	gone(t, alpha)
	connected(t, bravo)
	fleetReady(t)

	label("lab")
	eventually(t, 3*time.Minute, "it is back", condition(hub(t), alpha, fairlead.ConditionReady, metav1.ConditionTrue))
	// Pods that outlived their network do not get another: they are made anew.
	if err := clientOf(t, alpha).DeleteAllOf(within(t, time.Minute), &corev1.Pod{}, client.InNamespace("kube-system"),
		client.MatchingLabels{"k8s-app": "kube-dns"}); err != nil {
		t.Fatal(err)
	}
	connected(t, alpha)
}

func TestDADeletedStackUninstallsEverywhere(t *testing.T) {
	for _, cluster := range lab.Clusters() {
		if err := lab.RemoveProbes(within(t, 3*time.Minute), cluster); err != nil {
			t.Fatal(err)
		}
	}
	s := stack(testkit.StackName, func(*fairlead.NetworkStack) {})
	if err := hub(t).Delete(within(t, time.Minute), s); err != nil {
		t.Fatal(err)
	}
	for _, cluster := range lab.Clusters() {
		gone(t, cluster)
	}
	eventually(t, time.Minute, "the stack is gone", func(ctx context.Context) error {
		if err := hub(t).Get(ctx, client.ObjectKeyFromObject(s), s); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is still there: %v", err)
		}
		return nil
	})
	eventually(t, 30*time.Second, "the kernel has no program of ours", func(context.Context) error {
		if n := programs(); n > programsBefore {
			return fmt.Errorf("%d programs, %d before the lab", n, programsBefore)
		}
		return nil
	})
}
