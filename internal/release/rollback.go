// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/fairlead-io/fairlead/internal/helm"
)

// rollback deploys the newest revision of the history that was in force under the wanted
// plan once more. CRDs stay as they are: records do not hold them, and what a newer chart
// has stored by them must stay readable.
func (t *Target) rollback(ctx context.Context) (*Release, error) {
	history := t.seen.History
	for {
		e := t.Wanted().former(history)
		if e == nil {
			return nil, fmt.Errorf("no revision of the history has the plan %s", t.Plan)
		}
		r, err := t.load(ctx, *e)
		if err == nil {
			return t.again(ctx, r, *e)
		}
		if !errors.Is(err, errUnreadable) {
			return nil, err
		}
		t.log("release %s: revision %d: %v", t.Name, e.Revision, err)
		// The next older one; the newest itself is none.
		rest := []helm.Entry{history[0]}
		for _, o := range history[1:] {
			if o.Revision < e.Revision {
				rest = append(rest, o)
			}
		}
		history = rest
	}
}

// again deploys what a record has as the next revision.
func (t *Target) again(ctx context.Context, r *helm.Record, e helm.Entry) (*Release, error) {
	labels := maps.Clone(e.Labels)
	labels[planLabel], labels[appliedLabel] = t.Plan, t.labels()[appliedLabel]
	return t.deploy(ctx, r.Again(t.seen.History[0].Revision+1), labels)
}
