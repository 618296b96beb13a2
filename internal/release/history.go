// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-io/fairlead/internal/helm"
)

// maxHistory is the number of revisions that a cluster keeps.
const maxHistory = 5

// lookWithin bounds the first request of every look at a cluster, which takes milliseconds:
// one that takes connections and never answers must not hold a worker for long.
const lookWithin = 5 * time.Second

// errUnreadable says that a record is there and makes no sense.
var errUnreadable = errors.New("the record cannot be read")

// ErrRewound says that the versions of the API server's objects have begun anew, because it
// lost its etcd or was given an older one. Who watches from a version on that is not there any
// more is told of nothing: whatever was learned by watching must be dropped. It is said once.
var ErrRewound = errors.New("the API server's objects are of an earlier version than before: it lost them, or was restored from a backup")

// history lists the labels of the records, the newest first: one request, and none of the
// content, which is long.
func (t *Target) history(ctx context.Context) ([]helm.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	all, version, err := t.secrets.ListMetadata(ctx, helm.Selector(t.Name))
	if err != nil {
		return nil, fmt.Errorf("reading the history of release %s/%s: %w", t.namespace, t.Name, err)
	}
	if t.memory.rewound(version) {
		return nil, fmt.Errorf("reading the history of release %s/%s: %w", t.namespace, t.Name, ErrRewound)
	}
	var out []helm.Entry
	for i := range all {
		if e, ok := helm.EntryOf(&all[i]); ok {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b helm.Entry) int { return b.Revision - a.Revision })
	return out, nil
}

// load reads the record of an entry, once. The error of one that makes no sense, or that
// went meanwhile, is errUnreadable.
func (t *Target) load(ctx context.Context, e helm.Entry) (*helm.Record, error) {
	if r := t.read[e.Secret]; r != nil {
		return r, nil
	}
	s, err := t.secrets.Get(ctx, e.Secret)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, fmt.Errorf("%w: Secret %s/%s is gone", errUnreadable, t.namespace, e.Secret)
	}
	r, err := helm.ReadRecord(s)
	if err == nil && (r.Name() != t.Name || r.Revision() != e.Revision) {
		err = fmt.Errorf("it is revision %d of release %s", r.Revision(), r.Name())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	t.read[e.Secret] = r
	return r, nil
}

// former are the records of what the cluster may hold objects of beside those of a
// revision: the one that was in force before it, and those that were begun since. unreadable
// are those of them that make no sense.
func (t *Target) former(ctx context.Context, before int) (records []*helm.Record, unreadable []helm.Entry, err error) {
	for _, e := range t.seen.History {
		if e.Revision >= before {
			continue
		}
		r, err := t.load(ctx, e)
		if errors.Is(err, errUnreadable) {
			t.log("release %s: revision %d: %v", t.Name, e.Revision, err)
			unreadable = append(unreadable, e)
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		records = append(records, r)
		if e.Status == helm.StatusDeployed || e.Status == helm.StatusSuperseded {
			break
		}
	}
	return records, unreadable, nil
}

// entry finds a revision in what was seen.
func (t *Target) entry(revision int) helm.Entry {
	for _, e := range t.seen.History {
		if e.Revision == revision {
			return e
		}
	}
	return helm.Entry{}
}

// labels are those of a record of what is wanted.
func (t *Target) labels() map[string]string {
	return map[string]string{digestLabel: t.Digest, planLabel: t.Plan, appliedLabel: "server-side"}
}

// create stores a record that is not there yet.
func (t *Target) create(ctx context.Context, r *helm.Record, labels map[string]string) (*corev1.Secret, error) {
	s, err := r.Secret(labels)
	if err != nil {
		return nil, err
	}
	return t.secrets.Create(ctx, s)
}

// store replaces a record.
func (t *Target) store(ctx context.Context, r *helm.Record, labels map[string]string) (*corev1.Secret, error) {
	s, err := r.Secret(labels)
	if err != nil {
		return nil, err
	}
	return t.secrets.Update(ctx, s)
}

// retire ends the records before a new one that is about to be in force: those that were in
// force are superseded, those that were begun have failed.
func (t *Target) retire(ctx context.Context, records []*helm.Record) error {
	for _, r := range records {
		status, why := helm.StatusFailed, "Interrupted: the operator ended before the action did"
		switch r.Status() {
		case helm.StatusFailed, helm.StatusSuperseded, helm.StatusUninstalled:
			continue
		case helm.StatusDeployed:
			status, why = helm.StatusSuperseded, "Superseded by a newer revision"
		}
		r.SetStatus(status, why)
		if _, err := t.store(ctx, r, t.entry(r.Revision()).Labels); err != nil {
			return err
		}
	}
	return nil
}

// dropped are the records that are too many once newest is there, the oldest first: more
// than maxHistory, but never the one that Keep names.
func dropped(history []helm.Entry, newest int, keep string) []helm.Entry {
	older := slices.DeleteFunc(slices.Clone(history), func(e helm.Entry) bool { return e.Revision >= newest })
	kept := slices.IndexFunc(older, func(e helm.Entry) bool {
		return keep != "" && e.Labels[planLabel] == keep && (e.Status == helm.StatusSuperseded || e.Status == helm.StatusDeployed)
	})
	var out []helm.Entry
	for i := len(older) - 1; i >= 0 && len(older)-len(out) > maxHistory-1; i-- {
		if i != kept {
			out = append(out, older[i])
		}
	}
	return out
}
