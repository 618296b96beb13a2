// SPDX-License-Identifier: Apache-2.0

package addresspool

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// MaxCandidates is how many nodes are told to be ready to announce an address. That all of
// them fail at once is unlikely even when a third of the nodes does (1 in 6,000); the
// controller then names others as soon as the API server says that they are not Ready.
const MaxCandidates = 8

// Announcer is how a pool's addresses are announced.
type Announcer struct {
	Pool string
	// Ranges are spec.addresses as they are written.
	Ranges []string
	// Off: the addresses are not announced (mode None).
	Off bool
	// Nodes selects nodes by their labels.
	Nodes labels.Selector
	// Interfaces are devices to announce on; empty: the one with the node's address.
	Interfaces []string
}

// Node is one that may announce.
type Node struct {
	Name   string
	Labels labels.Set
	// Ready is its condition: nodes that are not come last.
	Ready bool
	// Excluded nodes never announce.
	Excluded bool
}

// Exposed is a Service that has addresses.
type Exposed struct {
	Addresses []netip.Addr
	// Local: only nodes in Nodes, which have a ready endpoint, may announce.
	Local bool
	Nodes []string
}

// Announcement is who announces an address, and where.
type Announcement struct {
	Address netip.Addr
	// Nodes in the order of their right to do it, at most MaxCandidates.
	Nodes      []string
	Interfaces []string
}

// ranked is a node with what its order for an address is made of.
type ranked struct {
	Node
	seed uint64
}

// Announcements decides who may announce the addresses of Services, in the order of
// addresses. announcers are sorted by the age of their pools.
//
// The order of nodes is that of rendezvous hashing (Thaler and Ravishankar, 1998): each
// address has an order of its own, so that addresses are spread over nodes, and a node that
// comes or goes changes the place of nobody else.
func Announcements(announcers []Announcer, services []Exposed, nodes []Node) []Announcement {
	all := make([]ranked, 0, len(nodes))
	for _, n := range nodes {
		if !n.Excluded {
			all = append(all, ranked{n, digest([]byte(n.Name))})
		}
	}
	slices.SortFunc(all, func(a, b ranked) int { return strings.Compare(a.Name, b.Name) })
	pools := prepareAnnouncers(announcers, all)
	done := map[netip.Addr]bool{}
	var out []Announcement
	for _, s := range services {
		for _, addr := range s.Addresses {
			p := announcerOf(pools, addr)
			if p == nil || p.Off || done[addr] {
				continue
			}
			candidates := p.nodes
			if s.Local {
				candidates = slices.DeleteFunc(slices.Clone(candidates), func(n ranked) bool { return !slices.Contains(s.Nodes, n.Name) })
			}
			if len(candidates) == 0 {
				continue
			}
			done[addr] = true
			out = append(out, Announcement{Address: addr, Nodes: first(candidates, addr), Interfaces: p.Interfaces})
		}
	}
	slices.SortFunc(out, func(a, b Announcement) int { return a.Address.Compare(b.Address) })
	return out
}

type announcer struct {
	Announcer
	ranges []Range
	nodes  []ranked
}

func prepareAnnouncers(in []Announcer, nodes []ranked) []announcer {
	out := make([]announcer, 0, len(in))
	for _, a := range in {
		p := announcer{Announcer: a}
		for _, s := range a.Ranges {
			if r, err := ParseRange(s); err == nil {
				p.ranges = append(p.ranges, r)
			}
		}
		for _, n := range nodes {
			if a.Nodes == nil || a.Nodes.Matches(n.Labels) {
				p.nodes = append(p.nodes, n)
			}
		}
		out = append(out, p)
	}
	return out
}

func announcerOf(pools []announcer, addr netip.Addr) *announcer {
	for i := range pools {
		if slices.ContainsFunc(pools[i].ranges, func(r Range) bool { return r.Contains(addr) }) {
			return &pools[i]
		}
	}
	return nil
}

// place is a node with its score for an address.
type place struct {
	node  *ranked
	score uint64
}

// first returns the names of the first candidates for an address. nodes are sorted by name.
func first(nodes []ranked, addr netip.Addr) []string {
	seed := digest(addr.AsSlice())
	best := make([]place, 0, 2*MaxCandidates+2)
	best = highest(best, nodes, seed, true)
	if len(best) < MaxCandidates {
		best = append(best, highest(nil, nodes, seed, false)...)
	}
	names := make([]string, 0, MaxCandidates)
	for _, p := range best[:min(len(best), MaxCandidates)] {
		names = append(names, p.node.Name)
	}
	return names
}

// highest appends the nodes with the highest scores, highest first, to an empty best.
func highest(best []place, nodes []ranked, seed uint64, ready bool) []place {
	for i := range nodes {
		n := &nodes[i]
		if n.Ready != ready {
			continue
		}
		p := place{n, mix(n.seed ^ seed)}
		if len(best) == MaxCandidates && p.score <= best[MaxCandidates-1].score {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, p, func(a, b place) int { return cmp.Compare(b.score, a.score) })
		best = slices.Insert(best, at, p)
		best = best[:min(len(best), MaxCandidates)]
	}
	return best
}

func digest(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b) //nolint:errcheck // it cannot fail
	return mix(h.Sum64())
}

// mix is the finalizer of MurmurHash3: each bit of the input changes half of the output.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
