// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fairlead-io/fairlead/internal/helm"
	"github.com/fairlead-io/fairlead/internal/objects"
)

// Names by which everything of Fairlead is known.
const (
	nameLabel = "app.kubernetes.io/name"
	ourName   = "fairlead"
)

// formerOwners are under whose names Helm's own client wrote: its program's, and ours when
// the operator still used it.
var formerOwners = []string{"helm", "fairlead"}

// deploy makes a record that is pending the newest revision, and brings the objects to it.
func (t *Target) deploy(ctx context.Context, next *helm.Record, labels map[string]string) (*Release, error) {
	if _, err := t.create(ctx, next, labels); err != nil {
		return nil, err
	}
	return t.complete(ctx, next, labels, false)
}

// complete brings the objects to what the newest record says, and ends the action that it
// stands for. resumed looks at each object first and leaves those that are right.
func (t *Target) complete(ctx context.Context, r *helm.Record, labels map[string]string, resumed bool) (*Release, error) {
	former, unreadable, err := t.former(ctx, r.Revision())
	if err != nil {
		return nil, err
	}
	marks, err := t.bring(ctx, r, former, resumed)
	if err != nil {
		r.SetStatus(helm.StatusFailed, "Failed: "+err.Error())
		if _, e := t.store(ctx, r, labels); e != nil {
			t.log("release %s: storing that revision %d failed: %v", t.Name, r.Revision(), e)
		}
		return nil, err
	}
	return t.end(ctx, r, labels, former, unreadable, marks)
}

// bring applies the objects of a record and deletes those that only former records have.
func (t *Target) bring(ctx context.Context, r *helm.Record, former []*helm.Record, resumed bool) (map[Ref]string, error) {
	wanted, err := t.objectsOf(r)
	if err != nil {
		return nil, err
	}
	before, foreign := t.before(former)
	marks := map[Ref]string{}
	for _, o := range wanted {
		ref := objects.RefOf(o)
		if marks[ref], err = t.put(ctx, o, before[ref], foreign && before[ref], resumed); err != nil {
			return nil, err
		}
		delete(before, ref)
	}
	for ref := range before {
		if _, err := t.objects.Delete(ctx, ref); err != nil {
			return nil, err
		}
	}
	return marks, nil
}

// before is what former records have objects of. foreign says that Helm's own client wrote
// them.
func (t *Target) before(former []*helm.Record) (refs map[Ref]bool, foreign bool) {
	refs = map[Ref]bool{}
	for _, r := range former {
		all, err := t.objectsOf(r)
		if err != nil {
			t.log("release %s: %v", t.Name, err)
			continue
		}
		for _, o := range all {
			refs[objects.RefOf(o)] = true
		}
		foreign = foreign || t.entry(r.Revision()).Labels[appliedLabel] == ""
	}
	return refs, foreign
}

// put applies one object and returns its mark. ours says that an earlier revision had it;
// foreign that Helm's own client wrote it.
func (t *Target) put(ctx context.Context, o *unstructured.Unstructured, ours, foreign, resumed bool) (string, error) {
	ref := objects.RefOf(o)
	pointers, whole := ignored(t.Ignore, ref)
	if resumed || (len(pointers) > 0 && !whole) {
		live, err := t.objects.Get(ctx, ref)
		switch {
		case err != nil:
			return "", err
		case live == nil:
		case resumed && objects.Holds(o, live):
			return objects.Mark(live), nil
		default:
			o = objects.Overlay(o, live, pointers)
		}
	}
	if foreign {
		if err := t.objects.TakeOver(ctx, ref, formerOwners...); err != nil {
			return "", err
		}
	}
	live, err := t.objects.Apply(ctx, o, ours, false)
	if apierrors.IsConflict(err) && !ours {
		live, err = t.claim(ctx, o, err)
	}
	if err != nil {
		return "", err
	}
	return objects.Mark(live), nil
}

// claim applies an object that is there already, though no record knows it: one that is
// ours by its label, because somebody took away the records.
func (t *Target) claim(ctx context.Context, o *unstructured.Unstructured, conflict error) (*unstructured.Unstructured, error) {
	ref := objects.RefOf(o)
	live, err := t.objects.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	if live != nil && live.GetLabels()[nameLabel] != ourName {
		return nil, fmt.Errorf("%s is in the cluster and is not Fairlead's: delete it, or have Fairlead take it over by giving it the label %s=%s (%w)", ref, nameLabel, ourName, conflict)
	}
	if err := t.objects.TakeOver(ctx, ref, formerOwners...); err != nil {
		return nil, err
	}
	return t.objects.Apply(ctx, o, true, false)
}

// end has a record whose objects are right be the one in force.
func (t *Target) end(ctx context.Context, r *helm.Record, labels map[string]string, former []*helm.Record, unreadable []helm.Entry, marks map[Ref]string) (*Release, error) {
	if err := t.retire(ctx, former); err != nil {
		return nil, err
	}
	r.SetStatus(helm.StatusDeployed, "Deployed by Fairlead's operator")
	s, err := t.store(ctx, r, labels)
	if err != nil {
		return nil, err
	}
	out := view(r, labels)
	t.memory.learn(s.ResourceVersion, out)
	t.memory.marks, t.memory.all = marks, t.Now()
	for _, e := range append(unreadable, dropped(t.seen.History, r.Revision(), t.Keep)...) {
		if err := t.secrets.Delete(ctx, e.Secret); err != nil {
			return nil, err
		}
	}
	return &out, nil
}

// objectsOf are the objects of a record as they are applied: each in its namespace, and with
// the marks by which Helm knows that they are of this release.
func (t *Target) objectsOf(r *helm.Record) ([]*unstructured.Unstructured, error) {
	out, err := r.Objects()
	if err != nil {
		return nil, err
	}
	for _, o := range out {
		namespaced, err := t.objects.Namespaced(o.GroupVersionKind())
		if err != nil {
			return nil, err
		}
		switch {
		case !namespaced:
			o.SetNamespace("")
		case o.GetNamespace() == "":
			o.SetNamespace(t.namespace)
		}
		for path, value := range map[[2]string]string{
			{"labels", "app.kubernetes.io/managed-by"}:        "Helm",
			{"annotations", "meta.helm.sh/release-name"}:      t.Name,
			{"annotations", "meta.helm.sh/release-namespace"}: t.namespace,
		} {
			if err := unstructured.SetNestedField(o.Object, value, "metadata", path[0], path[1]); err != nil {
				return nil, fmt.Errorf("%s: %w", objects.RefOf(o), err)
			}
		}
	}
	return out, nil
}
