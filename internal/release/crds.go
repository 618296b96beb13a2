// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/fairlead-io/fairlead/internal/objects"
)

const (
	// establishWithin bounds the wait for a CRD to be served; it takes milliseconds.
	establishWithin = 10 * time.Second
	establishPoll   = 50 * time.Millisecond

	// crdVersion says of which version of the chart a CRD was applied, crdChart, a label, of
	// which chart.
	crdVersion = "fairlead.io/chart-version"
	crdChart   = "fairlead.io/chart"

	// crdApproved is on CRDs of Kubernetes' own API groups. Objects of those are the users', who
	// may have had them before us.
	crdApproved = "api-approved.kubernetes.io"
)

// crd is a kind that a chart defines.
type crd struct {
	group, version, kind string
}

// CRDError says that a CRD of the chart would take away what the cluster needs.
type CRDError struct {
	// Name of the CRD, and the version in which objects are stored.
	Name, Stored string
}

func (e *CRDError) Error() string {
	return fmt.Sprintf("CustomResourceDefinition %s of the cluster has objects stored in version %s, which the chart does not define any more: "+
		"store them anew in a version that it defines and take %s out of status.storedVersions", e.Name, e.Stored, e.Stored)
}

// applyCRDs applies the chart's CRDs and returns those whose kinds the API server does not
// serve yet.
func (t *Target) applyCRDs(ctx context.Context) ([]crd, error) {
	wanted := t.Chart.CRDs()
	if len(wanted) == 0 {
		return nil, nil
	}
	// One request for all of them. One that was applied before there was the label is of no
	// newer chart, and the API server itself refuses to lose a version that it has stored.
	there, err := t.objects.List(ctx, objects.RefOf(wanted[0]).Kind, crdChart+"="+t.Chart.Name())
	if err != nil {
		return nil, err
	}
	var unserved []crd
	for _, want := range wanted {
		markCRD(want, t.Chart.Name(), t.Version)
		live := there[want.GetName()]
		if live == nil && approved(want) {
			if live, err = t.foreign(ctx, want); err != nil {
				return nil, err
			}
			if live != nil {
				continue
			}
		}
		due, err := crdDue(live, want)
		if err != nil {
			return nil, err
		}
		if due {
			if live, err = t.objects.Apply(ctx, want, true, false); err != nil {
				return nil, err
			}
		}
		if !established(live) {
			unserved = append(unserved, kindOf(want))
		}
	}
	return unserved, nil
}

// approved says whether a CRD is of an API group of Kubernetes'.
func approved(o *unstructured.Unstructured) bool { return o.GetAnnotations()[crdApproved] != "" }

// foreign is a CRD of Kubernetes' API groups that somebody else has installed and that serves
// all versions that the chart's has: it may be newer, and stays as it is. Nil if there is none.
func (t *Target) foreign(ctx context.Context, want *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	live, err := t.objects.Get(ctx, objects.RefOf(want))
	if err != nil || live == nil || !established(live) {
		return nil, err
	}
	has := versionsOf(live)
	if slices.ContainsFunc(versionsOf(want), func(v string) bool { return !slices.Contains(has, v) }) {
		return nil, nil
	}
	return live, nil
}

func markCRD(o *unstructured.Unstructured, chart, version string) {
	all := o.GetLabels()
	if all == nil {
		all = map[string]string{}
	}
	all[crdChart] = chart
	o.SetLabels(all)
	if version == "" {
		return
	}
	notes := o.GetAnnotations()
	if notes == nil {
		notes = map[string]string{}
	}
	notes[crdVersion] = version
	o.SetAnnotations(notes)
}

// crdDue says whether a CRD must be applied: not when it is there already, and not when that
// of a newer chart is there. An older chart has to do with it, because what was written by
// the newer one has to stay readable. The error is a *CRDError.
func crdDue(live, want *unstructured.Unstructured) (bool, error) {
	if live == nil {
		return true, nil
	}
	have, wanted := live.GetAnnotations(), want.GetAnnotations()
	// Of charts with the same CRD, the first one stays named.
	content := want.DeepCopy()
	unstructured.RemoveNestedField(content.Object, "metadata", "annotations", crdVersion)
	if objects.Holds(content, live) {
		return false, nil
	}
	if newer(have[crdVersion], wanted[crdVersion]) {
		return false, nil
	}
	stored, _, err := unstructured.NestedStringSlice(live.Object, "status", "storedVersions")
	if err != nil {
		return false, fmt.Errorf("CustomResourceDefinition %s of the cluster: %w", live.GetName(), err)
	}
	defined := versionsOf(want)
	for _, v := range stored {
		if !slices.Contains(defined, v) {
			return false, &CRDError{Name: live.GetName(), Stored: v}
		}
	}
	return true, nil
}

// newer says that version a is higher than b. What is no version is not.
func newer(a, b string) bool {
	va, err := version.ParseSemantic(a)
	if err != nil {
		return false
	}
	vb, err := version.ParseSemantic(b)
	return err == nil && vb.LessThan(va)
}

func versionsOf(o *unstructured.Unstructured) []string {
	all, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
	var out []string
	for _, v := range all {
		if m, ok := v.(map[string]any); ok {
			name, _, _ := unstructured.NestedString(m, "name")
			out = append(out, name)
		}
	}
	return out
}

func kindOf(o *unstructured.Unstructured) crd {
	group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
	out := crd{group: group, kind: kind}
	if all := versionsOf(o); len(all) > 0 {
		out.version = all[0]
	}
	return out
}

func established(o *unstructured.Unstructured) bool {
	all, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	return slices.ContainsFunc(all, func(c any) bool {
		m, ok := c.(map[string]any)
		return ok && m["type"] == "Established" && m["status"] == "True"
	})
}

// waitServed waits until the API server serves kinds: one request says it of all the kinds
// of a group's version, usually.
func (t *Target) waitServed(ctx context.Context, kinds []crd) error {
	waiting := map[schema.GroupVersion][]string{}
	for _, k := range kinds {
		gv := schema.GroupVersion{Group: k.group, Version: k.version}
		waiting[gv] = append(waiting[gv], k.kind)
	}
	for gv, kinds := range waiting {
		err := wait.PollUntilContextTimeout(ctx, establishPoll, establishWithin, true, func(ctx context.Context) (bool, error) {
			served, err := t.objects.Served(ctx, gv)
			if err != nil {
				return false, err
			}
			return !slices.ContainsFunc(kinds, func(k string) bool { return !slices.Contains(served, k) }), nil
		})
		if err != nil {
			return fmt.Errorf("waiting until the API server serves %v of %s: %w", kinds, gv, err)
		}
	}
	return nil
}

// RemoveCRDs deletes the chart's CRDs, but those of Kubernetes' own API groups, and reports
// whether they are gone.
func (t *Target) RemoveCRDs(ctx context.Context) (gone bool, err error) {
	gone = true
	for _, crd := range t.Chart.CRDs() {
		if approved(crd) {
			continue
		}
		absent, err := t.objects.Delete(ctx, objects.RefOf(crd))
		if err != nil {
			return false, err
		}
		gone = gone && absent
	}
	return gone, nil
}
