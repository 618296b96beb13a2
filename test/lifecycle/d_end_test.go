// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// neverBoots is a class of machines that Cluster API waits for in vain.
const neverBoots = `
apiVersion: infrastructure.cluster.x-k8s.io/v1beta2
kind: LabMachineTemplate
metadata: {name: never, namespace: fleet}
spec: {template: {spec: {neverBoots: true}}}
`

// What a deleted cluster had rests, and the next one gets it only after that. The
// deletion waits for an operator that is down.
func TestDAddressesRestBeforeTheNextClusterGetsThem(t *testing.T) {
	operator := startOperator(t)
	had := cluster(t, "alpha").Spec.ClusterNetwork.Pods.CIDRBlocks
	operator.Kill()
	began := time.Now()
	c := cluster(t, "alpha")
	if err := hub(t).Delete(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	says(t, time.Minute, "alpha", clusterv1.ClusterTopologyReconciledCondition, "BeforeClusterDelete")
	startOperator(t)
	remove(t, "alpha")
	t.Logf("alpha is gone after %s", time.Since(began).Round(100*time.Millisecond))
	freed := time.Now()
	testkit.Eventually(t, 20*time.Second, "alpha's addresses rest", func(ctx context.Context) error {
		if h := holding(ctx, t, "alpha"); h == nil || h.Freed == nil {
			return fmt.Errorf("the holding is %+v", h)
		}
		return nil
	})
	apply(t, topology("charlie", newKubernetes, 0, 0))
	pods := addresses(t, "charlie")
	if time.Since(freed) < quarantine && slices.Equal(pods, had) {
		t.Errorf("charlie got %v %s after alpha had it; it is to rest %s", pods, time.Since(freed), quarantine)
	}
	remove(t, "charlie")

	testkit.Eventually(t, time.Minute, "alpha's holding is forgotten", func(ctx context.Context) error {
		if h := holding(ctx, t, "alpha"); h != nil {
			return fmt.Errorf("it is %+v", h)
		}
		return nil
	})
	if took := time.Since(freed); took < quarantine-3*time.Second {
		t.Errorf("it rested for %s, not %s", took, quarantine)
	}
	apply(t, topology("delta", newKubernetes, 0, 0))
	if pods := addresses(t, "delta"); !slices.Equal(pods, had) {
		t.Errorf("delta got %v, and %v is free again", pods, had)
	}
	remove(t, "delta")
}

// neverClass is the ClusterClass lab with workers that never boot.
func neverClass(t *testing.T) {
	t.Helper()
	class := &clusterv1.ClusterClass{}
	if err := hub(t).Get(t.Context(), client.ObjectKey{Namespace: testkit.FleetNamespace, Name: "lab"}, class); err != nil {
		t.Fatal(err)
	}
	never := &clusterv1.ClusterClass{ObjectMeta: metav1.ObjectMeta{Namespace: class.Namespace, Name: "never"}, Spec: class.Spec}
	never.Spec.Workers.MachineDeployments[0].Infrastructure.TemplateRef.Name = "never"
	if err := hub(t).Create(t.Context(), never); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
}

// addresses waits for what a Cluster gets.
func addresses(t *testing.T, name string) []string {
	t.Helper()
	var pods []string
	testkit.Eventually(t, time.Minute, name+" has addresses", func(context.Context) error {
		if pods = cluster(t, name).Spec.ClusterNetwork.Pods.CIDRBlocks; len(pods) == 0 {
			return fmt.Errorf("it has none")
		}
		return nil
	})
	return pods
}

// A cluster whose machines never come up is said to wait, and gives its addresses back when it
// is deleted during its birth.
func TestDAClusterWhoseMachinesNeverComeUp(t *testing.T) {
	startOperator(t)
	apply(t, neverBoots)
	neverClass(t)
	apply(t, strings.Replace(topology("echo", newKubernetes, 0, 1), "{name: lab}", "{name: never}", 1))
	addresses(t, "echo")
	testkit.Eventually(t, 2*time.Minute, "the network of echo waits for a node", func(ctx context.Context) error {
		cs := &fairlead.ClusterStack{}
		if err := hub(t).Get(ctx, client.ObjectKey{Namespace: testkit.FleetNamespace, Name: "echo"}, cs); err != nil {
			return err
		}
		c := meta.FindStatusCondition(cs.Status.Conditions, fairlead.ConditionReady)
		if c == nil || c.Status == metav1.ConditionTrue || cs.Status.Nodes.Total > 0 {
			return fmt.Errorf("it is %+v", cs.Status)
		}
		return nil
	})
	remove(t, "echo")
	testkit.Eventually(t, 20*time.Second, "echo's addresses rest", func(ctx context.Context) error {
		if h := holding(ctx, t, "echo"); h != nil && h.Freed == nil {
			return fmt.Errorf("the holding is %+v", h)
		}
		return nil
	})
}
