// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// bookkeeping are the fields of an object that API servers write.
var bookkeeping = []string{
	"/status", "/metadata/managedFields", "/metadata/resourceVersion", "/metadata/generation",
	"/metadata/uid", "/metadata/creationTimestamp", "/metadata/selfLink",
	"/metadata/annotations/" + counted[0], "/metadata/annotations/" + escape(counted[1]),
}

// Holds says whether live has every field that wanted sets, written alike. False may only
// mean that it is written in another way ("1" or "1000m"), which the API server tells.
func Holds(wanted, live *unstructured.Unstructured) bool {
	return holds(wanted.Object, live.Object)
}

func holds(wanted, live any) bool {
	switch w := wanted.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok {
			return false
		}
		for k, v := range w {
			if have, ok := l[k]; !ok || !holds(v, have) {
				return false
			}
		}
		return true
	case []any:
		l, ok := live.([]any)
		if !ok || len(l) != len(w) {
			return false
		}
		for i := range w {
			if !holds(w[i], l[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(wanted, live)
}

// Differences are the fields in which two states of an object differ, as sorted JSON
// pointers, but for those that API servers keep for themselves and those at or below a
// pointer of except.
func Differences(a, b *unstructured.Unstructured, except []string) []string {
	var out []string
	differ("", a.Object, b.Object, slices.Concat(bookkeeping, except), &out)
	slices.Sort(out)
	return out
}

func differ(at string, a, b any, except []string, out *[]string) {
	if slices.Contains(except, at) {
		return
	}
	switch x := a.(type) {
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			for k := range x {
				differ(at+"/"+escape(k), x[k], y[k], except, out)
			}
			for k := range y {
				if _, ok := x[k]; !ok {
					differ(at+"/"+escape(k), nil, y[k], except, out)
				}
			}
			return
		}
	case []any:
		if y, ok := b.([]any); ok && len(x) == len(y) {
			for i := range x {
				differ(at+"/"+strconv.Itoa(i), x[i], y[i], except, out)
			}
			return
		}
	}
	if !reflect.DeepEqual(a, b) && !below(a, b, at, except) {
		*out = append(*out, at)
	}
}

// below says that everything in which a and b differ lies below a pointer of except: one of
// them lacks the map, or the list, in which it is.
func below(a, b any, at string, except []string) bool {
	some := a
	if some == nil {
		some = b
	} else if b != nil {
		return false
	}
	m, ok := some.(map[string]any)
	if !ok || len(m) == 0 {
		return false
	}
	for k, v := range m {
		p := at + "/" + escape(k)
		if !slices.Contains(except, p) && !below(v, nil, p, except) {
			return false
		}
	}
	return true
}

// Overlay sets the fields at pointers in a copy of o to what they are in live, or takes
// them out where live has none.
func Overlay(o, live *unstructured.Unstructured, pointers []string) *unstructured.Unstructured {
	out := o.DeepCopy()
	for _, p := range pointers {
		overlay(out.Object, live.Object, strings.Split(strings.TrimPrefix(p, "/"), "/"))
	}
	return out
}

// overlay follows the steps of one pointer. Where the way ends early in o, o sets nothing
// there.
func overlay(o, live any, steps []string) {
	key := unescape(steps[0])
	switch at := o.(type) {
	case map[string]any:
		from, _ := live.(map[string]any)
		mine, set := at[key]
		value, there := from[key]
		switch {
		case !set:
		case len(steps) > 1:
			overlay(mine, value, steps[1:])
		case there:
			at[key] = value
		default:
			delete(at, key)
		}
	case []any:
		i, err := strconv.Atoi(key)
		from, _ := live.([]any)
		switch {
		case err != nil || i < 0 || i >= len(at) || i >= len(from):
		case len(steps) > 1:
			overlay(at[i], from[i], steps[1:])
		default:
			at[i] = from[i]
		}
	}
}

func escape(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1")
}

func unescape(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
}
