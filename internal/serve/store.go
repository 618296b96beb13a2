// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"maps"
	"slices"
	"sync"

	"github.com/fairlead-io/fairlead/internal/state"
)

// Shared is the scope that every subscriber sees. Any other scope is the name of
// the one node that sees it.
const Shared = ""

// Store holds the encoded resources that are to be served, and tells subscribers
// what they have to look at. Within a type, a name is either shared or of one node.
type Store struct {
	types []string

	mu     sync.RWMutex
	ready  bool
	scopes map[string]map[string]*table // scope -> type URL
	subs   map[string]map[*dirtySet]struct{}
	counts map[string]int
	notify func(typeURL string, resources int)
}

// table is the resources of one type in one scope.
type table struct {
	rows   map[string]state.Resource
	digest digest
}

// NewStore makes a store for the given types. It is not ready: nothing is served
// before SetReady, since an empty store would take everything away from
// subscribers that reconnect.
func NewStore(types ...string) *Store {
	return &Store{
		types:  slices.Clone(types),
		scopes: map[string]map[string]*table{},
		subs:   map[string]map[*dirtySet]struct{}{},
		counts: map[string]int{},
		notify: func(string, int) {},
	}
}

// SetReady says that the store holds a complete state.
func (s *Store) SetReady() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = true
}

// Ready says whether SetReady was called.
func (s *Store) Ready() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ready
}

// Swap makes resources the complete content of a type within a scope and returns
// how many differ. Nothing that is equal is touched or sent.
func (s *Store) Swap(scope, typeURL string, resources []state.Resource) (changed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.table(scope, typeURL)
	next := &table{rows: make(map[string]state.Resource, len(resources))}
	var names []string
	for _, r := range resources {
		if prev, ok := old.rows[r.Name]; ok && prev.Version == r.Version {
			r = prev // keeps one copy of the bytes, and of the version that subscribers' books point to
		} else {
			names = append(names, r.Name)
		}
		next.rows[r.Name] = r
		next.digest.flip(memberDigest(typeURL, r.Name, r.Version))
	}
	for name := range old.rows {
		if _, ok := next.rows[name]; !ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return 0
	}
	s.put(scope, typeURL, next)
	s.counts[typeURL] += len(next.rows) - len(old.rows)
	s.notify(typeURL, s.counts[typeURL])
	s.mark(scope, typeURL, names)
	return len(names)
}

// Change sets and removes some resources of a type within a scope and returns how many
// differ. It costs as much as they are, whatever else there is.
func (s *Store) Change(scope, typeURL string, set []state.Resource, removed []string) (changed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table(scope, typeURL)
	if t == noTable {
		t = &table{rows: map[string]state.Resource{}}
	}
	before := len(t.rows)
	var names []string
	drop := func(name string) bool {
		prev, ok := t.rows[name]
		if ok {
			t.digest.flip(memberDigest(typeURL, name, prev.Version))
			delete(t.rows, name)
		}
		return ok
	}
	for _, r := range set {
		if prev, ok := t.rows[r.Name]; ok && prev.Version == r.Version {
			continue
		}
		drop(r.Name)
		t.rows[r.Name] = r
		t.digest.flip(memberDigest(typeURL, r.Name, r.Version))
		names = append(names, r.Name)
	}
	for _, name := range removed {
		if drop(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return 0
	}
	s.put(scope, typeURL, t)
	s.counts[typeURL] += len(t.rows) - before
	s.notify(typeURL, s.counts[typeURL])
	s.mark(scope, typeURL, names)
	return len(names)
}

var noTable = &table{}

func (s *Store) table(scope, typeURL string) *table {
	if t, ok := s.scopes[scope][typeURL]; ok {
		return t
	}
	return noTable
}

func (s *Store) put(scope, typeURL string, t *table) {
	tables := s.scopes[scope]
	if len(t.rows) == 0 {
		delete(tables, typeURL)
		if len(tables) == 0 {
			delete(s.scopes, scope)
		}
		return
	}
	if tables == nil {
		tables = map[string]*table{}
		s.scopes[scope] = tables
	}
	tables[typeURL] = t
}

// mark tells everyone who sees the scope. It never waits for anybody.
func (s *Store) mark(scope, typeURL string, names []string) {
	if scope != Shared {
		for d := range s.subs[scope] {
			d.add(typeURL, names)
		}
		return
	}
	for _, subs := range s.subs {
		for d := range subs {
			d.add(typeURL, names)
		}
	}
}

// attach starts telling d of changes that node sees; detach ends it.
func (s *Store) attach(node string, d *dirtySet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subs[node] == nil {
		s.subs[node] = map[*dirtySet]struct{}{}
	}
	s.subs[node][d] = struct{}{}
}

func (s *Store) detach(node string, d *dirtySet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.subs[node], d)
	if len(s.subs[node]) == 0 {
		delete(s.subs, node)
	}
}

// lookup returns a resource as node sees it.
func (s *Store) lookup(node, typeURL, name string) (state.Resource, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if r, ok := s.table(node, typeURL).rows[name]; ok {
		return r, true
	}
	r, ok := s.table(Shared, typeURL).rows[name]
	return r, ok
}

// names are all resources of a type that node sees.
func (s *Store) names(node, typeURL string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := slices.AppendSeq([]string(nil), maps.Keys(s.table(Shared, typeURL).rows))
	return slices.AppendSeq(names, maps.Keys(s.table(node, typeURL).rows))
}

// wanted is the digest over everything that node sees, of every type of the store.
func (s *Store) wanted(node string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var d digest
	for _, typeURL := range s.types {
		d.flip(typeDigest(typeURL))
		d.flip(s.table(Shared, typeURL).digest)
		d.flip(s.table(node, typeURL).digest)
	}
	return d.String()
}

// known says whether the store serves a type.
func (s *Store) known(typeURL string) bool { return slices.Contains(s.types, typeURL) }

// dirtySet is what one stream has to look at: names by type. Its size is bounded
// by the number of resources, however slow the subscriber is.
type dirtySet struct {
	wake chan struct{} // capacity 1

	mu    sync.Mutex
	names map[string]map[string]struct{}
}

func newDirtySet() *dirtySet {
	return &dirtySet{wake: make(chan struct{}, 1), names: map[string]map[string]struct{}{}}
}

func (d *dirtySet) add(typeURL string, names []string) {
	d.mu.Lock()
	set := d.names[typeURL]
	if set == nil {
		set = make(map[string]struct{}, len(names))
		d.names[typeURL] = set
	}
	for _, n := range names {
		set[n] = struct{}{}
	}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// take returns what was marked since the last take.
func (d *dirtySet) take() map[string]map[string]struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.names
	d.names = map[string]map[string]struct{}{}
	return taken
}
