// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"net/netip"
	"slices"
)

const (
	// deadAfter is how many questions in a row a peer leaves unanswered that is taken for
	// dead: with four a second, 1.5 seconds. Questions are counted and not time, so that
	// an agent that was stopped itself for a while does not take all others for dead.
	deadAfter = 6
	// watchAlive is how many living peers before it a node keeps an eye on: with two, the
	// death of two nodes at once is noticed as fast as that of one.
	watchAlive = 2
)

// Item is an address that this node may have to announce.
type Item struct {
	Address netip.Addr
	// Nodes may announce it, in the order of their right to.
	Nodes []string
	// Interfaces are devices to announce on; empty: the one with the node's address.
	Interfaces []string
}

// peer is what is known of another node.
type peer struct {
	missed  int // questions in a row without an answer
	refuses map[netip.Addr]bool
}

// election says which addresses this node announces. It is pure.
type election struct {
	self  string
	items []Item
	peers map[string]*peer
	// refuses are addresses that this node cannot announce.
	refuses map[netip.Addr]bool
}

func newElection(self string) *election {
	return &election{self: self, peers: map[string]*peer{}, refuses: map[netip.Addr]bool{}}
}

// setItems keeps those items that this node is a candidate for.
func (e *election) setItems(items []Item) {
	e.items = e.items[:0:0]
	for _, it := range items {
		if slices.Contains(it.Nodes, e.self) {
			e.items = append(e.items, it)
		}
	}
}

// decide returns the items that are this node's to announce, and the peers that it must
// keep asking. A peer that nothing is known of yet counts as alive.
func (e *election) decide() (own []Item, watch []string) {
	watched := map[string]bool{}
	for _, it := range e.items {
		alive := 0
		for _, name := range it.Nodes {
			if name == e.self || alive == watchAlive {
				break
			}
			watched[name] = true
			if p := e.peers[name]; p == nil || p.missed < deadAfter && !p.refuses[it.Address] {
				alive++
			}
		}
		if alive == 0 && !e.refuses[it.Address] {
			own = append(own, it)
		}
	}
	for name := range e.peers {
		if !watched[name] {
			delete(e.peers, name)
		}
	}
	for name := range watched {
		if e.peers[name] == nil {
			e.peers[name] = &peer{}
		}
		watch = append(watch, name)
	}
	slices.Sort(watch)
	return own, watch
}

// asked notes that a peer is asked once more.
func (e *election) asked(name string) {
	if p := e.peers[name]; p != nil && p.missed < deadAfter {
		p.missed++
	}
}

// heard notes that a peer answered.
func (e *election) heard(name string, refuses []netip.Addr) {
	p := e.peers[name]
	if p == nil {
		return
	}
	p.missed, p.refuses = 0, nil
	for _, a := range refuses {
		if p.refuses == nil {
			p.refuses = map[netip.Addr]bool{}
		}
		p.refuses[a] = true
	}
}

// left notes that a peer has said that it stops.
func (e *election) left(name string) {
	if p := e.peers[name]; p != nil {
		p.missed = deadAfter
	}
}
