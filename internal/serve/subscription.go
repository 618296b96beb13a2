// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"maps"
	"slices"
	"time"
)

// view is a subscription's window on the store.
type view interface {
	// version is the present version of a resource, false if there is none.
	version(name string) (string, bool)
	// size is the number of bytes of a resource.
	size(name string) int
	// all are the names of every resource of the type.
	all() []string
}

// batch is one response: what its acknowledgement will mean.
type batch struct {
	nonce   string
	sent    time.Time
	version map[string]string // resources by name
	removed []string
	covers  uint64 // revision up to which nothing remains to be sent besides; 0: something does
	partial bool   // more of what was there when the subscriber came follows
}

func (b *batch) names() []string {
	names := make([]string, 0, len(b.version)+len(b.removed))
	for n := range b.version {
		names = append(names, n)
	}
	names = append(names, b.removed...)
	slices.Sort(names)
	return names
}

// subscription is one type on one stream. It is pure bookkeeping: only its
// stream's goroutine touches it, and it sends nothing itself.
type subscription struct {
	typeURL string
	opts    Options
	view    view

	wildcard bool
	names    map[string]struct{} // subscribed by name
	owed     map[string]struct{} // names that must be answered even if there is no such resource
	held     map[string]string   // acknowledged versions
	heldSum  digest              // over held
	dirty    map[string]struct{} // to be compared with the store
	first    bool                // nothing has been sent yet: even an empty answer is due
	answered bool                // the first answer was acknowledged
	open     bool                // the last response was partial: one that is not has to follow
	alone    bool                // whose turn it is, see nextDirty
	unheard  map[string]struct{} // there when the subscriber came, and neither acknowledged nor refused yet

	taken    uint64 // revision of the last marks that dirty has
	inflight *batch
	round    *isolation          // not nil: a culprit is being looked for
	refused  map[string]*refusal // by name; "" for a refused empty response
}

func newSubscription(typeURL string, v view, opts Options, initial map[string]string) *subscription {
	s := &subscription{
		typeURL: typeURL, opts: opts, view: v, first: true,
		names:   map[string]struct{}{},
		owed:    map[string]struct{}{},
		held:    make(map[string]string, len(initial)),
		dirty:   map[string]struct{}{},
		refused: map[string]*refusal{},
	}
	for name, version := range initial {
		if present, ok := v.version(name); ok && present == version {
			version = present // the store's copy, so that the request can be freed
		}
		s.setHeld(name, version)
		s.dirty[name] = struct{}{}
	}
	return s
}

func (s *subscription) setHeld(name, version string) {
	s.dropHeld(name)
	s.held[name] = version
	s.heldSum.flip(memberDigest(s.typeURL, name, version))
}

func (s *subscription) dropHeld(name string) {
	if old, ok := s.held[name]; ok {
		s.heldSum.flip(memberDigest(s.typeURL, name, old))
		delete(s.held, name)
	}
}

// covers says whether the subscriber wants to know of a name.
func (s *subscription) covers(name string) bool {
	if s.wildcard {
		return true
	}
	_, ok := s.names[name]
	return ok
}

// subscribe adds names ("*" for all). A name that is asked for again is sent again,
// whether the subscriber has it or not: that is what asking means.
func (s *subscription) subscribe(names []string, fresh bool) {
	if len(names) == 0 && fresh {
		names = []string{"*"} // an empty first request asks for everything
	}
	if fresh {
		defer func() { s.unheard = maps.Clone(s.dirty) }()
	}
	for _, name := range names {
		if name == "*" {
			s.wildcard = true
			for _, n := range s.view.all() {
				s.dirty[n] = struct{}{}
			}
			continue
		}
		s.names[name] = struct{}{}
		s.dirty[name] = struct{}{}
		s.owed[name] = struct{}{}
		if !fresh {
			s.dropHeld(name)
		}
		if r := s.refused[name]; r != nil {
			r.trying = true
		}
	}
}

// unsubscribe forgets names ("*" for the wildcard). A name that the wildcard still
// covers is sent again, as the protocol has it.
func (s *subscription) unsubscribe(names []string) {
	for _, name := range names {
		if name == "*" {
			s.wildcard = false
			for n := range s.held {
				s.forgetUncovered(n)
			}
			for n := range s.refused {
				s.forgetUncovered(n)
			}
			continue
		}
		delete(s.names, name)
		if s.wildcard {
			s.dropHeld(name)
			s.dirty[name] = struct{}{}
			s.owed[name] = struct{}{}
			continue
		}
		s.forgetUncovered(name)
	}
}

func (s *subscription) forgetUncovered(name string) {
	if s.covers(name) {
		return
	}
	s.dropHeld(name)
	delete(s.dirty, name)
	delete(s.owed, name)
	delete(s.refused, name)
	delete(s.unheard, name)
}

// heardAll says that the subscriber has acknowledged or refused everything that there was
// when it came, whatever has changed since.
func (s *subscription) heardAll() bool { return s.answered && len(s.unheard) == 0 }

// next decides the response to send now; nil if there is none to send. The caller
// gives it a nonce and sends it.
func (s *subscription) next() *batch {
	if s.inflight != nil {
		return nil
	}
	b := s.nextOfRound()
	if b == nil {
		b = s.nextDirty()
	}
	owes := s.owes(b)
	if b == nil && (owes || !s.first && !s.open) {
		return nil
	}
	if b == nil {
		b = &batch{}
	}
	b.partial = owes
	if s.round == nil && len(s.dirty) == 0 {
		b.covers = s.taken
	}
	s.first, s.open = false, owes
	s.inflight = b
	return b
}

// owes says whether, besides a batch, something is still to be sent of what was there when
// the subscriber came.
func (s *subscription) owes(b *batch) bool {
	if len(s.unheard) == 0 {
		return false
	}
	sent := map[string]bool{}
	if b != nil {
		for _, name := range b.names() {
			sent[name] = true
		}
	}
	for name := range s.unheard {
		if !sent[name] && s.lacks(name) {
			return true
		}
	}
	return false
}

// lacks says whether the subscriber is to be sent a name.
func (s *subscription) lacks(name string) bool {
	if !s.covers(name) {
		return false
	}
	want, exists := s.view.version(name)
	if r := s.refused[name]; r != nil && r.version == want && !r.trying {
		return false
	}
	have, holds := s.held[name]
	_, owed := s.owed[name]
	return exists && (!holds || have != want) || !exists && (holds || owed)
}

// outcome is what becomes of changes that the subscriber is through with.
func (s *subscription) outcome() outcome {
	if len(s.refused) > 0 {
		return refusing
	}
	return acknowledged
}

// nextDirty takes the dirty names, in order and up to the bounds of a response. Names
// that were refused before travel alone, so that they cannot spoil a response again.
func (s *subscription) nextDirty() *batch {
	if len(s.dirty) == 0 {
		return nil
	}
	var clean, tainted []string
	for n := range s.dirty {
		if s.refused[n] != nil {
			tainted = append(tainted, n)
		} else {
			clean = append(clean, n)
		}
	}
	slices.Sort(clean)
	clean = s.removalsLast(clean)
	slices.Sort(tainted)
	s.alone = !s.alone // taking turns: steady changes must not starve a retry, nor retries the changes
	if s.alone {
		if b := s.nextTainted(tainted); b != nil {
			return b
		}
	}
	if b := s.nextClean(clean); b != nil {
		return b
	}
	return s.nextTainted(tainted)
}

// removalsLast puts what is no more behind the rest, the other way round: where a change does
// not fit into one response, what is referred to comes before and goes after what refers to it.
func (s *subscription) removalsLast(names []string) []string {
	var removed []string
	there := names[:0]
	for _, name := range names {
		if _, ok := s.view.version(name); ok {
			there = append(there, name)
		} else {
			removed = append(removed, name)
		}
	}
	slices.Reverse(removed)
	return append(there, removed...)
}

func (s *subscription) nextTainted(names []string) *batch {
	for _, name := range names {
		b := &batch{}
		delete(s.dirty, name)
		if s.include(b, name) {
			return b
		}
	}
	return nil
}

func (s *subscription) nextClean(names []string) *batch {
	b := &batch{}
	bytes := 0
	for _, name := range names {
		if len(b.version)+len(b.removed) >= s.opts.MaxResources || bytes >= s.opts.MaxBytes {
			break
		}
		if s.include(b, name) {
			bytes += s.view.size(name) + len(name) + 128
		}
		delete(s.dirty, name)
	}
	if len(b.version)+len(b.removed) == 0 {
		return nil
	}
	return b
}

// include puts a name into the batch if the subscriber lacks something of it.
func (s *subscription) include(b *batch, name string) bool {
	if !s.covers(name) {
		delete(s.unheard, name)
		return false
	}
	want, exists := s.view.version(name)
	have, holds := s.held[name]
	_, owed := s.owed[name]
	if r := s.refused[name]; r != nil {
		if r.version == want && !r.trying {
			delete(s.unheard, name)
			return false // quarantined: this very content was refused
		}
	}
	switch {
	case exists && (!holds || have != want):
		if b.version == nil {
			b.version = map[string]string{}
		}
		b.version[name] = want
	case !exists && (holds || owed):
		b.removed = append(b.removed, name)
	default:
		delete(s.refused, name) // back at what the subscriber holds
		delete(s.owed, name)
		delete(s.unheard, name)
		return false
	}
	return true
}

// ack notes that the response in flight is in force.
func (s *subscription) ack() {
	b := s.inflight
	s.inflight = nil
	s.answered = true
	delete(s.refused, "")
	for name, version := range b.version {
		if s.covers(name) {
			s.setHeld(name, version)
		}
		s.settled(name)
	}
	for _, name := range b.removed {
		s.dropHeld(name)
		s.settled(name)
	}
	if s.round != nil && len(b.version)+len(b.removed) > 0 {
		s.round.progress = true
	}
}

func (s *subscription) settled(name string) {
	delete(s.unheard, name)
	delete(s.refused, name)
	delete(s.owed, name)
}
