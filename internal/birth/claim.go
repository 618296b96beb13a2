// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/addressing"
)

// claim is what a Cluster names itself.
type claim struct {
	id    uint32
	named []addressing.Range
}

// claimOf reads a Cluster. The error names the field and the fix.
func claimOf(c *clusterv1.Cluster) (claim, error) {
	var out claim
	if text := c.Annotations[v1alpha1.AnnotationClusterID]; text != "" {
		id, err := strconv.ParseUint(text, 10, 16)
		if err != nil || id == 0 {
			return claim{}, fmt.Errorf("metadata.annotations[%s] of Cluster %s/%s is %q, no number from 1 to 65535: correct or remove it",
				v1alpha1.AnnotationClusterID, c.Namespace, c.Name, text)
		}
		out.id = uint32(id)
	}
	var lb []string
	if text := c.Annotations[v1alpha1.AnnotationLoadBalancerRanges]; text != "" {
		lb = strings.Split(text, ",")
	}
	for _, f := range []struct {
		use   addressing.Use
		field string
		texts []string
	}{
		{addressing.Pods, "spec.clusterNetwork.pods.cidrBlocks", c.Spec.ClusterNetwork.Pods.CIDRBlocks},
		{addressing.Services, "spec.clusterNetwork.services.cidrBlocks", c.Spec.ClusterNetwork.Services.CIDRBlocks},
		{addressing.LoadBalancers, "metadata.annotations[" + v1alpha1.AnnotationLoadBalancerRanges + "]", lb},
	} {
		for _, text := range f.texts {
			p, err := netip.ParsePrefix(strings.TrimSpace(text))
			if err != nil {
				return claim{}, fmt.Errorf("%s of Cluster %s/%s has %q, which is no prefix: write it as 10.64.0.0/16 or fd00:64::/56", f.field, c.Namespace, c.Name, text)
			}
			out.named = append(out.named, addressing.Range{Use: f.use, Prefix: p.Masked()})
		}
	}
	return out, nil
}

// existing says that a Cluster runs already, or is past the point at which its addresses can
// be chosen.
func existing(c *clusterv1.Cluster) bool {
	done := func(b *bool) bool { return b != nil && *b }
	return done(c.Status.Initialization.InfrastructureProvisioned) || done(c.Status.Initialization.ControlPlaneInitialized)
}

// given says that a Cluster carries its number: what it names is what it was given.
func given(c *clusterv1.Cluster) bool { return c.Annotations[v1alpha1.AnnotationClusterID] != "" }

// request is what a Cluster asks for. For a use that it names a range of it gets no other; for
// pods and Services it gets the families that it names for the other of the two: one of the two
// in a family that the other lacks would be no cluster.
func (cl claim) request(c *clusterv1.Cluster, class *Class) addressing.Request {
	r := addressing.Request{Cluster: c.Namespace + "/" + c.Name, UID: string(c.UID), ID: cl.id, Named: cl.named, Existing: existing(c)}
	if class == nil {
		return r
	}
	r.Sizes = addressing.Sizes{}
	for use, size := range class.Sizes {
		if !cl.names(use) {
			r.Sizes[use] = size
		}
	}
	for _, pair := range [][2]addressing.Use{{addressing.Pods, addressing.Services}, {addressing.Services, addressing.Pods}} {
		if size, ok := r.Sizes[pair[0]]; ok && cl.names(pair[1]) {
			r.Sizes[pair[0]] = addressing.Bits{V4: only(size.V4, cl.namesFamily(pair[1], true)), V6: only(size.V6, cl.namesFamily(pair[1], false))}
		}
	}
	return r
}

func only(bits int, is bool) int {
	if is {
		return bits
	}
	return 0
}

func (cl claim) names(use addressing.Use) bool {
	return slices.ContainsFunc(cl.named, func(r addressing.Range) bool { return r.Use == use })
}

func (cl claim) namesFamily(use addressing.Use, is4 bool) bool {
	return slices.ContainsFunc(cl.named, func(r addressing.Range) bool { return r.Use == use && r.Prefix.Addr().Is4() == is4 })
}

// inscribe writes what a cluster holds into its Cluster, and says whether that changed it.
func inscribe(c *clusterv1.Cluster, h addressing.Holding) bool {
	before := c.DeepCopy()
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	c.Annotations[v1alpha1.AnnotationClusterID] = strconv.FormatUint(uint64(h.ID), 10)
	if lb := texts(h.Of(addressing.LoadBalancers)); len(lb) > 0 {
		c.Annotations[v1alpha1.AnnotationLoadBalancerRanges] = strings.Join(lb, ",")
	}
	if pods := texts(h.Of(addressing.Pods)); len(c.Spec.ClusterNetwork.Pods.CIDRBlocks) == 0 && len(pods) > 0 {
		c.Spec.ClusterNetwork.Pods.CIDRBlocks = pods
	}
	if services := texts(h.Of(addressing.Services)); len(c.Spec.ClusterNetwork.Services.CIDRBlocks) == 0 && len(services) > 0 {
		c.Spec.ClusterNetwork.Services.CIDRBlocks = services
	}
	if c.Annotations[v1alpha1.AnnotationBirth] == v1alpha1.BirthPending {
		delete(c.Annotations, v1alpha1.AnnotationBirth)
		c.Spec.Paused = nil
	}
	return before.Annotations[v1alpha1.AnnotationClusterID] != c.Annotations[v1alpha1.AnnotationClusterID] ||
		before.Annotations[v1alpha1.AnnotationLoadBalancerRanges] != c.Annotations[v1alpha1.AnnotationLoadBalancerRanges] ||
		before.Annotations[v1alpha1.AnnotationBirth] != c.Annotations[v1alpha1.AnnotationBirth] ||
		!slices.Equal(before.Spec.ClusterNetwork.Pods.CIDRBlocks, c.Spec.ClusterNetwork.Pods.CIDRBlocks) ||
		!slices.Equal(before.Spec.ClusterNetwork.Services.CIDRBlocks, c.Spec.ClusterNetwork.Services.CIDRBlocks)
}

// Asks says that a Cluster may have to be given something: it has no number yet, or waits paused.
func Asks(c *clusterv1.Cluster) bool {
	if existing(c) || !c.DeletionTimestamp.IsZero() {
		return false
	}
	return !given(c) || c.Annotations[v1alpha1.AnnotationBirth] == v1alpha1.BirthPending
}
