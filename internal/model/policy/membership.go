// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"github.com/fairlead-io/fairlead/internal/state"
)

// join brings a member into the groups that mean it now, and out of all others.
func (x *Index) join(n *namespace, m *member) {
	x.round++
	var next []*group
	x.candidates(n, m, func(g *group) {
		x.work.Selectors++
		if g.matches(n, m) {
			g.seen = x.round
			next = append(next, g)
		}
	})
	for _, g := range m.groups {
		if g.seen == x.round {
			g.kept = x.round
			continue
		}
		x.leave(g, m)
	}
	changed := len(next) != len(m.groups)
	for _, g := range next {
		if g.kept != x.round {
			x.enter(g, m)
			changed = true
		}
	}
	if changed {
		x.touch(m)
		m.groups = slices.Clip(next)
	}
}

// candidates visits the groups that can mean a member, each once.
func (x *Index) candidates(n *namespace, m *member, visit func(*group)) {
	at := func(groups map[anchor][]*group, a anchor) {
		for _, g := range groups[a] {
			visit(g)
		}
	}
	labels := func(groups map[anchor][]*group, of byte, l map[string]string) {
		for k, v := range l {
			at(groups, anchor{of: of, key: k, value: v})
			at(groups, anchor{of: of, key: k, any: true})
		}
	}
	if fixed := x.fixed[n.name]; fixed != nil {
		at(fixed, anchor{})
		labels(fixed, 'p', m.labels)
	}
	if m.isPod() {
		at(x.wide, anchor{})
		labels(x.wide, 'p', m.labels)
		labels(x.wide, 'n', n.labels)
	}
}

// enter adds a member to the sets of a group that means it.
func (x *Index) enter(g *group, m *member) {
	for _, n := range g.numbers(m) {
		s := g.sets[n]
		if s == nil {
			s = &set{group: g, number: n, name: setName(g.key, n), blocks: make([]block, 1)}
			g.sets[n] = s
			x.numbersChanged(g)
		}
		s.size++
		if s.size > x.growAt*len(s.blocks) {
			x.cut(s, 2*len(s.blocks))
		}
		b := s.block(m)
		b.members = append(b.members, m)
		x.spoil(s, m)
	}
}

// leave takes a member from the sets of a group; its ports are still those that it had there.
func (x *Index) leave(g *group, m *member) {
	for _, n := range g.numbers(m) {
		s := g.sets[n]
		b := s.block(m)
		i := slices.Index(b.members, m)
		last := len(b.members) - 1
		b.members[i], b.members[last] = b.members[last], nil
		b.members = b.members[:last]
		x.spoil(s, m)
		s.size--
		if len(s.blocks) > 1 && s.size < x.shrinkAt*len(s.blocks) {
			x.cut(s, len(s.blocks)/2)
		}
		if s.size == 0 && g.port.name != "" {
			x.retract(s)
			delete(g.sets, n)
			x.numbersChanged(g)
		}
	}
}

// leaveByPort takes a member whose ports are about to change from the groups that look at them.
func (x *Index) leaveByPort(m *member) {
	m.groups = slices.DeleteFunc(m.groups, func(g *group) bool {
		if g.port.name == "" {
			return false
		}
		x.leave(g, m)
		return true
	})
}

// numbersChanged has the policies encoded anew that name a named port.
func (x *Index) numbersChanged(g *group) {
	for p := range g.peerOf {
		x.spoilPolicy(p)
	}
}

// cut spreads a set over another number of blocks.
func (x *Index) cut(s *set, blocks int) {
	old := s.blocks
	s.blocks = make([]block, blocks)
	for i := range s.blocks {
		s.blocks[i].dirty = true
		if i < len(old) {
			s.blocks[i].given = old[i].given
		}
	}
	for i := range old {
		for _, m := range old[i].members {
			b := s.block(m)
			b.members = append(b.members, m)
		}
		if i >= blocks {
			x.takeBlock(s.group, old[i].given)
		}
	}
	x.spoilSet(s)
}

// retract takes a set that is no more from the nodes that have it.
func (x *Index) retract(s *set) {
	for i := range s.blocks {
		x.takeBlock(s.group, s.blocks[i].given)
		s.blocks[i].given = state.Resource{}
	}
	s.blocks = make([]block, 1)
}

func (x *Index) takeBlock(g *group, given state.Resource) {
	if given.Version == "" {
		return
	}
	for node := range g.nodes {
		x.out.take(node, given.Name)
	}
}

// acquire uses a group, which is made if nobody does yet.
func (x *Index) acquire(w *who) *group {
	key := w.key()
	if g := x.groups[key]; g != nil {
		g.refs++
		return g
	}
	g := newGroup(key, w)
	g.refs = 1
	if g.port.name == "" {
		g.sets[number{}] = &set{group: g, name: setName(key, number{}), blocks: make([]block, 1)}
	}
	if g.namespace != "" {
		x.namespace(g.namespace).fixed++
	}
	x.groups[key] = g
	x.list(g, func(groups []*group) []*group { return append(groups, g) })
	x.visitNamespaces(g, func(n *namespace) {
		x.scope(n, 1)
		for _, m := range n.members {
			x.work.Selectors++
			if g.matches(n, m) {
				x.enter(g, m)
				m.groups = append(m.groups, g)
			}
		}
	})
	return g
}

// abandon ends a use of a group, which ends with the last one.
func (x *Index) abandon(g *group) {
	if g.refs--; g.refs > 0 {
		return
	}
	delete(x.groups, g.key)
	x.list(g, func(groups []*group) []*group {
		return slices.DeleteFunc(groups, func(o *group) bool { return o == g })
	})
	g.members(func(m *member) {
		if i := slices.Index(m.groups, g); i >= 0 {
			m.groups = slices.Delete(m.groups, i, i+1)
			x.touch(m)
		}
	})
	clear(g.sets)
	x.visitNamespaces(g, func(n *namespace) { x.scope(n, -1) })
	if g.namespace != "" {
		n := x.namespaces[g.namespace]
		n.fixed--
		x.drop(n)
	}
}

// list changes where a group is found.
func (x *Index) list(g *group, change func([]*group) []*group) {
	in := x.wide
	if g.namespace != "" {
		if in = x.fixed[g.namespace]; in == nil {
			in = map[anchor][]*group{}
			x.fixed[g.namespace] = in
		}
	}
	for _, a := range g.anchors() {
		if groups := change(in[a]); len(groups) > 0 {
			in[a] = groups
		} else {
			delete(in, a)
		}
	}
	if len(in) == 0 && g.namespace != "" {
		delete(x.fixed, g.namespace)
	}
}

func (x *Index) visitNamespaces(g *group, visit func(*namespace)) {
	if g.namespace != "" {
		visit(x.namespaces[g.namespace])
		return
	}
	for _, n := range x.namespaces {
		x.work.Selectors++
		if g.includes(n) {
			visit(n)
		}
	}
}

// peer says whether a policy names the member as a peer.
func (m *member) peer() bool {
	return slices.ContainsFunc(m.groups, func(g *group) bool { return len(g.peerOf) > 0 })
}
