// SPDX-License-Identifier: Apache-2.0

package e2e

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
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/testkit"
)

func stack(name string, change func(*fairlead.NetworkStack)) *fairlead.NetworkStack {
	s := &fairlead.NetworkStack{ObjectMeta: metav1.ObjectMeta{Namespace: testkit.FleetNamespace, Name: name}}
	s.Spec.ClusterSelector.MatchLabels = map[string]string{"environment": "lab"}
	change(s)
	return s
}

func TestCAnInvalidStackIsRefusedAtAdmission(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*fairlead.NetworkStack)
		want   []string
	}{
		"nothing selected": {func(s *fairlead.NetworkStack) { s.Spec.ClusterSelector = metav1.LabelSelector{} }, []string{"spec.clusterSelector", "allClusters"}},
		"an absurd MTU":    {func(s *fairlead.NetworkStack) { s.Spec.CNI.MTU = 100 }, []string{"mtu", "1280"}},
		"no version":       {func(s *fairlead.NetworkStack) { s.Spec.Version = "latest" }, []string{"spec.version", "v0.1.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := hub(t).Create(within(t, time.Minute), stack("refused", tc.change))
			if err == nil {
				t.Fatal("it was accepted")
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

func TestCTheFirstStackKeepsACluster(t *testing.T) {
	second := stack("second", func(*fairlead.NetworkStack) {})
	if err := hub(t).Create(within(t, time.Minute), second); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := hub(t).Delete(context.Background(), second); err != nil {
			t.Error(err)
		}
		eventually(t, time.Minute, "the second stack is gone", func(ctx context.Context) error {
			if err := hub(t).Get(ctx, client.ObjectKeyFromObject(second), second); err == nil {
				return fmt.Errorf("it is still there: %v", second.Status.Conditions)
			}
			return nil
		})
		fleetReady(t)
	}()
	eventually(t, time.Minute, "the second stack says who holds the clusters", func(ctx context.Context) error {
		if err := hub(t).Get(ctx, client.ObjectKeyFromObject(second), second); err != nil {
			return err
		}
		ready := meta.FindStatusCondition(second.Status.Conditions, fairlead.ConditionReady)
		if ready == nil || ready.Status != metav1.ConditionFalse || !strings.Contains(ready.Message, testkit.StackName) || !strings.Contains(ready.Message, lab.Clusters()[0]) {
			return fmt.Errorf("Ready is %+v", ready)
		}
		return nil
	})
	fleetReady(t)
}

func TestCAKubeconfigThatCannotBeUsed(t *testing.T) {
	alpha, bravo := lab.Clusters()[0], lab.Clusters()[1]
	key := client.ObjectKey{Namespace: testkit.FleetNamespace, Name: alpha + "-kubeconfig"}
	c := hub(t)
	var good corev1.Secret
	if err := c.Get(within(t, time.Minute), key, &good); err != nil {
		t.Fatal(err)
	}
	put := func(change func(map[string][]byte)) {
		var s corev1.Secret
		if err := c.Get(within(t, time.Minute), key, &s); err != nil {
			t.Fatal(err)
		}
		s.Data = map[string][]byte{"value": append([]byte(nil), good.Data["value"]...)}
		change(s.Data)
		if err := c.Update(within(t, time.Minute), &s); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		put(func(map[string][]byte) {})
		fleetReady(t)
	}()
	for _, tc := range []struct {
		name   string
		change func(map[string][]byte)
		words  []string
	}{
		{"its key is missing", func(d map[string][]byte) { delete(d, "value"); d["other"] = []byte("x") }, []string{key.Name, "value"}},
		{"it is malformed", func(d map[string][]byte) { d["value"] = []byte("{not yaml") }, []string{key.Name, "value"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			put(tc.change)
			eventually(t, 2*time.Minute, "the condition says so", condition(c, alpha, fairlead.ConditionConnected, metav1.ConditionFalse, tc.words...))
			if err := condition(c, bravo, fairlead.ConditionReady, metav1.ConditionTrue)(t.Context()); err != nil {
				t.Errorf("the other cluster is harmed: %v", err)
			}
			connected(t, alpha)
			put(func(map[string][]byte) {})
			eventually(t, 2*time.Minute, "it is connected again", condition(c, alpha, fairlead.ConditionConnected, metav1.ConditionTrue))
		})
	}
}

// TestCAControlPlaneThatIsAway takes a cluster's whole control plane away: its
// pods keep their network, the other cluster its Ready, and it comes back by itself.
func TestCAControlPlaneThatIsAway(t *testing.T) {
	alpha, bravo := lab.Clusters()[0], lab.Clusters()[1]
	connected(t, alpha)
	pods, err := lab.Pods(within(t, time.Minute), alpha)
	if err != nil {
		t.Fatal(err)
	}
	machine := alpha + "-cp"
	if err := lab.Run(within(t, time.Minute), "kill-node", machine); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lab.Run(context.Background(), "start-node", machine); err != nil {
			t.Fatal(err)
		}
		eventually(t, 3*time.Minute, "it is connected again", condition(hub(t), alpha, fairlead.ConditionConnected, metav1.ConditionTrue))
		fleetReady(t)
		connected(t, alpha)
	}()
	reachable := func() {
		t.Helper()
		for _, node := range nodesOf(t, alpha) {
			for _, p := range pods {
				for _, a := range p.Addresses {
					url := "http://" + netip.AddrPortFrom(a, 8080).String()
					if out, err := lab.Exec(within(t, time.Minute), node, "curl", "-sS", "-m", "3", url); err != nil {
						t.Errorf("from %s to %s: %v %s", node, p.Name, err, out)
					}
				}
			}
		}
	}
	reachable()
	eventually(t, 4*time.Minute, "the condition says so", condition(hub(t), alpha, fairlead.ConditionConnected, metav1.ConditionFalse, alpha))
	if err := condition(hub(t), bravo, fairlead.ConditionReady, metav1.ConditionTrue)(t.Context()); err != nil {
		t.Errorf("the other cluster is harmed: %v", err)
	}
	connected(t, bravo)
	reachable()
}
