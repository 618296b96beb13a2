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
	// revision counts the changes.
	revision uint64
	notify   func(typeURL string, resources int)
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
	names := s.change(scope, typeURL, state.Delta{Set: set, Removed: removed})
	s.mark(scope, typeURL, names)
	return len(names)
}

// Apply changes resources of a type within several scopes at once, and returns how the
// subscribers that this concerns take it.
func (s *Store) Apply(typeURL string, scopes map[string]state.Delta) *Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &Delivery{done: make(chan struct{}), waiting: 1} // held open until all are told
	changed := make(map[string][]string, len(scopes))
	for scope, delta := range scopes {
		if names := s.change(scope, typeURL, delta); len(names) > 0 {
			changed[scope] = names
		}
	}
	// A subscriber takes marks whenever it likes. So it is expected to settle all of them, those
	// of its own scope last, before it is told of any.
	shared, own := changed[Shared], s.revision+2
	if len(shared) > 0 {
		s.seers(Shared, func(sub *dirtySet) { sub.expect(typeURL, s.revision+1, d) })
	}
	delete(changed, Shared)
	for scope := range changed {
		s.seers(scope, func(sub *dirtySet) { sub.expect(typeURL, own, d) })
	}
	s.mark(Shared, typeURL, shared)
	for scope, names := range changed {
		s.revision = own - 1 // all of them are the same
		s.mark(scope, typeURL, names)
	}
	s.revision = own
	d.arrived(acknowledged)
	return d
}

// change returns the names of what differs.
func (s *Store) change(scope, typeURL string, delta state.Delta) (names []string) {
	t := s.table(scope, typeURL)
	if t == noTable {
		t = &table{rows: map[string]state.Resource{}}
	}
	before := len(t.rows)
	drop := func(name string) bool {
		prev, ok := t.rows[name]
		if ok {
			t.digest.flip(memberDigest(typeURL, name, prev.Version))
			delete(t.rows, name)
		}
		return ok
	}
	for _, r := range delta.Set {
		if prev, ok := t.rows[r.Name]; ok && prev.Version == r.Version {
			continue
		}
		drop(r.Name)
		t.rows[r.Name] = r
		t.digest.flip(memberDigest(typeURL, r.Name, r.Version))
		names = append(names, r.Name)
	}
	for _, name := range delta.Removed {
		if drop(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	s.put(scope, typeURL, t)
	s.counts[typeURL] += len(t.rows) - before
	s.notify(typeURL, s.counts[typeURL])
	return names
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

// mark tells everyone who sees the scope, as one revision. It never waits for anybody.
func (s *Store) mark(scope, typeURL string, names []string) {
	if len(names) == 0 {
		return
	}
	s.revision++
	s.seers(scope, func(d *dirtySet) { d.add(typeURL, names, s.revision) })
}

// seers visits everyone who sees the scope.
func (s *Store) seers(scope string, visit func(*dirtySet)) {
	if scope != Shared {
		for d := range s.subs[scope] {
			visit(d)
		}
		return
	}
	for _, subs := range s.subs {
		for d := range subs {
			visit(d)
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
	defer d.leave()
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

// wanted is the digest over everything that node sees, of every type of the store but those
// that are left out.
func (s *Store) wanted(node string, leftOut func(typeURL string) bool) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var d digest
	for _, typeURL := range s.types {
		if leftOut(typeURL) {
			continue
		}
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

	mu       sync.Mutex
	marks    map[string]*marks
	follows  map[string]bool
	expected map[string][]expected // by type, in the order of their revisions
}

// marks are names of one type, and the revision of the last of them.
type marks struct {
	names    map[string]struct{}
	revision uint64
}

func newDirtySet() *dirtySet {
	return &dirtySet{
		wake: make(chan struct{}, 1), marks: map[string]*marks{}, follows: map[string]bool{}, expected: map[string][]expected{},
	}
}

func (d *dirtySet) add(typeURL string, names []string, revision uint64) {
	d.mu.Lock()
	m := d.marks[typeURL]
	if m == nil {
		m = &marks{names: make(map[string]struct{}, len(names))}
		d.marks[typeURL] = m
	}
	for _, n := range names {
		m.names[n] = struct{}{}
	}
	m.revision = revision
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// take returns what was marked since the last take.
func (d *dirtySet) take() map[string]*marks {
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.marks
	d.marks = map[string]*marks{}
	return taken
}
