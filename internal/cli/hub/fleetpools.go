// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// FleetPools lists those of a namespace; empty: all.
func (c *Client) FleetPools(ctx context.Context, namespace string) ([]v1alpha1.FleetPool, error) {
	var l v1alpha1.FleetPoolList
	err := c.do(ctx, request{group: fairlead, namespace: namespace, resource: "fleetpools"}, &l)
	return l.Items, err
}
