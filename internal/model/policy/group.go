// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"

	"github.com/fairlead-io/fairlead/internal/state"
)

// A set has twice as many blocks from defaultGrowAt pods a block on, and half as many below
// defaultShrinkAt: a set that goes to and fro is not cut anew each time.
const (
	defaultGrowAt   = 64
	defaultShrinkAt = 16
)

// group is everybody whom a selector means, once for all who use it.
type group struct {
	who
	key       string
	refs      int                  // uses, as a subject and as a peer
	subjectOf []*policy            // policies that select the members
	peerOf    map[*policy]struct{} // policies that name the members as peers
	sets      map[number]*set
	nodes     map[string]int // nodes that hold the sets: how many of their policies name them
	seen      uint64         // the membership in which it was met last
	kept      uint64
}

// number is the port of a named one. Zero: the group is not by a named port.
type number struct {
	protocol uint8
	port     uint16
}

// set is the members of a group that have a port of the group's name under one number, and
// all of them where it has none.
type set struct {
	group  *group
	number number
	name   string
	size   int
	blocks []block
	dirty  bool // some block is
}

type block struct {
	members []*member
	// given is the resource as the nodes of the group have it; without a version there is none.
	given state.Resource
	dirty bool
}

func newGroup(key string, w *who) *group {
	return &group{who: *w, key: key, peerOf: map[*policy]struct{}{}, sets: map[number]*set{}, nodes: map[string]int{}}
}

// matches says whether somebody with these labels is meant.
func (g *group) matches(n *namespace, m *member) bool {
	if !g.includes(n) || !g.pods.matches(m.labels) {
		return false
	}
	return g.port.name == "" || slices.ContainsFunc(m.ports, g.port.keeps)
}

// includes says whether pods of a namespace can be meant.
func (g *group) includes(n *namespace) bool {
	if g.namespace != "" {
		return g.namespace == n.name
	}
	return n.name != nodesNamespace && g.namespaces.matches(n.labels)
}

// numbers are the sets that a member belongs to.
func (g *group) numbers(m *member) []number {
	if g.port.name == "" {
		return []number{{}}
	}
	var out []number
	for _, p := range m.ports {
		if g.port.keeps(p) {
			out = append(out, number{p.Protocol, p.Port})
		}
	}
	return out
}

func (g *group) members(visit func(*member)) {
	for _, s := range g.sets {
		for i := range s.blocks {
			for _, m := range s.blocks[i].members {
				visit(m)
			}
		}
	}
}

// setName is the digest of who is meant, and of the number.
func setName(key string, n number) string {
	if n != (number{}) {
		key += "|" + strconv.Itoa(int(n.protocol)) + "/" + strconv.Itoa(int(n.port))
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}

func (s *set) block(m *member) *block { return &s.blocks[m.hash&uint32(len(s.blocks)-1)] }

// resource is the block's resource; one without a version where it has no addresses.
func (s *set) resource(i int) (state.Resource, error) {
	var v4, v6 []netip.Addr
	for _, m := range s.blocks[i].members {
		for _, a := range m.addresses() {
			if a.Is4() {
				v4 = append(v4, a)
			} else {
				v6 = append(v6, a)
			}
		}
	}
	if len(v4)+len(v6) == 0 {
		return state.Resource{}, nil
	}
	return state.Encode(s.blockName(i), &state.PolicyObject{Object: &state.PolicyObject_Peers{Peers: &state.PeerSet{
		Set: s.name, Block: uint32(i), Ipv4: packed(v4), Ipv6: packed(v6),
	}}})
}

func (s *set) blockName(i int) string { return "peers/" + s.name + "/" + strconv.Itoa(i) }

func packed(addresses []netip.Addr) []byte {
	slices.SortFunc(addresses, netip.Addr.Compare)
	var out []byte
	for _, a := range slices.Compact(addresses) {
		out = append(out, a.AsSlice()...)
	}
	return out
}
