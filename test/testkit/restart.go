// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Restart deletes all of Fairlead's pods, on the hub and on every cluster, so that
// they come back with the images that were loaded last.
func (l *Lab) Restart(ctx context.Context) error {
	for _, cluster := range append([]string{Hub}, l.Clusters()...) {
		c, err := l.Client(cluster)
		if err != nil {
			return err
		}
		err = c.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(OperatorNamespace),
			client.MatchingLabels{"app.kubernetes.io/name": "fairlead"})
		if err != nil {
			return err
		}
	}
	return nil
}
