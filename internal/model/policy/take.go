// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/internal/state"
)

// takeSubjects encodes the subjects that may have changed and settles what their nodes hold.
func (x *Index) takeSubjects() {
	for _, m := range x.dirtyMembers {
		m.dirty = false
		if !m.gone {
			x.takeSubject(m)
		}
	}
	x.dirtyMembers = nil
}

func (x *Index) takeSubject(m *member) {
	x.round++
	var next []*policy
	for _, g := range m.groups {
		for _, p := range g.subjectOf {
			p.seen = x.round
			next = append(next, p)
		}
	}
	for _, p := range m.policies {
		if p.seen == x.round {
			p.kept = x.round
		}
	}
	for _, p := range next {
		if p.kept != x.round {
			x.demand(p, m.node)
		}
	}
	for _, p := range m.policies {
		if p.seen != x.round {
			x.release(p, m.node)
		}
	}
	slices.SortFunc(next, func(a, b *policy) int { return strings.Compare(a.resource, b.resource) })
	m.policies = next
	if x.namespaces[m.namespace].groups == 0 {
		if m.given != "" {
			x.out.take(m.node, subjectName(m))
			m.given = ""
		}
		return
	}
	x.work.Subjects++
	r := x.encoded(m.subject())
	if r.Version != m.given {
		m.given = r.Version
		x.out.put(m.node, r)
	}
}

func subjectName(m *member) string { return "subject/" + m.namespace + "/" + m.name }

func (m *member) subject() (state.Resource, error) {
	s := &state.PolicySubject{Namespace: m.namespace, Name: m.name, Uid: m.uid, Peer: m.peer()}
	for _, p := range m.policies {
		s.Policies = append(s.Policies, p.resource)
	}
	for _, p := range m.ports {
		s.Ports = append(s.Ports, &state.NamedPort{Name: p.Name, Protocol: uint32(p.Protocol), Port: uint32(p.Port)})
	}
	return state.Encode(subjectName(m), &state.PolicyObject{Object: &state.PolicyObject_Subject{Subject: s}})
}

// takePolicies encodes the policies that have changed for the nodes that have them.
func (x *Index) takePolicies() {
	for _, p := range x.dirtyPolicies {
		p.dirty = false
		if x.policies[p.resource] != p {
			continue
		}
		x.work.Policies++
		r := x.encoded(p.encode(x.groups))
		if r.Version == p.given.Version {
			r = p.given
		}
		p.given = r
		for node := range p.nodes {
			x.out.put(node, r)
		}
	}
	x.dirtyPolicies = nil
}

// takeSets encodes the blocks that have changed for the nodes that have them.
func (x *Index) takeSets() {
	for _, s := range x.dirtySets {
		s.dirty = false
		g := s.group
		if len(g.peerOf) == 0 || g.sets[s.number] != s {
			continue // nobody has it; it is made when it is named
		}
		for i := range s.blocks {
			b := &s.blocks[i]
			if !b.dirty {
				continue
			}
			b.dirty = false
			x.work.Blocks++
			r := x.encoded(s.resource(i))
			if r.Version == b.given.Version {
				continue
			}
			if r.Version == "" {
				x.takeBlock(g, b.given)
			} else {
				for node := range g.nodes {
					x.out.put(node, r)
				}
			}
			b.given = r
		}
	}
	x.dirtySets = nil
}

func (x *Index) takeScope() {
	if !x.dirtyScope {
		return
	}
	x.dirtyScope = false
	scope := &state.PolicyScope{}
	for name, n := range x.namespaces {
		if n.groups > 0 && name != nodesNamespace {
			scope.Namespaces = append(scope.Namespaces, name)
		}
	}
	slices.Sort(scope.Namespaces)
	x.out.put(Shared, x.encoded(state.Encode("cluster", &state.PolicyObject{Object: &state.PolicyObject_Scope{Scope: scope}})))
}
