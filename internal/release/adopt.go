// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"maps"

	"github.com/fairlead-io/fairlead/internal/helm"
)

// adopt marks a revision, whose objects are just those that are wanted, as the wanted one.
// No object changes, and nothing restarts.
func (t *Target) adopt(ctx context.Context) (*Release, error) {
	newest := t.seen.History[0]
	labels := map[string]string{digestLabel: t.Digest, planLabel: t.Plan}
	if t.Chart == nil {
		labels[digestLabel] = newest.Labels[digestLabel]
	}
	if was := newest.Labels[planLabel]; was != "" && was == t.Keep {
		// The revision is where Keep can be gone back to: it stays, and another of the same
		// objects follows.
		return t.copyAs(ctx, newest, labels)
	}
	if err := t.secrets.Label(ctx, newest.Secret, labels); err != nil {
		return nil, err
	}
	out := *t.seen.Release
	out.Digest, out.Plan = t.Digest, t.Plan
	return &out, nil
}

// copyAs makes a revision of the objects of the newest one the newest.
func (t *Target) copyAs(ctx context.Context, newest helm.Entry, labels map[string]string) (*Release, error) {
	r, err := t.load(ctx, newest)
	if err != nil {
		return nil, err
	}
	all := maps.Clone(newest.Labels)
	maps.Copy(all, labels)
	next := r.Again(newest.Revision + 1)
	if _, err := t.create(ctx, next, all); err != nil {
		return nil, err
	}
	former, unreadable, err := t.former(ctx, next.Revision())
	if err != nil {
		return nil, err
	}
	return t.end(ctx, next, all, former, unreadable, nil)
}
