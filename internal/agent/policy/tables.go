// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/binary"
	"slices"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// class is a combination of sets that some row has.
type class struct {
	id       datapath.ClassID
	sets     []*set // sorted
	rows     int
	rulesets map[*ruleset]bool // that have a port table for it
}

func (c *class) name() datapath.ClassID {
	if c == nil {
		return 0
	}
	return c.id
}

// portTable is what becomes of ports.
type portTable struct {
	id       datapath.PortTableID
	verdicts []datapath.PortVerdict
	users    int // rulesets and classes that have it
	told     bool
}

// intern returns the port table of verdicts.
func (e *Engine) intern(verdicts []datapath.PortVerdict) *portTable {
	h := newHash(e.seed, 't')
	for _, v := range verdicts {
		h.number(uint64(v.Protocol)<<32 | uint64(v.First)<<16 | uint64(v.Last))
		h.flag(v.Allow)
		h.number(uint64(v.Cause))
	}
	id := datapath.PortTableID(h.sum())
	t := e.tables[id]
	if t == nil {
		t = &portTable{id: id, verdicts: verdicts}
		e.keep(t)
	}
	return t
}

// keep has a port table be one that the datapath has, or is about to have.
func (e *Engine) keep(t *portTable) {
	if e.tables[t.id] == nil {
		e.tables[t.id] = t
		e.changes.tables[t] = true
	}
}

// release notes that a port table has a user less.
func (e *Engine) release(t *portTable) {
	if t.users--; t.users == 0 {
		e.changes.tables[t] = true
	}
}

// class returns the one of sets, which are sorted; nil for none.
func (e *Engine) class(sets []*set) *class {
	if len(sets) == 0 {
		return nil
	}
	h := newHash(e.seed, 'c')
	for _, s := range sets {
		h.number(s.id)
	}
	id := datapath.ClassID(h.sum())
	if c := e.classes[id]; c != nil {
		return c
	}
	c := &class{id: id, sets: slices.Clone(sets), rulesets: map[*ruleset]bool{}}
	e.classes[id] = c
	for _, s := range c.sets {
		s.classes[c] = true
	}
	e.changes.newClasses[c] = true
	e.changes.idleClasses[c] = true
	return c
}

// dropClass forgets a class that no row has.
func (e *Engine) dropClass(c *class) {
	delete(e.classes, c.id)
	for _, s := range c.sets {
		delete(s.classes, c)
		e.forget(s)
	}
	for r := range c.rulesets {
		e.release(r.tables[c])
		delete(r.tables, c)
		e.changes.tableGone(datapath.RulesetClass{Ruleset: r.id, Class: c.id})
	}
}

// decide finds a ruleset's verdict on peers that are in those sets that it names.
func (r *ruleset) decide(sets []*set) []datapath.PortVerdict {
	places := slices.Clone(r.byPeer)
	for _, s := range sets {
		places = append(places, r.bySet[s]...)
	}
	slices.Sort(places)
	places = slices.Compact(places)
	terms := make([]*term, len(places))
	for i, at := range places {
		terms[i] = r.terms[at]
	}
	return decide(terms, r.isolated)
}

// table finds a ruleset's port table for a class; nil is class 0.
func (e *Engine) table(r *ruleset, c *class) *portTable {
	if c == nil {
		return r.base
	}
	if t := r.tables[c]; t != nil {
		return t
	}
	var sets []*set
	var key []byte
	for _, s := range c.sets {
		if len(r.bySet[s]) > 0 {
			sets, key = append(sets, s), binary.BigEndian.AppendUint64(key, s.id)
		}
	}
	if len(sets) == 0 {
		return r.base
	}
	if t := r.memo[string(key)]; t != nil {
		if have := e.tables[t.id]; have != nil {
			return have
		}
		e.keep(t)
		return t
	}
	t := e.intern(r.decide(sets))
	if len(r.memo) >= maxMemo {
		clear(r.memo)
	}
	r.memo[string(key)] = t
	return t
}

// cross has a ruleset and a class meet: there is a row where the port table is another one
// than that of class 0.
func (e *Engine) cross(r *ruleset, c *class) {
	if r.tables[c] != nil {
		return
	}
	t := e.table(r, c)
	if t == r.base {
		return
	}
	t.users++
	r.tables[c], c.rulesets[r] = t, true
	e.changes.tableSet(datapath.RulesetClass{Ruleset: r.id, Class: c.id})
}

// crossAll has new rulesets and new classes meet all others that they have sets in common with.
func (e *Engine) crossAll() {
	for r := range e.changes.newRulesets {
		e.changes.tableSet(datapath.RulesetClass{Ruleset: r.id})
		for s := range r.bySet {
			for c := range s.classes {
				e.cross(r, c)
			}
		}
	}
	for c := range e.changes.newClasses {
		for _, s := range c.sets {
			for r := range s.rulesets {
				e.cross(r, c)
			}
		}
	}
	clear(e.changes.newRulesets)
	clear(e.changes.newClasses)
}

// narrows says whether something that was allowed to peers of a class is not to those of
// another one.
func (e *Engine) narrows(from, to *class) bool {
	pair := [2]datapath.ClassID{from.name(), to.name()}
	if known, ok := e.changes.narrows[pair]; ok {
		return known
	}
	is := e.narrowsPair(from, to)
	e.changes.narrows[pair] = is
	return is
}

func (e *Engine) narrowsPair(from, to *class) bool {
	for _, s := range difference(from, to) {
		for r := range s.rulesets {
			if r.pods == 0 {
				continue
			}
			if a, b := e.table(r, from), e.table(r, to); a != b && narrower(a.verdicts, b.verdicts) {
				return true
			}
		}
	}
	return false
}

// difference are the sets that one of two classes has and the other has not.
func difference(a, b *class) (out []*set) {
	var x, y []*set
	if a != nil {
		x = a.sets
	}
	if b != nil {
		y = b.sets
	}
	for len(x) > 0 || len(y) > 0 {
		switch {
		case len(y) == 0 || len(x) > 0 && x[0].id < y[0].id:
			out, x = append(out, x[0]), x[1:]
		case len(x) == 0 || y[0].id < x[0].id:
			out, y = append(out, y[0]), y[1:]
		default:
			x, y = x[1:], y[1:]
		}
	}
	return out
}
