// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func sample(namespace string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "p", UID: "u1", ResourceVersion: "7", Labels: map[string]string{"a": "b"}},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{
			{Name: "c", Ports: []corev1.ContainerPort{{ContainerPort: 9}, {Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}}, {Name: "d"},
		}, InitContainers: []corev1.Container{
			{Name: "i", Ports: []corev1.ContainerPort{{Name: "gone", ContainerPort: 1}}},
			{Name: "side", Ports: []corev1.ContainerPort{{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP}}, RestartPolicy: new(corev1.ContainerRestartPolicyAlways)},
		}},
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
			if want := toPolicy(sample(c.namespace)); !reflect.DeepEqual(toPolicy(got), want) || len(want.Ports) != 2 {
				t.Errorf("policies see %+v, want %+v", toPolicy(got), want)
			}
			if len(got.Spec.Containers) != 1 || got.Spec.Containers[0].Name != "" || len(got.Spec.Containers[0].Ports) != 1 {
				t.Errorf("something is left: %+v", got)
			}
			if ours := got.Status.HostIP != "" && len(got.Status.Conditions) == 1; ours != c.ours {
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
