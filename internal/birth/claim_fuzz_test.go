// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"testing"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// What a Cluster names is read without a panic, and either refused or usable.
func FuzzClaim(f *testing.F) {
	f.Add("1", "10.64.0.0/16", "fd00::/112", "192.0.2.0/28,192.0.2.16/28")
	f.Add("-1", "10.64.0.1/16", "::ffff:1.2.3.4/120", ",")
	f.Add("65536", "", "0/0", "fe80::1%eth0/64")
	f.Fuzz(func(t *testing.T, id, pods, services, lb string) {
		c := &clusterv1.Cluster{}
		c.Annotations = map[string]string{v1alpha1.AnnotationClusterID: id, v1alpha1.AnnotationLoadBalancerRanges: lb}
		c.Spec.ClusterNetwork.Pods.CIDRBlocks = []string{pods}
		c.Spec.ClusterNetwork.Services.CIDRBlocks = []string{services}
		cl, err := claimOf(c)
		if err != nil {
			return
		}
		for _, r := range cl.named {
			if !r.Prefix.IsValid() || r.Prefix != r.Prefix.Masked() {
				t.Errorf("%q, %q, %q: %v was taken for a range", pods, services, lb, r)
			}
		}
		nodeMasks([]string{pods, services})
	})
}

// A template is patched, or refused, without a panic.
func FuzzControlPlanePatch(f *testing.F) {
	f.Add([]byte(kubeadm), true, "10.64.0.0/22")
	f.Add([]byte(`{"kind":"KubeadmControlPlaneTemplate","spec":[]}`), true, "fd00::/104")
	f.Add([]byte(`null`), false, "")
	f.Fuzz(func(_ *testing.T, raw []byte, skip bool, pods string) {
		_, _ = controlPlanePatch(raw, skip, []string{pods})
	})
}
