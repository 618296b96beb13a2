// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func sample(namespace string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "p", UID: "u1", ResourceVersion: "7", Labels: map[string]string{"a": "b"}},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c"}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.1.5", PodIPs: []corev1.PodIP{{IP: "10.0.1.5"}, {IP: "fd00::5"}}, HostIP: "192.168.0.1",
			Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled}, {Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
}

func TestTransform(t *testing.T) {
	for _, c := range []struct {
		name, namespace string
		ours            bool
	}{{"a pod of anybody", "default", false}, {"a controller's pod", "fairlead-system", true}} {
		t.Run(c.name, func(t *testing.T) {
			out, err := Transform("fairlead-system")(sample(c.namespace))
			if err != nil {
				t.Fatal(err)
			}
			got := out.(*corev1.Pod)
			if relevant(sample(c.namespace), got) || got.ResourceVersion != "7" {
				t.Errorf("something is missing: %+v", got)
			}
			if got.Spec.Containers != nil {
				t.Errorf("something is left: %+v", got)
			}
			if ours := got.Labels != nil && got.Status.HostIP != "" && len(got.Status.Conditions) == 1; ours != c.ours {
				t.Errorf("kept as a controller's: %v, %+v", ours, got)
			}
		})
	}
}

func TestWhatIsRelevant(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*corev1.Pod)
		want   bool
	}{
		{"a condition", func(p *corev1.Pod) { p.Status.Conditions = nil; p.ResourceVersion = "8" }, false},
		{"pending to running", func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }, false},
		{"finished", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, true},
		{"another address", func(p *corev1.Pod) { p.Status.PodIPs[1].IP = "fd00::6" }, true},
		{"bound to a node", func(p *corev1.Pod) { p.Spec.NodeName = "n2" }, true},
		{"made again", func(p *corev1.Pod) { p.UID = "u2" }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			after := sample("default")
			c.change(after)
			if got := relevant(sample("default"), after); got != c.want {
				t.Errorf("relevant: %v", got)
			}
		})
	}
}
