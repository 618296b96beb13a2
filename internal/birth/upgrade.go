// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/stack"
)

// Support says whether the network that a cluster has, or is to have, supports versions of
// Kubernetes and Linux.
type Support struct {
	Reader   client.Reader
	Versions func() stack.Versions
}

// Unmet says what keeps a Cluster from these versions of Kubernetes and what to do, "" for nothing.
// A cluster without a network of Fairlead's is kept from nothing. The kernel is that of
// AnnotationNodeKernel.
func (s *Support) Unmet(ctx context.Context, c *clusterv1.Cluster, kubernetes ...string) (string, error) {
	version, holder, err := s.version(ctx, c)
	if err != nil || version == "" {
		return "", err
	}
	want := v1alpha1.Environment{Kubernetes: kubernetes}
	if kernel := c.Annotations[v1alpha1.AnnotationNodeKernel]; kernel != "" {
		want.Kernels = []string{kernel}
	}
	known := s.Versions()
	unmet := known.Unmet(version, want)
	if unmet == "" {
		return "", nil
	}
	var able []string
	for _, v := range known.List() {
		if v != version && known.Unmet(v, want) == "" {
			able = append(able, v)
		}
	}
	fix := "give the operator the chart of a version that does (--chart-dir)"
	if len(able) > 0 {
		slices.Sort(able)
		fix = fmt.Sprintf("set spec.version of NetworkStack %s to one that does: %v", holder, able)
	}
	return fmt.Sprintf("Fairlead %s: %s; this goes on as soon as the cluster's network has moved", unmet, fix), nil
}

// version is that of the network which a cluster has, or else is to get, and the NetworkStack
// that it is of.
func (s *Support) version(ctx context.Context, c *clusterv1.Cluster) (version, holder string, err error) {
	cs := &v1alpha1.ClusterStack{}
	err = s.Reader.Get(ctx, client.ObjectKeyFromObject(c), cs)
	switch {
	case err == nil && cs.Status.Proven != nil:
		return cs.Status.Proven.Version, cs.Spec.NetworkStack, nil
	case err == nil:
		return cs.Spec.Version, cs.Spec.NetworkStack, nil
	case !apierrors.IsNotFound(err):
		return "", "", err
	}
	plan, err := s.plan(ctx, c)
	if err != nil || plan == nil {
		return "", "", err
	}
	return plan.Version, plan.NetworkStack, nil
}

// plan is what a Cluster gets by the NetworkStack that selects it, nil for nothing.
func (s *Support) plan(ctx context.Context, c *clusterv1.Cluster) (*v1alpha1.ClusterStackSpec, error) {
	var stacks v1alpha1.NetworkStackList
	if err := s.Reader.List(ctx, &stacks, client.InNamespace(c.Namespace)); err != nil {
		return nil, err
	}
	return stack.For(stack.Cluster{Name: c.Name, Labels: c.Labels}, stacks.Items, s.Versions()), nil
}
