// SPDX-License-Identifier: Apache-2.0

package networkstack

import (
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// What the API server refuses, and in which words: every message must name the
// field and the fix.
func TestAdmissionRefuses(t *testing.T) {
	s := begin(t)
	for _, c := range []struct {
		name   string
		change func(*v1alpha1.NetworkStack)
		want   []string
	}{
		{"an empty selector", func(n *v1alpha1.NetworkStack) { n.Spec.ClusterSelector = metav1.LabelSelector{} },
			[]string{"spec.clusterSelector is empty", "set spec.allClusters to true"}},
		{"a selector and all clusters", func(n *v1alpha1.NetworkStack) { n.Spec.AllClusters = true },
			[]string{"spec.allClusters and spec.clusterSelector exclude each other", "remove one"}},
		{"a version without v", func(n *v1alpha1.NetworkStack) { n.Spec.Version = "1.2.3" },
			[]string{"spec.version must be a semantic version with a leading v"}},
		{"a version that is a word", func(n *v1alpha1.NetworkStack) { n.Spec.Version = "latest" },
			[]string{"spec.version must be a semantic version"}},
		{"an MTU below IPv6's least", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.MTU = 1279 },
			[]string{"spec.cni.mtu", "must be 0", "between 1280", "9216"}},
		{"an MTU above the largest", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.MTU = 9217 }, []string{"spec.cni.mtu", "9216"}},
		{"a negative MTU", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.MTU = -1 }, []string{"spec.cni.mtu"}},
		{"a port above 65535", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.Tunnel.Port = 65536 },
			[]string{"spec.cni.tunnel.port", "between 1 and 65535"}},
		{"a negative port", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.Tunnel.Port = -1 }, []string{"spec.cni.tunnel.port"}},
		{"a name too long to derive others from", func(n *v1alpha1.NetworkStack) {
			n.Name = "a-name-that-is-longer-than-fifty-two-characters-is-refused"
		}, []string{"metadata.name must have at most 52 characters"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			n := s.stack("refused", "lab")
			c.change(n)
			err := hub.Client.Create(s.ctx, n)
			g.Expect(apierrors.IsInvalid(err)).To(BeTrue(), "got %v", err)
			for _, w := range c.want {
				g.Expect(err.Error()).To(ContainSubstring(w))
			}
		})
	}
}

func TestAdmissionAccepts(t *testing.T) {
	s := begin(t)
	for _, c := range []struct {
		name   string
		change func(*v1alpha1.NetworkStack)
	}{
		{"the least", func(*v1alpha1.NetworkStack) {}},
		{"all clusters, said so", func(n *v1alpha1.NetworkStack) {
			n.Spec.ClusterSelector, n.Spec.AllClusters = metav1.LabelSelector{}, true
		}},
		{"the MTU's bounds", func(n *v1alpha1.NetworkStack) { n.Spec.CNI.MTU = 9216 }},
		{"a pre-release", func(n *v1alpha1.NetworkStack) { n.Spec.Version = "v1.2.3-rc.1" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := s.stack("", "nobody")
			n.GenerateName = "accepted-"
			c.change(n)
			NewWithT(t).Expect(hub.Client.Create(s.ctx, n)).To(Succeed())
		})
	}
}

func TestAClusterStackHasTheNameOfItsCluster(t *testing.T) {
	s := begin(t)
	cs := s.clusterStack("alpha")
	cs.Spec = v1alpha1.ClusterStackSpec{NetworkStack: "lab", ClusterName: "bravo", Version: carried, PlanDigest: "x"}
	err := hub.Client.Create(s.ctx, cs)
	s.Expect(apierrors.IsInvalid(err)).To(BeTrue(), "got %v", err)
	s.Expect(err.Error()).To(ContainSubstring("metadata.name must be the same as spec.clusterName"))
}
