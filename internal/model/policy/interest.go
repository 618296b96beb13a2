// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/state"
)

// policy is one as the index has it.
type policy struct {
	compiled
	subject *group         // nil: it selects nobody
	peers   []*group       // distinct
	nodes   map[string]int // nodes that have pods that it selects: how many
	given   state.Resource
	dirty   bool
	seen    uint64
	kept    uint64
}

// set takes over a policy that is new or has changed.
func (x *Index) set(c compiled) []model.Finding {
	p := x.policies[c.resource]
	if p == nil {
		p = &policy{nodes: map[string]int{}}
		x.policies[c.resource] = p
	}
	subject, peers := p.subject, p.peers
	p.compiled, p.subject, p.peers = c, nil, nil
	// What is new comes before what goes: what is in both stays as it is.
	if c.subject != nil {
		p.subject = x.acquire(c.subject)
	}
	for _, w := range c.peers() {
		p.peers = append(p.peers, x.acquire(w))
	}
	for _, g := range p.peers {
		x.name(g, p)
	}
	if p.subject != subject {
		x.selects(p.subject, p)
		x.deselects(subject, p)
	}
	x.unname(peers, p)
	if subject != nil {
		x.abandon(subject)
	}
	x.spoilPolicy(p)
	return c.findings
}

func (x *Index) removePolicy(resource string) {
	p := x.policies[resource]
	if p == nil {
		return
	}
	delete(x.policies, resource)
	for node := range p.nodes {
		x.out.take(node, p.resource)
	}
	subject, peers := p.subject, p.peers
	p.subject, p.peers = nil, nil
	x.deselects(subject, p)
	x.unname(peers, p)
	if subject != nil {
		x.abandon(subject)
	}
	clear(p.nodes)
}

// name has the nodes of a policy hold the sets of a peer, once for each time it is called.
func (x *Index) name(g *group, p *policy) {
	if len(g.peerOf) == 0 {
		for _, s := range g.sets {
			for i := range s.blocks {
				s.blocks[i].dirty = true
			}
			x.spoilSet(s)
		}
		g.members(x.touch)
	}
	g.peerOf[p] = struct{}{}
	for node := range p.nodes {
		x.hold(g, node)
	}
}

// unname ends what name did for the peers that the policy had before.
func (x *Index) unname(peers []*group, p *policy) {
	for _, g := range peers {
		for node := range p.nodes {
			x.unhold(g, node)
		}
		if !slices.Contains(p.peers, g) {
			delete(g.peerOf, p)
			if len(g.peerOf) == 0 {
				g.members(x.touch)
				for _, s := range g.sets {
					for i := range s.blocks {
						s.blocks[i].given = state.Resource{}
					}
				}
			}
		}
		x.abandon(g)
	}
}

func (x *Index) selects(g *group, p *policy) {
	if g != nil {
		g.subjectOf = append(g.subjectOf, p)
		g.members(x.touch)
	}
}

func (x *Index) deselects(g *group, p *policy) {
	if g != nil {
		g.subjectOf = slices.DeleteFunc(g.subjectOf, func(o *policy) bool { return o == p })
		g.members(x.touch)
	}
}

// hold has a node hold the sets of a group once more.
func (x *Index) hold(g *group, node string) {
	g.nodes[node]++
	if g.nodes[node] > 1 {
		return
	}
	for _, s := range g.sets {
		for i := range s.blocks {
			if given := s.blocks[i].given; given.Version != "" {
				x.out.put(node, given)
			}
		}
	}
}

func (x *Index) unhold(g *group, node string) {
	if g.nodes[node]--; g.nodes[node] > 0 {
		return
	}
	delete(g.nodes, node)
	for _, s := range g.sets {
		for i := range s.blocks {
			if given := s.blocks[i].given; given.Version != "" {
				x.out.take(node, given.Name)
			}
		}
	}
}

// demand has a node hold a policy on behalf of one more pod; release ends that.
func (x *Index) demand(p *policy, node string) {
	p.nodes[node]++
	if p.nodes[node] > 1 {
		return
	}
	if p.given.Version != "" {
		x.out.put(node, p.given)
	}
	for _, g := range p.peers {
		x.hold(g, node)
	}
}

func (x *Index) release(p *policy, node string) {
	if p.nodes[node] == 0 {
		return // the policy is gone
	}
	if p.nodes[node]--; p.nodes[node] > 0 {
		return
	}
	delete(p.nodes, node)
	x.out.take(node, p.resource)
	for _, g := range p.peers {
		x.unhold(g, node)
	}
}

func (x *Index) spoilPolicy(p *policy) {
	if !p.dirty {
		p.dirty = true
		x.dirtyPolicies = append(x.dirtyPolicies, p)
	}
}

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
