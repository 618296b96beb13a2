// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"

	"github.com/fairlead-io/fairlead/internal/helm"
)

// install installs the chart, its CRDs first.
func (t *Target) install(ctx context.Context) (*helm.Release, error) {
	if err := t.Chart.Validate(t.Values); err != nil {
		return nil, err
	}
	if err := t.applyCRDs(ctx); err != nil {
		return nil, err
	}
	return t.Helm.Install(ctx, t.Name, t.Chart, t.Values, t.Digest)
}
