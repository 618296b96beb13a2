// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
)

// uninstall removes the release's objects and its history. CRDs stay until
// RemoveCRDs.
func (t *Target) uninstall(ctx context.Context) error {
	return t.Helm.Uninstall(ctx, t.Name)
}
