// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
)

// install installs the chart, its CRDs first.
func (t *Target) install(ctx context.Context) (*Release, error) { return t.fromChart(ctx) }

// fromChart deploys the wanted chart and values as the next revision.
func (t *Target) fromChart(ctx context.Context) (*Release, error) {
	revision := 1
	if len(t.seen.History) > 0 {
		revision = t.seen.History[0].Revision + 1
	}
	next, err := t.render(revision)
	if err != nil {
		return nil, err
	}
	unserved, err := t.applyCRDs(ctx)
	if err != nil {
		return nil, err
	}
	out, err := t.deploy(ctx, next, t.labels())
	if err != nil {
		return nil, err
	}
	return out, t.waitServed(ctx, unserved)
}
