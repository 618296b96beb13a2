// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// maxEnvironment bounds the versions that a status names.
const maxEnvironment = 16

// observeNodes reads the cluster's Nodes and reports what they are.
func (r *Reconciler) observeNodes(ctx context.Context, s *scope) error {
	var nodes corev1.NodeList
	if err := s.conn.Cached.List(ctx, &nodes); err != nil {
		return s.fail(v1alpha1.ConditionRolledOut, v1alpha1.ReasonError, fmt.Errorf("listing the cluster's Nodes: %w", err))
	}
	s.nodes = nodes.Items
	kubernetes, kernels := map[string]bool{}, map[string]bool{}
	for i := range s.nodes {
		info := &s.nodes[i].Status.NodeInfo
		kubernetes[info.KubeletVersion], kernels[info.KernelVersion] = true, true
	}
	s.cs.Status.Environment = v1alpha1.Environment{Kubernetes: names(kubernetes), Kernels: names(kernels)}
	return nil
}

// names are the keys of a set, sorted and bounded, without the empty one.
func names(set map[string]bool) []string {
	delete(set, "")
	all := slices.Sorted(maps.Keys(set))
	return all[:min(len(all), maxEnvironment)]
}
