// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Ref names one object of a cluster.
type Ref struct {
	Kind schema.GroupVersionKind
	// Namespace is empty for what belongs to the cluster as a whole.
	Namespace, Name string
}

// RefOf names o.
func RefOf(o *unstructured.Unstructured) Ref {
	return Ref{Kind: o.GroupVersionKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
}

// String is such as "DaemonSet fairlead-system/fairlead-agent".
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind.Kind + " " + r.Name
	}
	return r.Kind.Kind + " " + r.Namespace + "/" + r.Name
}

// Compare orders references by kind, namespace and name.
func Compare(a, b Ref) int {
	return cmp.Or(cmp.Compare(a.Kind.Kind, b.Kind.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// counted are annotations in which Kubernetes' own controllers count what the generation
// counts, a moment later.
var counted = []string{"deprecated.daemonset.template.generation", "deployment.kubernetes.io/revision"}

// Mark tells an object's states apart as far as people set them; "" is that of an object
// that is not there. Objects whose status changes by itself have a generation that counts
// what people set; those without one change by people's hand only.
func Mark(o metav1.Object) string {
	if o.GetUID() == "" {
		return ""
	}
	if o.GetGeneration() == 0 {
		return fmt.Sprintf("%s/%s", o.GetUID(), o.GetResourceVersion())
	}
	sum := fnv.New64a()
	for _, m := range []map[string]string{o.GetLabels(), o.GetAnnotations()} {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !slices.Contains(counted, k) {
				fmt.Fprintf(sum, "%q=%q,", k, m[k])
			}
		}
		fmt.Fprint(sum, ";")
	}
	return fmt.Sprintf("%s/%d/%x", o.GetUID(), o.GetGeneration(), sum.Sum64())
}
