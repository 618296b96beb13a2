// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
)

// upgrade brings an existing release, in whatever state, to the wanted chart and values,
// its CRDs first. A failure leaves what was applied: taking it back is a decision.
func (t *Target) upgrade(ctx context.Context) (*Release, error) { return t.fromChart(ctx) }
