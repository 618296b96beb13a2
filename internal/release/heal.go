// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"

	"github.com/fairlead-io/fairlead/internal/helm"
)

// heal ends a revision that was left pending and goes on from it. Only one operator
// acts at a time (it is elected), and it acts on one cluster's release once at a
// time, so a pending revision can only be the trace of a process that is gone.
func (t *Target) heal(ctx context.Context) (*helm.Release, error) {
	if err := t.Helm.MarkFailed(ctx, t.Name, "Interrupted: the operator ended before the action did"); err != nil {
		return nil, err
	}
	return t.upgrade(ctx)
}
