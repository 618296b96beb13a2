// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fairlead-io/fairlead/internal/helm"
	"github.com/fairlead-io/fairlead/internal/objects"
)

const (
	// unwatchedEvery is the time between two looks at objects that no informer follows.
	unwatchedEvery = 10 * time.Minute
	// maxFields bounds the fields that a Difference names.
	maxFields = 8
)

// Ignore names what may differ from the release.
type Ignore struct {
	// Kind of the objects; Name of one of them, "" for all.
	Kind, Name string
	// Fields that may differ, as JSON pointers (RFC 6901); none is the whole object.
	Fields []string
}

// Difference is an object that is not as the release has it.
type Difference struct {
	Ref Ref
	// Missing says that it is not there.
	Missing bool
	// Fields are the JSON pointers of what differs, sorted, the first maxFields.
	Fields []string
	// By is the field manager that wrote to it last, "" when that is not known.
	By string
	// Wait is how long it is left alone, because it was put right again and again.
	Wait time.Duration

	// wanted is what is to be applied.
	wanted *unstructured.Unstructured
	// anew says that it cannot be changed to what is wanted, and has to be made anew.
	anew bool
}

// String names object and fields.
func (d Difference) String() string {
	s := d.Ref.String() + " is not there"
	if !d.Missing {
		s = d.Ref.String() + ": " + strings.Join(d.Fields, ", ")
	}
	if d.By != "" {
		s += fmt.Sprintf(" (changed by %s)", d.By)
	}
	return s
}

// drift compares the release's objects with the newest record, those that have moved since
// they were last found to be right.
//
// Informers tell what has moved, so that a look at a cluster in which nobody changes
// anything asks nothing. An object that moved is read, and compared with what the record
// sets; only when that is not there to the letter is the API server asked what applying it
// would change, which alone knows defaults and the ways to write a quantity.
func (t *Target) drift(ctx context.Context, newest helm.Entry) ([]Difference, error) {
	if t.Look == nil {
		return nil, nil
	}
	moved, err := t.moved(ctx)
	if err != nil || (moved != nil && len(moved) == 0) {
		return nil, err
	}
	r, err := t.load(ctx, newest)
	if err != nil {
		return nil, err
	}
	all, err := t.objectsOf(r)
	if err != nil {
		return nil, err
	}
	if t.memory.marks == nil {
		t.memory.marks = map[Ref]string{}
	}
	var out []Difference
	for _, o := range all {
		ref := objects.RefOf(o)
		if moved != nil && !moved[ref] {
			continue
		}
		d, err := t.compare(ctx, o)
		if err != nil {
			return nil, err
		}
		if d != nil {
			d.Wait = t.memory.wait(ref, t.Now())
			out = append(out, *d)
		}
	}
	if moved == nil || t.unwatchedDue() {
		t.memory.all = t.Now()
	}
	slices.SortFunc(out, func(a, b Difference) int { return objects.Compare(a.Ref, b.Ref) })
	return out, nil
}

// unwatchedDue says that objects that no informer follows are to be looked at.
func (t *Target) unwatchedDue() bool { return t.Now().Sub(t.memory.all) >= unwatchedEvery }

// moved are the objects that are not as they were when they were right; nil means that
// nothing is known of any.
func (t *Target) moved(ctx context.Context) (map[Ref]bool, error) {
	if t.memory.marks == nil {
		return nil, nil
	}
	moved := map[Ref]bool{}
	for ref, mark := range t.memory.marks {
		if _, whole := ignored(t.Ignore, ref); whole {
			continue
		}
		now, watched, err := t.Look(ctx, ref)
		if err != nil {
			return nil, err
		}
		if (watched && now != mark) || mark == "" || (!watched && t.unwatchedDue()) {
			moved[ref] = true
		}
	}
	return moved, nil
}

// compare says how a live object differs from what is wanted of it, nil for not at all. What
// differs only where it may is remembered as right.
func (t *Target) compare(ctx context.Context, o *unstructured.Unstructured) (*Difference, error) {
	ref := objects.RefOf(o)
	pointers, whole := ignored(t.Ignore, ref)
	if whole {
		return nil, nil
	}
	live, err := t.objects.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	if live != nil && objects.Holds(o, live) {
		t.memory.marks[ref] = objects.Mark(live)
		return nil, nil
	}
	if t.memory.marks[ref] = ""; live == nil {
		return &Difference{Ref: ref, Missing: true, wanted: o}, nil
	}
	wanted := objects.Overlay(o, live, pointers)
	then, err := t.objects.Apply(ctx, wanted, true, true)
	if apierrors.IsInvalid(err) && bindsRole(ref) {
		return &Difference{Ref: ref, Fields: []string{"/roleRef"}, By: changer(live), wanted: o, anew: true}, nil
	}
	if err != nil {
		return nil, err
	}
	fields := objects.Differences(live, then, pointers)
	if len(fields) == 0 {
		t.memory.marks[ref] = objects.Mark(live)
		return nil, nil
	}
	return &Difference{Ref: ref, Fields: fields[:min(len(fields), maxFields)], By: changer(live), wanted: wanted}, nil
}

// bindsRole says that an object has a field that cannot be changed (roleRef).
func bindsRole(r Ref) bool {
	return r.Kind.Group == "rbac.authorization.k8s.io" && strings.HasSuffix(r.Kind.Kind, "Binding")
}

// ignored are the pointers of what may differ of an object; whole says that all may.
func ignored(all []Ignore, r Ref) (pointers []string, whole bool) {
	for _, i := range all {
		if i.Kind != r.Kind.Kind || (i.Name != "" && i.Name != r.Name) {
			continue
		}
		if len(i.Fields) == 0 {
			return nil, true
		}
		pointers = append(pointers, i.Fields...)
	}
	return pointers, false
}

// changer is the manager, other than the operator, that wrote to an object last.
func changer(o *unstructured.Unstructured) string {
	var last *metav1.ManagedFieldsEntry
	for _, e := range o.GetManagedFields() {
		if e.Subresource != "" || e.Manager == string(FieldOwner) || e.Time == nil {
			continue
		}
		if last == nil || last.Time.Before(e.Time) {
			last = &e
		}
	}
	if last == nil {
		return ""
	}
	return last.Manager
}
