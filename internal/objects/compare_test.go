// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func object(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestHolds(t *testing.T) {
	for _, c := range []struct {
		name, wanted, live string
		holds              bool
	}{
		{"the same", `{"a":{"b":[1,2]}}`, `{"a":{"b":[1,2]}}`, true},
		{"more is there", `{"a":{"b":1}}`, `{"a":{"b":1,"c":2},"d":3}`, true},
		{"defaults in a list", `{"a":[{"x":1}]}`, `{"a":[{"x":1,"y":2}]}`, true},
		{"an item more", `{"a":[1]}`, `{"a":[1,2]}`, false},
		{"another value", `{"a":1}`, `{"a":2}`, false},
		{"a field gone", `{"a":{"b":1}}`, `{"a":{}}`, false},
		{"another type", `{"a":{"b":1}}`, `{"a":[1]}`, false},
		{"nothing for null", `{"a":null}`, `{}`, false},
	} {
		if got := Holds(object(t, c.wanted), object(t, c.live)); got != c.holds {
			t.Errorf("%s: got %t", c.name, got)
		}
	}
}

func TestDifferences(t *testing.T) {
	for _, c := range []struct {
		name, a, b string
		except     []string
		want       []string
	}{
		{"none", `{"a":1}`, `{"a":1}`, nil, nil},
		{"what API servers write", `{"status":{"x":1},"metadata":{"resourceVersion":"1","managedFields":[1]}}`, `{"metadata":{"resourceVersion":"2"}}`, nil, nil},
		{"a value, and one that is not there", `{"a":1,"b":{"c":1}}`, `{"a":2,"b":{"d":1}}`, nil, []string{"/a", "/b/c", "/b/d"}},
		{"in a list", `{"a":[{"x":1},{"x":2}]}`, `{"a":[{"x":1},{"x":3}]}`, nil, []string{"/a/1/x"}},
		{"lists of two lengths", `{"a":[1]}`, `{"a":[1,2]}`, nil, []string{"/a"}},
		{"keys with a slash and a tilde", `{"a":{"x/y~z":1}}`, `{"a":{}}`, nil, []string{"/a/x~1y~0z"}},
		{"left out", `{"a":{"b":1,"c":1}}`, `{"a":{"b":2,"c":2}}`, []string{"/a/b"}, []string{"/a/c"}},
		{"left out, with the map around it gone", `{"a":{"b":1}}`, `{}`, []string{"/a/b"}, nil},
		{"left out, and something beside it gone", `{"a":{"b":1,"c":1}}`, `{}`, []string{"/a/b"}, []string{"/a"}},
	} {
		if got := Differences(object(t, c.a), object(t, c.b), c.except); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestOverlay(t *testing.T) {
	for _, c := range []struct{ name, o, live, pointer, want string }{
		{"a value", `{"a":{"b":1}}`, `{"a":{"b":2}}`, "/a/b", `{"a":{"b":2}}`},
		{"in a list", `{"a":[{"b":1}]}`, `{"a":[{"b":2}]}`, "/a/0/b", `{"a":[{"b":2}]}`},
		{"an item", `{"a":[1]}`, `{"a":[2]}`, "/a/0", `{"a":[2]}`},
		{"what is gone in the cluster", `{"a":{"b":1,"c":1}}`, `{"a":{"c":1}}`, "/a/b", `{"a":{"c":1}}`},
		{"the way there is gone in the cluster", `{"a":{"b":1}}`, `{}`, "/a/b", `{"a":{}}`},
		{"what is not set", `{"a":1}`, `{"a":1,"b":2}`, "/b", `{"a":1}`},
		{"beyond a list", `{"a":[1]}`, `{"a":[2]}`, "/a/7", `{"a":[1]}`},
		{"no number", `{"a":[1]}`, `{"a":[2]}`, "/a/x", `{"a":[1]}`},
		{"through a value", `{"a":1}`, `{"a":2}`, "/a/b/c", `{"a":1}`},
	} {
		o := object(t, c.o)
		got := Overlay(o, object(t, c.live), []string{c.pointer})
		if !reflect.DeepEqual(got.Object, object(t, c.want).Object) {
			t.Errorf("%s: got %v", c.name, got.Object)
		}
		if !reflect.DeepEqual(o.Object, object(t, c.o).Object) {
			t.Errorf("%s: what it was laid over has changed", c.name)
		}
	}
}

func TestMark(t *testing.T) {
	base := metav1.ObjectMeta{UID: "u", ResourceVersion: "1", Generation: 1, Labels: map[string]string{"a": "b"}}
	mark := func(change func(*metav1.ObjectMeta)) string {
		o := *base.DeepCopy()
		change(&o)
		return Mark(&metav1.PartialObjectMetadata{ObjectMeta: o})
	}
	same := mark(func(*metav1.ObjectMeta) {})
	for _, c := range []struct {
		name   string
		change func(*metav1.ObjectMeta)
		moves  bool
	}{
		{"status", func(o *metav1.ObjectMeta) { o.ResourceVersion = "2" }, false},
		{"what controllers count", func(o *metav1.ObjectMeta) {
			o.Annotations = map[string]string{"deployment.kubernetes.io/revision": "2"}
		}, false},
		{"spec", func(o *metav1.ObjectMeta) { o.Generation = 2 }, true},
		{"a label", func(o *metav1.ObjectMeta) { o.Labels["a"] = "c" }, true},
		{"an annotation", func(o *metav1.ObjectMeta) { o.Annotations = map[string]string{"x": "y"} }, true},
		{"made anew", func(o *metav1.ObjectMeta) { o.UID = "v" }, true},
		{"gone", func(o *metav1.ObjectMeta) { o.UID = "" }, true},
	} {
		if got := mark(c.change) != same; got != c.moves {
			t.Errorf("%s: it has moved: %t", c.name, got)
		}
	}
	rule := metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: "u", ResourceVersion: "1"}}
	before := Mark(&rule)
	if rule.ResourceVersion = "2"; Mark(&rule) == before {
		t.Error("an object without a generation has not moved though it was written")
	}
}

func FuzzOverlay(f *testing.F) {
	f.Add(`{"a":[{"b":1}]}`, `{"a":[{"b":2}]}`, "/a/0/b")
	f.Add(`{"a":{"x/y":1}}`, `{}`, "/a/x~1y")
	f.Fuzz(func(t *testing.T, a, b, pointer string) {
		x, y := &unstructured.Unstructured{}, &unstructured.Unstructured{}
		if json.Unmarshal([]byte(a), &x.Object) != nil || json.Unmarshal([]byte(b), &y.Object) != nil || x.Object == nil || y.Object == nil {
			return
		}
		before, _ := json.Marshal(x.Object)
		Overlay(x, y, []string{pointer})
		Differences(x, y, []string{pointer})
		if after, _ := json.Marshal(x.Object); string(after) != string(before) {
			t.Error("what it was laid over has changed")
		}
	})
}
