// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

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
