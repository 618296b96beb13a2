// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

// policy is a Policy as it was told.
type policy struct {
	resource              string
	kind, namespace, name string
	tier                  state.PolicyTier
	priority              int32
	// sides are what it says of the two directions; nil: nothing.
	sides [2]*side
	// causes are those that it uses.
	causes []datapath.CauseID
}

// side is what a policy says of one direction.
type side struct {
	digest   [sha256.Size]byte
	rules    []rule
	isolates datapath.CauseID // of a NetworkPolicy: what no rule allows
	named    []portName       // that rules name, sorted and distinct
}

// rule is a PolicyRule as it was told.
type rule struct {
	place    int
	name     string
	action   state.PolicyAction
	cause    datapath.CauseID
	anyPeer  bool
	sets     []string // keys, sorted and distinct
	networks []network
	anyPort  bool
	ports    []ports
	named    []portName
}

// ports of one protocol.
type ports struct {
	protocol    uint8
	first, last uint16
}

// portName is a port of a pod by its name; protocol 0: of any protocol.
type portName struct {
	protocol uint8
	name     string
}

// network is a range of addresses, less others. Its key says it all.
type network struct {
	key     string
	cidr    netip.Prefix
	excepts []netip.Prefix
}

// at is a direction's place in arrays of two.
func at(d datapath.Direction) int { return int(d - datapath.Ingress) }

var tierNames = map[state.PolicyTier]string{
	state.PolicyTier_TIER_ADMIN: "admin", state.PolicyTier_TIER_NAMESPACE: "namespace", state.PolicyTier_TIER_BASELINE: "baseline",
}

// parsePolicy reads a policy. Its causes are taken into use; on an error none is.
func (e *Engine) parsePolicy(resource string, m *state.Policy) (*policy, error) {
	p := &policy{resource: resource, kind: state.KindClusterNetworkPolicy, namespace: m.GetNamespace(), name: m.GetName(), tier: m.GetTier(), priority: m.GetPriority()}
	if p.tier == state.PolicyTier_TIER_NAMESPACE {
		p.kind = state.KindNetworkPolicy
	}
	if tierNames[p.tier] == "" {
		return nil, fmt.Errorf("%s %s: tier is %d, which this agent does not know; is the controller of a newer release?", p.kind, p.name, p.tier)
	}
	for _, d := range []datapath.Direction{datapath.Ingress, datapath.Egress} {
		rules := m.GetIngress()
		if d == datapath.Egress {
			rules = m.GetEgress()
		}
		if rules == nil {
			continue
		}
		s, err := e.parseSide(p, d, rules)
		if err != nil {
			e.dropCauses(p)
			return nil, err
		}
		p.sides[at(d)] = s
	}
	return p, nil
}

func (e *Engine) dropCauses(p *policy) {
	for _, id := range p.causes {
		e.causes.drop(id)
	}
}

func (e *Engine) parseSide(p *policy, d datapath.Direction, m *state.PolicyRules) (*side, error) {
	s := &side{rules: make([]rule, 0, len(m.GetRules()))}
	words := Rule{Kind: p.kind, Namespace: p.namespace, Name: p.name, Tier: tierNames[p.tier], Place: NoPlace, Direction: d}
	cause := func(r Rule) datapath.CauseID {
		id := e.causes.use(r)
		p.causes = append(p.causes, id)
		return id
	}
	if p.tier == state.PolicyTier_TIER_NAMESPACE {
		s.isolates = cause(words)
	}
	for i, told := range m.GetRules() {
		r, err := parseRule(told)
		if err == nil && p.tier == state.PolicyTier_TIER_NAMESPACE && r.action != state.PolicyAction_ACTION_ACCEPT {
			err = fmt.Errorf("action is %s, a NetworkPolicy only accepts", r.action)
		}
		if err == nil && d == datapath.Egress && len(r.named) > 0 {
			err = fmt.Errorf("ports name %q, want numbers for what a pod sends", r.named[0].name)
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: %s.rules[%d]: %w", p.kind, strings.TrimPrefix(p.namespace+"/"+p.name, "/"), directionName(d), i, err)
		}
		one := words
		one.Place, one.RuleName = r.place, r.name
		r.cause = cause(one)
		s.rules = append(s.rules, r)
		s.named = append(s.named, r.named...)
	}
	slices.SortFunc(s.named, comparePortNames)
	s.named = slices.Compact(s.named)
	s.digest = e.digestSide(p, d, s)
	return s, nil
}

func comparePortNames(a, b portName) int {
	return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.protocol, b.protocol))
}

func parseRule(m *state.PolicyRule) (rule, error) {
	r := rule{place: int(m.GetPlace()), name: m.GetName(), action: m.GetAction(), anyPeer: m.GetAnyPeer(), anyPort: m.GetAnyPort()}
	if r.action < state.PolicyAction_ACTION_ACCEPT || r.action > state.PolicyAction_ACTION_PASS {
		return r, fmt.Errorf("action is %d, which this agent does not know; is the controller of a newer release?", r.action)
	}
	if !r.anyPeer {
		for _, name := range m.GetPeerSets() {
			r.sets = append(r.sets, peerKey(name))
		}
		for i, told := range m.GetNetworks() {
			n, err := parseNetwork(told)
			if err != nil {
				return r, fmt.Errorf("networks[%d]: %w", i, err)
			}
			r.networks = append(r.networks, n)
			r.sets = append(r.sets, n.key)
		}
		slices.Sort(r.sets)
		r.sets = slices.Compact(r.sets)
	}
	if r.anyPort {
		return r, nil
	}
	for i, told := range m.GetPorts() {
		switch first, last := told.GetFirst(), told.GetLast(); {
		case told.GetProtocol() > 255:
			return r, fmt.Errorf("ports[%d].protocol is %d, want at most 255", i, told.GetProtocol())
		case told.GetName() != "":
			r.named = append(r.named, portName{uint8(told.GetProtocol()), strings.Clone(told.GetName())})
		case told.GetProtocol() == 0:
			return r, fmt.Errorf("ports[%d].protocol is 0, want an IANA number where there is no name", i)
		case first > last || last > 65535:
			return r, fmt.Errorf("ports[%d] is %d to %d, want at most 65535 and the lower one first", i, first, last)
		case first == 0 && last == 0:
			r.ports = append(r.ports, ports{uint8(told.GetProtocol()), 0, 65535})
		default:
			r.ports = append(r.ports, ports{uint8(told.GetProtocol()), uint16(first), uint16(last)})
		}
	}
	return r, nil
}

// peerKey is the key of a peer set; those of networks begin otherwise.
func peerKey(name string) string { return "p" + name }

func parseNetwork(m *state.PolicyNetwork) (network, error) {
	cidr, err := parsePrefix(m)
	if err != nil {
		return network{}, err
	}
	n := network{cidr: cidr}
	for i, told := range m.GetExcept() {
		x, err := parsePrefix(told)
		switch {
		case err != nil:
			return n, fmt.Errorf("except[%d]: %w", i, err)
		case len(told.GetExcept()) > 0:
			return n, fmt.Errorf("except[%d] has exceptions of its own, want none", i)
		case !cidr.Contains(x.Addr()) || x.Bits() < cidr.Bits():
			return n, fmt.Errorf("except[%d] is %s, which is not within %s", i, x, cidr)
		}
		n.excepts = append(n.excepts, x)
	}
	slices.SortFunc(n.excepts, netip.Prefix.Compare)
	n.excepts = slices.Compact(n.excepts)
	var key strings.Builder
	key.WriteString("n" + cidr.String())
	for _, x := range n.excepts {
		key.WriteString("-" + x.String())
	}
	n.key = key.String()
	return n, nil
}

func parsePrefix(m *state.PolicyNetwork) (netip.Prefix, error) {
	a, ok := netip.AddrFromSlice(m.GetAddress())
	if !ok || a.Is4In6() {
		return netip.Prefix{}, fmt.Errorf("address is %x, want 4 or 16 bytes of an IPv4 or IPv6 address", m.GetAddress())
	}
	if m.GetBits() > uint32(a.BitLen()) {
		return netip.Prefix{}, fmt.Errorf("bits is %d, want at most %d", m.GetBits(), a.BitLen())
	}
	p := netip.PrefixFrom(a, int(m.GetBits()))
	if p.Masked() != p {
		return netip.Prefix{}, fmt.Errorf("%s has bits behind the prefix, want %s", p, p.Masked())
	}
	return p, nil
}

// digestSide is of all that a side says, its words included.
func (e *Engine) digestSide(p *policy, d datapath.Direction, s *side) [sha256.Size]byte {
	h := newHash(e.seed, 'p')
	h.text(p.resource)
	for _, n := range []uint64{uint64(p.tier), uint64(int64(p.priority)), uint64(d), uint64(len(s.rules))} {
		h.number(n)
	}
	for i := range s.rules {
		r := &s.rules[i]
		h.number(uint64(r.cause)) // place and name
		h.number(uint64(r.action))
		h.flag(r.anyPeer)
		h.number(uint64(len(r.sets)))
		for _, key := range r.sets {
			h.text(key)
		}
		h.flag(r.anyPort)
		h.number(uint64(len(r.ports)))
		for _, o := range r.ports {
			h.number(uint64(o.protocol)<<32 | uint64(o.first)<<16 | uint64(o.last))
		}
		h.number(uint64(len(r.named)))
		for _, o := range r.named {
			h.number(uint64(o.protocol))
			h.text(o.name)
		}
	}
	return h.whole()
}
