// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"maps"

	"github.com/fairlead-io/fairlead/internal/helm"
)

// heal ends an action on the wanted revision that was cut off, or failed: what is right
// already is not touched. Only one operator acts at a time (it is elected), and it acts on
// one cluster's release once at a time, so a record that is pending can only be the trace of
// a process that is gone. One of another revision is ended by the upgrade that Next names.
func (t *Target) heal(ctx context.Context) (*Release, error) {
	newest := t.seen.History[0]
	r, err := t.load(ctx, newest)
	if err != nil {
		return nil, err
	}
	labels := maps.Clone(newest.Labels)
	maps.Copy(labels, map[string]string{planLabel: t.Plan, appliedLabel: t.labels()[appliedLabel]})
	var unserved []crd
	if t.Chart != nil {
		if unserved, err = t.applyCRDs(ctx); err != nil {
			return nil, err
		}
	}
	// A removal that was cut off was somebody's who has it wrong: the release is wanted.
	if r.Status() == helm.StatusUninstalling {
		r.SetStatus(helm.StatusPendingUpgrade, "Healing")
		if _, err := t.store(ctx, r, labels); err != nil {
			return nil, err
		}
	}
	out, err := t.complete(ctx, r, labels, true)
	if err != nil {
		return nil, err
	}
	return out, t.waitServed(ctx, unserved)
}
