// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestAStaticPodIsKnownByItsOwnUID: the API server's image of it has another, which nobody on
// the node has ever heard of.
func TestAStaticPodIsKnownByItsOwnUID(t *testing.T) {
	for _, c := range []struct {
		name        string
		annotations map[string]string
		want        string
	}{
		{"a pod of the API server", map[string]string{"a": "b"}, "u1"},
		{"a static pod", map[string]string{mirror: "of-the-kubelet", "a": "b"}, "of-the-kubelet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := sample("default")
			p.Annotations = c.annotations
			out, err := Transform("fairlead-system")(p)
			if err != nil {
				t.Fatal(err)
			}
			kept := out.(*corev1.Pod)
			if got := toPolicy(kept).UID; got != c.want {
				t.Errorf("UID %q, want %q", got, c.want)
			}
			if kept.Annotations["a"] != "" {
				t.Errorf("annotations are kept that nobody needs: %v", kept.Annotations)
			}
		})
	}
}
