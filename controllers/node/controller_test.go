// SPDX-License-Identifier: Apache-2.0

package node

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func sample() *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "u1", ResourceVersion: "7", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}},
		Spec:       corev1.NodeSpec{PodCIDR: "10.0.1.0/24", PodCIDRs: []string{"10.0.1.0/24", "fd00::/64"}},
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "n1"}, {Type: corev1.NodeInternalIP, Address: "192.168.0.1"}},
			Images:    []corev1.ContainerImage{{Names: []string{"large"}}},
			Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse},
				{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()},
			},
		},
	}
}

func TestTransformKeepsWhatTheModelNeeds(t *testing.T) {
	out, err := Transform(sample())
	if err != nil {
		t.Fatal(err)
	}
	got := out.(*corev1.Node)
	if relevant(sample(), got) || got.ResourceVersion != "7" {
		t.Errorf("something is missing: %+v", got)
	}
	if got.Labels["a"] != "b" || len(got.Status.Conditions) != 1 || got.Status.Conditions[0] != (corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue}) {
		t.Errorf("what AddressPools need is missing: %+v", got)
	}
	if got.Annotations != nil || got.Status.Images != nil {
		t.Errorf("something is left: %+v", got)
	}
	if o, err := Transform("a tombstone"); err != nil || o != "a tombstone" {
		t.Errorf("a tombstone became %v, %v", o, err)
	}
}

func TestWhatIsRelevant(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*corev1.Node)
		want   bool
	}{
		{"a heartbeat", func(n *corev1.Node) { n.Status.Conditions[0].LastHeartbeatTime = metav1.Now(); n.ResourceVersion = "8" }, false},
		{"another host name", func(n *corev1.Node) { n.Status.Addresses[0].Address = "x" }, false},
		{"another address", func(n *corev1.Node) { n.Status.Addresses[1].Address = "192.168.0.2" }, true},
		{"another range", func(n *corev1.Node) { n.Spec.PodCIDRs = nil; n.Spec.PodCIDR = "10.0.2.0/24" }, true},
		{"made again", func(n *corev1.Node) { n.UID = "u2" }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			after := sample()
			c.change(after)
			if got := relevant(sample(), after); got != c.want {
				t.Errorf("relevant: %v", got)
			}
		})
	}
}
