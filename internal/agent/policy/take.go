// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// changes is what has become different since the last Take.
type changes struct {
	pods   map[string]bool       // names of pods to judge anew
	gone   map[netip.Addr]bool   // addresses of attachments that are gone
	sets   map[*set]bool         // that may have other addresses, or be named for the first time
	ranges map[netip.Prefix]bool // of networks that were put in or taken out
	rows   map[netip.Prefix]bool // to judge anew

	newRulesets map[*ruleset]bool
	newClasses  map[*class]bool
	tables      map[*portTable]bool // new ones, and ones that may have no user any more
	meets       map[datapath.RulesetClass]bool
	narrows     map[[2]datapath.ClassID]bool

	doubt bool              // whether something was allowed that is not any more
	left  map[*ruleset]bool // rulesets that pods have left
	// Left over: what nothing has referred to since the last Take.
	idleRulesets map[*ruleset]bool
	idleClasses  map[*class]bool
	idleRows     map[netip.Prefix]bool
}

func newChanges() changes {
	return changes{
		pods: map[string]bool{}, gone: map[netip.Addr]bool{}, sets: map[*set]bool{}, ranges: map[netip.Prefix]bool{},
		rows: map[netip.Prefix]bool{}, newRulesets: map[*ruleset]bool{}, newClasses: map[*class]bool{},
		tables: map[*portTable]bool{}, meets: map[datapath.RulesetClass]bool{}, narrows: map[[2]datapath.ClassID]bool{},
		left:         map[*ruleset]bool{},
		idleRulesets: map[*ruleset]bool{}, idleClasses: map[*class]bool{}, idleRows: map[netip.Prefix]bool{},
	}
}

// tableSet and tableGone note that a ruleset and a class have a port table, or none any more.
func (c *changes) tableSet(k datapath.RulesetClass)  { c.meet(k, true) }
func (c *changes) tableGone(k datapath.RulesetClass) { c.meet(k, false) }

func (c *changes) meet(k datapath.RulesetClass, is bool) {
	if was, noted := c.meets[k]; noted && was != is {
		delete(c.meets, k) // it is as the datapath has it
		return
	}
	c.meets[k] = is
}

// Leftovers says whether another Take would remove what nothing refers to any more.
func (e *Engine) Leftovers() bool {
	c := &e.changes
	return e.taken && len(c.idleRulesets)+len(c.idleClasses)+len(c.idleRows) > 0
}

// Take returns what the datapath has to change since the last call; all there is at the first
// one. The maps are the caller's.
func (e *Engine) Take() datapath.PolicyUpdate {
	if !e.taken {
		return e.Complete()
	}
	u := datapath.PolicyUpdate{
		PortTables: map[datapath.PortTableID][]datapath.PortVerdict{}, Tables: map[datapath.RulesetClass]datapath.PortTableID{},
		Classes: map[netip.Prefix]datapath.ClassID{}, Pods: map[netip.Addr]datapath.PodPolicy{},
	}
	e.settle(&u)
	return u
}

// Complete returns all there is, which the datapath is to have and nothing else: for the first
// update, and after one that failed.
func (e *Engine) Complete() datapath.PolicyUpdate {
	e.settle(&datapath.PolicyUpdate{
		PortTables: map[datapath.PortTableID][]datapath.PortVerdict{}, Tables: map[datapath.RulesetClass]datapath.PortTableID{},
		Classes: map[netip.Prefix]datapath.ClassID{}, Pods: map[netip.Addr]datapath.PodPolicy{},
	})
	e.taken = true
	u := datapath.PolicyUpdate{
		PortTables: make(map[datapath.PortTableID][]datapath.PortVerdict, len(e.tables)),
		Tables:     make(map[datapath.RulesetClass]datapath.PortTableID, len(e.rulesets)),
		Classes:    make(map[netip.Prefix]datapath.ClassID, len(e.rows)),
		Pods:       make(map[netip.Addr]datapath.PodPolicy, len(e.owners)),
		Complete:   true, Narrower: true,
	}
	for id, t := range e.tables {
		u.PortTables[id] = t.verdicts
	}
	for _, r := range e.rulesets {
		u.Tables[datapath.RulesetClass{Ruleset: r.id}] = r.base.id
		for c, t := range r.tables {
			u.Tables[datapath.RulesetClass{Ruleset: r.id, Class: c.id}] = t.id
		}
	}
	for p, r := range e.rows {
		u.Classes[p] = r.class.name()
	}
	for a, p := range e.owners {
		u.Pods[a] = p.policy()
	}
	return u
}

// settle finds what follows from what was told, and writes down what of it is new.
func (e *Engine) settle(u *datapath.PolicyUpdate) {
	clear(e.changes.narrows)
	u.Narrower, e.changes.doubt = e.changes.doubt, false
	// What has been idle since the last Take goes, unless it is wanted again by now.
	rulesets, classes, rows := e.changes.idleRulesets, e.changes.idleClasses, e.changes.idleRows
	e.changes.idleRulesets, e.changes.idleClasses, e.changes.idleRows = map[*ruleset]bool{}, map[*class]bool{}, map[netip.Prefix]bool{}
	e.judgePods(u)
	for r := range rulesets {
		if r.pods == 0 && e.rulesets[r.id] == r {
			e.drop(r)
		}
	}
	for s := range e.changes.sets {
		e.place(s)
		if s.active > 0 || len(s.rulesets) == 0 {
			delete(e.changes.sets, s)
		}
	}
	if len(e.changes.ranges) > 0 {
		u.Narrower = true
		e.touchRanges()
	}
	e.judgeRows(u)
	e.crossAll()
	e.dropRows(u, rows)
	for c := range classes {
		if c.rows == 0 && e.classes[c.id] == c {
			e.dropClass(c)
		}
	}
	e.tell(u)
	e.keepIdle()
}

// keepIdle notes what has become idle and is so still.
func (e *Engine) keepIdle() {
	for r := range e.changes.left {
		if r.pods == 0 && e.rulesets[r.id] == r {
			e.changes.idleRulesets[r] = true
		}
	}
	clear(e.changes.left)
	for c := range e.changes.idleClasses {
		if c.rows > 0 || e.classes[c.id] != c {
			delete(e.changes.idleClasses, c)
		}
	}
}

// policy is what the datapath is told of a pod.
func (p *pod) policy() (out datapath.PodPolicy) {
	if r := p.rulesets[at(datapath.Ingress)]; r != nil {
		out.Ingress = r.id
	}
	if r := p.rulesets[at(datapath.Egress)]; r != nil {
		out.Egress = r.id
	}
	return out
}

// judgePods gives pods their rulesets.
func (e *Engine) judgePods(u *datapath.PolicyUpdate) {
	for name := range e.changes.pods {
		for _, p := range e.byName[name] {
			before, next := p.policy(), e.judge(p)
			for d := range next {
				e.assign(p, d, next[d])
			}
			after := p.policy()
			if p.told && after == before {
				continue
			}
			if p.told && (after.Ingress != before.Ingress && after.Ingress != 0 || after.Egress != before.Egress && after.Egress != 0) {
				u.Narrower = true
			}
			p.told = true
			for _, a := range p.Addresses {
				if e.owners[a] == p {
					u.Pods[a] = after
				}
			}
		}
	}
	clear(e.changes.pods)
	for a := range e.changes.gone {
		u.GonePods = append(u.GonePods, a)
	}
	clear(e.changes.gone)
}

// judgeRows gives prefixes their classes.
func (e *Engine) judgeRows(u *datapath.PolicyUpdate) {
	for p := range e.changes.rows {
		r := e.rows[p]
		if r == nil {
			continue
		}
		next := e.class(e.membership(p, r.peers))
		before := r.class
		if !r.told {
			before = e.coveredBy(p)
		}
		if !u.Narrower && before != next && e.narrows(before, next) {
			u.Narrower = true
		}
		if !r.told || r.class != next {
			e.reclass(r, next)
			r.told = true
			u.Classes[p] = next.name()
		}
		if len(r.peers) == 0 && e.nets[p] == nil {
			e.changes.idleRows[p] = true
		}
	}
	clear(e.changes.rows)
}

// coveredBy is the class that addresses of a prefix have that has had no row until now.
func (e *Engine) coveredBy(p netip.Prefix) *class {
	for bits := p.Bits() - 1; bits >= 0; bits-- {
		if e.lengths[family(p.Addr())][bits] == 0 {
			continue
		}
		q, _ := p.Addr().Prefix(bits) // bits are of the address
		if r := e.rows[q]; r != nil && r.told {
			return r.class
		}
	}
	return nil
}

func (e *Engine) reclass(r *row, next *class) {
	if next != nil {
		next.rows++
	}
	if old := r.class; old != nil {
		if old.rows--; old.rows == 0 {
			e.changes.idleClasses[old] = true
		}
	}
	r.class = next
}

// dropRows removes rows that were left over by the last Take, unless they have changed in
// this one: they decide something until it is in force then.
func (e *Engine) dropRows(u *datapath.PolicyUpdate, idle map[netip.Prefix]bool) {
	for p := range idle {
		r := e.rows[p]
		if r == nil || len(r.peers) > 0 || e.nets[p] != nil {
			continue
		}
		if _, changed := u.Classes[p]; changed {
			e.changes.idleRows[p] = true
			continue
		}
		e.reclass(r, nil)
		delete(e.rows, p)
		delete(e.changes.idleRows, p)
		u.GoneClasses = append(u.GoneClasses, p)
	}
}

// tell writes down the tables and port tables that are new, or gone.
func (e *Engine) tell(u *datapath.PolicyUpdate) {
	for k, is := range e.changes.meets {
		if !is {
			u.GoneTables = append(u.GoneTables, k)
			continue
		}
		r := e.rulesets[k.Ruleset]
		t := r.base
		if k.Class != 0 {
			t = r.tables[e.classes[k.Class]]
		}
		u.Tables[k] = t.id
	}
	clear(e.changes.meets)
	for t := range e.changes.tables {
		switch {
		case e.tables[t.id] != t:
		case t.users == 0:
			delete(e.tables, t.id)
			if t.told {
				u.GonePortTables = append(u.GonePortTables, t.id)
			}
			t.told = false
		case !t.told:
			t.told = true
			u.PortTables[t.id] = t.verdicts
		}
	}
	clear(e.changes.tables)
}
