// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"errors"

	"github.com/fairlead-io/fairlead/internal/helm"
)

// Wanted is what the release should be.
func (t *Target) Wanted() Wanted {
	return Wanted{Chart: t.Chart != nil, Digest: t.Digest, Plan: t.Plan}
}

// Observe reads the release. When nothing has changed since the last time, it takes one
// request. The error of a chart that refuses its values is a *RefusedError.
func (t *Target) Observe(ctx context.Context) (Observed, error) {
	var history []helm.Entry
	var err error
	if !t.Blank || t.memory.version != "" {
		if history, err = t.history(ctx); err != nil {
			return Observed{}, err
		}
	}
	o := Observed{History: history}
	t.seen, t.next = o, nil
	clear(t.read)
	if len(history) == 0 {
		t.memory.learn("", Release{})
		return o, nil
	}
	if err := t.know(ctx, history[0]); err != nil {
		return Observed{}, err
	}
	newest := t.memory.release
	newest.Digest, newest.Plan = history[0].Labels[digestLabel], history[0].Labels[planLabel]
	o.Release, o.Unreadable = &newest, t.memory.unreadable
	switch Determine(o, t.Wanted()) {
	case Outdated:
		o.Same, err = t.same(ctx, history[0])
	case Current:
		o.Drift, err = t.drift(ctx, history[0])
	}
	if err != nil {
		return Observed{}, err
	}
	t.seen = o
	return o, nil
}

// know has the memory speak of the newest record, which is read only when it changed.
func (t *Target) know(ctx context.Context, newest helm.Entry) error {
	if t.memory.version == newest.Version {
		return nil
	}
	r, err := t.load(ctx, newest)
	switch {
	case errors.Is(err, errUnreadable):
		t.log("release %s: revision %d: %v", t.Name, newest.Revision, err)
		t.memory.learn(newest.Version, Release{Name: t.Name, Revision: newest.Revision, Status: newest.Status})
		t.memory.unreadable = true
	case err != nil:
		return err
	default:
		t.memory.learn(newest.Version, view(r, newest.Labels))
	}
	return nil
}

// same says whether the wanted chart and values give the objects of a revision.
func (t *Target) same(ctx context.Context, e helm.Entry) (bool, error) {
	if t.Chart == nil || t.Values == nil {
		return false, nil
	}
	r, err := t.load(ctx, e)
	if err != nil {
		return false, err
	}
	next, err := t.render(e.Revision + 1)
	if err != nil {
		return false, err
	}
	return r.Manifest() == next.Manifest(), nil
}

// render renders the wanted chart and values, once.
func (t *Target) render(revision int) (*helm.Record, error) {
	if t.next != nil && t.next.Revision() == revision {
		return t.next, nil
	}
	served, err := t.served()
	if err != nil {
		return nil, err
	}
	t.next, err = t.Chart.Next(served, t.Name, t.namespace, revision, t.Values)
	return t.next, err
}

func view(r *helm.Record, labels map[string]string) Release {
	return Release{
		Name: r.Name(), Revision: r.Revision(), Status: r.Status(), ChartVersion: r.ChartVersion(),
		Digest: labels[digestLabel], Plan: labels[planLabel],
	}
}
