// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"testing"

	. "github.com/onsi/gomega"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

func TestRangesForLoadBalancersBecomeAnAddressPool(t *testing.T) {
	s := begin(t)
	s.networkStack()
	s.alpha()
	s.annotate("alpha", v1alpha1.AnnotationLoadBalancerRanges, "192.0.2.0/28,2001:db8::/120")
	s.node("n1")
	s.clusterStack("alpha")
	pool := &v1alpha1.AddressPool{}
	fetch := func() []v1alpha1.AddressRange {
		if work.Client.Get(s.ctx, client.ObjectKey{Name: v1alpha1.FleetAddressPool}, pool) != nil {
			return nil
		}
		return pool.Spec.Addresses
	}
	s.Eventually(fetch).Should(Equal([]v1alpha1.AddressRange{"192.0.2.0/28", "2001:db8::/120"}))
	t.Cleanup(func() { _ = work.Client.Delete(s.ctx, pool) })

	t.Run("what people set of it stays", func(t *testing.T) {
		pool.Spec.Announce.Mode = v1alpha1.AnnounceNone
		s.Expect(work.Client.Update(s.ctx, pool)).To(Succeed())
		s.annotate("alpha", v1alpha1.AnnotationLoadBalancerRanges, "192.0.2.16/28")
		s.Eventually(fetch).Should(Equal([]v1alpha1.AddressRange{"192.0.2.16/28"}))
		s.Expect(pool.Spec.Announce.Mode).To(Equal(v1alpha1.AnnounceNone))
	})
}

// annotate annotates a Cluster.
func (s *story) annotate(name, key, value string) {
	s.t.Helper()
	c := &clusterv1.Cluster{}
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: name}, c)).To(Succeed())
	old := c.DeepCopy()
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	c.Annotations[key] = value
	s.Expect(hub.Client.Patch(s.ctx, c, client.MergeFrom(old))).To(Succeed())
}
