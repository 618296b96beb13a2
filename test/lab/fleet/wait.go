// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// WaitReady waits until an API server says that it is ready and its default roles exist.
func WaitReady(ctx context.Context, kubeconfig string, patience time.Duration) error {
	config, err := RESTConfig(kubeconfig)
	if err != nil {
		return err
	}
	config.Timeout = 5 * time.Second
	api, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = retry(ctx, func() error { return api.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error() })
	if err != nil {
		return fmt.Errorf("the API server is not ready after %s: %w", patience, err)
	}
	return nil
}

// WaitNodes waits until so many nodes are registered with pod ranges of both families, and, when
// asked to, ready.
func WaitNodes(ctx context.Context, c client.Client, want int, ready bool, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return retry(ctx, func() error {
		nodes := &unstructured.UnstructuredList{}
		nodes.SetAPIVersion("v1")
		nodes.SetKind("NodeList")
		if err := c.List(ctx, nodes); err != nil {
			return err
		}
		have := 0
		for _, n := range nodes.Items {
			if ranges, _, _ := unstructured.NestedStringSlice(n.Object, "spec", "podCIDRs"); len(ranges) == 2 && (!ready || nodeReady(n)) {
				have++
			}
		}
		if have < want {
			return fmt.Errorf("%d of %d nodes have registered with two pod ranges (and are ready: %v)", have, want, ready)
		}
		return nil
	})
}

// PodRanges returns the pod ranges of every node by its name.
func PodRanges(ctx context.Context, c client.Client) (map[string][]netip.Prefix, error) {
	nodes := &unstructured.UnstructuredList{}
	nodes.SetAPIVersion("v1")
	nodes.SetKind("NodeList")
	if err := c.List(ctx, nodes); err != nil {
		return nil, err
	}
	ranges := map[string][]netip.Prefix{}
	for _, n := range nodes.Items {
		texts, _, _ := unstructured.NestedStringSlice(n.Object, "spec", "podCIDRs")
		for _, text := range texts {
			p, err := netip.ParsePrefix(text)
			if err != nil {
				return nil, fmt.Errorf("node %s: spec.podCIDRs: %w", n.GetName(), err)
			}
			ranges[n.GetName()] = append(ranges[n.GetName()], p)
		}
	}
	return ranges, nil
}

func nodeReady(n unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(n.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "Ready" {
			return m["status"] == "True"
		}
	}
	return false
}
