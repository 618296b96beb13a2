// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/labels"
)

// object is one object as it is stored.
type object = map[string]any

// store holds a cluster's objects and tells who watches.
type store struct {
	mu       sync.Mutex
	version  int
	objects  map[string]map[string]object // by collection ("apis/apps/v1/daemonsets"), namespace/name
	moved    map[string]int               // the version of a collection's last change
	watchers map[*watcher]struct{}
	// changed is called, locked, with what was written.
	changed func(collection string, o object)
}

// watcher gets the events of a collection.
type watcher struct {
	collection string
	selects    func(object) bool
	// after is the version that whoever watches has seen; late says that events since have
	// passed by: a store keeps none.
	after  int
	late   bool
	events chan event
}

type event struct {
	kind string
	o    object
}

// firstVersion is the version of a store with nothing in it.
const firstVersion = 1000

// backlog is how many events a watcher may be behind before it is cut off.
const backlog = 256

func newStore() *store {
	s := &store{watchers: map[*watcher]struct{}{}}
	s.empty()
	return s
}

// empty has the store begin anew; it is locked, or nobody else's yet.
func (s *store) empty() {
	s.version, s.objects, s.moved = firstVersion, map[string]map[string]object{}, map[string]int{}
}

// lose ends every watch and forgets everything, also which versions there were.
func (s *store) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		close(w.events)
	}
	clear(s.watchers)
	s.empty()
}

func meta(o object) map[string]any {
	m, ok := o["metadata"].(map[string]any)
	if !ok {
		m = map[string]any{}
		o["metadata"] = m
	}
	return m
}

func text(m map[string]any, field string) string {
	s, _ := m[field].(string)
	return s
}

// get returns a copy of an object, nil when it is not there.
func (s *store) get(collection, key string) object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[collection][key]
}

// put stores an object; it is locked. Objects are never changed once they are stored.
func (s *store) put(collection, key string, o object) object {
	before := s.objects[collection][key]
	m := maps.Clone(meta(o))
	o = maps.Clone(o)
	o["metadata"] = m
	delete(m, "managedFields")
	if before != nil {
		was := meta(before)
		m["uid"], m["creationTimestamp"], m["resourceVersion"] = was["uid"], was["creationTimestamp"], was["resourceVersion"]
		if g, ok := was["generation"]; ok {
			m["generation"] = g
		}
		if reflect.DeepEqual(before, o) {
			return before
		}
	}
	s.version++
	m["resourceVersion"] = strconv.Itoa(s.version)
	if before == nil {
		m["uid"], m["creationTimestamp"] = fmt.Sprintf("00000000-0000-4000-8000-%012d", s.version), "2026-01-01T00:00:00Z"
	}
	if _, ok := o["spec"]; ok && (before == nil || !reflect.DeepEqual(before["spec"], o["spec"])) {
		g, _ := m["generation"].(int64)
		m["generation"] = g + 1
	}
	if s.objects[collection] == nil {
		s.objects[collection] = map[string]object{}
	}
	s.objects[collection][key] = o
	kind := "MODIFIED"
	if before == nil {
		kind = "ADDED"
	}
	s.tell(collection, event{kind, o})
	if s.changed != nil {
		s.changed(collection, o)
	}
	return s.objects[collection][key]
}

// change stores what fn makes of an object (nil when it is not there); nil changes nothing.
func (s *store) change(collection, key string, fn func(object) object) object {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := fn(s.objects[collection][key])
	if o == nil {
		return nil
	}
	return s.put(collection, key, o)
}

// remove deletes an object and says whether it was there.
func (s *store) remove(collection, key string) object {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[collection][key]
	if o == nil {
		return nil
	}
	s.version++
	delete(s.objects[collection], key)
	s.tell(collection, event{"DELETED", o})
	return o
}

// tell sends an event of the store's newest version to who watches. As with etcd, who has
// seen a version that is not there yet is told nothing until it is.
func (s *store) tell(collection string, e event) {
	s.moved[collection] = s.version
	for w := range s.watchers {
		if w.collection != collection || s.version <= w.after || !w.selects(e.o) {
			continue
		}
		select {
		case w.events <- e:
		default: // it has to begin anew
			delete(s.watchers, w)
			close(w.events)
		}
	}
}

// list returns the objects that are selected, and the version of the list.
func (s *store) list(collection string, selects func(object) bool) ([]object, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.selected(collection, selects), s.version
}

func (s *store) selected(collection string, selects func(object) bool) []object {
	var out []object
	for _, o := range s.objects[collection] {
		if selects(o) {
			out = append(out, o)
		}
	}
	return out
}

// watch begins a watch of what happens after a version (0 is now), with what is there now
// when initial says so.
func (s *store) watch(collection string, selects func(object) bool, after int, initial bool) (w *watcher, there []object, version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w = &watcher{collection: collection, selects: selects, after: after, events: make(chan event, backlog)}
	w.late = !initial && after > 0 && after < s.moved[collection]
	s.watchers[w] = struct{}{}
	if initial {
		there = s.selected(collection, selects)
	}
	return w, there, s.version
}

func (s *store) unwatch(w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers, w)
}

// selector makes a function of a request's namespace, labelSelector and fieldSelector.
func selector(namespace, byLabel, byField string) (func(object) bool, error) {
	sel, err := labels.Parse(byLabel)
	if err != nil {
		return nil, err
	}
	name := ""
	if f, ok := strings.CutPrefix(byField, "metadata.name="); ok {
		name = f
	}
	return func(o object) bool {
		m := meta(o)
		if (namespace != "" && text(m, "namespace") != namespace) || (name != "" && text(m, "name") != name) {
			return false
		}
		set := labels.Set{}
		all, _ := m["labels"].(map[string]any)
		for k := range all {
			set[k] = text(all, k)
		}
		return sel.Matches(set)
	}, nil
}

// merged is what applying a patch to an object makes of it: maps are merged, everything else
// is replaced; null takes a field out.
func merged(o, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out := map[string]any{}
	if m, ok := o.(map[string]any); ok {
		maps.Copy(out, m)
	}
	for k, v := range p {
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = merged(out[k], v)
	}
	return out
}

// parse reads JSON with whole numbers as they are in objects.
func parse(raw []byte) (object, error) {
	var o object
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	if err := d.Decode(&o); err != nil {
		return nil, err
	}
	return plain(o).(object), nil
}

func plain(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k := range x {
			x[k] = plain(x[k])
		}
	case []any:
		for i := range x {
			x[i] = plain(x[i])
		}
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return n
		}
		f, _ := x.Float64()
		return f
	}
	return v
}
