// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// zones is how many zones the nodes are dealt out to: what specs about zones ask for.
const zones = 3

// labelZones gives every node a zone, as a cloud would, unless it has one.
func labelZones(ctx context.Context, kubeconfig string) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	c, err := client.New(cfg, client.Options{})
	if err != nil {
		return err
	}
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes); err != nil {
		return err
	}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if n.Labels[corev1.LabelTopologyZone] != "" {
			continue
		}
		old := n.DeepCopy()
		n.Labels[corev1.LabelTopologyZone] = fmt.Sprintf("zone-%d", i%zones+1)
		if err := c.Patch(ctx, n, client.MergeFrom(old)); err != nil {
			return fmt.Errorf("labelling node %s with its zone: %w", n.Name, err)
		}
	}
	return nil
}
