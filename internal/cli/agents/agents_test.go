// SPDX-License-Identifier: Apache-2.0

package agents

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestANodeIsAskedOnce: while its agent is replaced it may have two pods.
func TestANodeIsAskedOnce(t *testing.T) {
	pod := func(name, node string, born int64, phase corev1.PodPhase, ending bool) corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(born, 0)}, Spec: corev1.PodSpec{NodeName: node}}
		p.Status.Phase = phase
		if ending {
			p.DeletionTimestamp = &metav1.Time{Time: time.Unix(born, 0)}
		}
		return p
	}
	for name, c := range map[string]struct {
		pods []corev1.Pod
		want []string
	}{
		"nobody":                     {},
		"one a node, sorted by node": {[]corev1.Pod{pod("a", "n2", 1, corev1.PodRunning, false), pod("b", "n1", 2, corev1.PodRunning, false)}, []string{"b", "a"}},
		"the new one stands by":      {[]corev1.Pod{pod("new", "n1", 2, corev1.PodRunning, false), pod("old", "n1", 1, corev1.PodRunning, false)}, []string{"old"}},
		"the old one ends":           {[]corev1.Pod{pod("old", "n1", 1, corev1.PodRunning, true), pod("new", "n1", 2, corev1.PodRunning, false)}, []string{"new"}},
		"the new one is pulled":      {[]corev1.Pod{pod("old", "n1", 1, corev1.PodRunning, true), pod("new", "n1", 2, corev1.PodPending, false)}, []string{"old"}},
		"none runs":                  {[]corev1.Pod{pod("new", "n1", 2, corev1.PodPending, false)}, []string{"new"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range onePerNode(c.pods) {
				got = append(got, p.Name)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
