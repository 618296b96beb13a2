// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

// term is a rule of a ruleset, without its peers: named ports have become numbers.
type term struct {
	tier    state.PolicyTier
	action  state.PolicyAction
	cause   datapath.CauseID
	anyPort bool
	ports   []ports
}

// verdict is what becomes of a port.
type verdict struct {
	allow bool
	cause datapath.CauseID
}

// decide is what terms, in their order, make of the ports of a peer that all of them match.
// isolated is the cause where NetworkPolicies isolate the pod and none allows; 0: none does.
// The result is sorted, disjoint and has every port.
func decide(terms []*term, isolated datapath.CauseID) []datapath.PortVerdict {
	other := decideProtocol(terms, isolated, 0)[0]
	out := []datapath.PortVerdict{{Allow: other.Allow, Cause: other.Cause}}
	for _, protocol := range protocols(terms) {
		list := decideProtocol(terms, isolated, protocol)
		if len(list) == 1 && list[0].Allow == other.Allow && list[0].Cause == other.Cause {
			continue
		}
		out = append(out, list...)
	}
	return slices.Clip(out)
}

// protocols are those that terms name, sorted.
func protocols(terms []*term) (out []uint8) {
	var seen [256]bool
	for _, t := range terms {
		if t.anyPort {
			continue
		}
		for _, o := range t.ports {
			seen[o.protocol] = true
		}
	}
	for n := 1; n < len(seen); n++ {
		if seen[n] {
			out = append(out, uint8(n))
		}
	}
	return out
}

// claim is what a term says of some ports.
type claim struct {
	first, last uint16
	term        *term
}

// claims are what terms of a tier say of a protocol's ports, in their order; 0: of protocols
// that no term names. What comes behind a term of all ports is left out.
func claims(terms []*term, tier state.PolicyTier, protocol uint8) (out []claim) {
	for _, t := range terms {
		if t.tier != tier {
			continue
		}
		if t.anyPort {
			return append(out, claim{0, 65535, t})
		}
		for _, o := range t.ports {
			if o.protocol != protocol {
				continue
			}
			out = append(out, claim{o.first, o.last, t})
			if o.first == 0 && o.last == 65535 {
				return out
			}
		}
	}
	return out
}

// decideProtocol is decide for one protocol.
func decideProtocol(terms []*term, isolated datapath.CauseID, protocol uint8) []datapath.PortVerdict {
	admin := claims(terms, state.PolicyTier_TIER_ADMIN, protocol)
	second, rest := state.PolicyTier_TIER_BASELINE, verdict{allow: true}
	if isolated != 0 {
		second, rest = state.PolicyTier_TIER_NAMESPACE, verdict{cause: isolated}
	}
	then := claims(terms, second, protocol)
	starts := boundaries(admin, then)
	before, after := paint(starts, admin), paint(starts, then)
	var out []datapath.PortVerdict
	for i, first := range starts {
		v := rest
		if t := before[i]; t != nil && t.action != state.PolicyAction_ACTION_PASS {
			v = verdict{t.action == state.PolicyAction_ACTION_ACCEPT, t.cause}
		} else if t := after[i]; t != nil && t.action != state.PolicyAction_ACTION_PASS {
			v = verdict{t.action == state.PolicyAction_ACTION_ACCEPT, t.cause}
		}
		last := uint16(65535)
		if i+1 < len(starts) {
			last = starts[i+1] - 1
		}
		if n := len(out); n > 0 && out[n-1].Allow == v.allow && out[n-1].Cause == v.cause {
			out[n-1].Last = last
			continue
		}
		out = append(out, datapath.PortVerdict{Protocol: protocol, First: first, Last: last, Allow: v.allow, Cause: v.cause})
	}
	return out
}

// boundaries are where intervals of ports begin within which no claim begins or ends.
func boundaries(lists ...[]claim) []uint16 {
	starts := []uint16{0}
	for _, list := range lists {
		for _, c := range list {
			starts = append(starts, c.first)
			if c.last < 65535 {
				starts = append(starts, c.last+1)
			}
		}
	}
	slices.Sort(starts)
	return slices.Compact(starts)
}

// paint gives each interval to the first claim that covers it. Intervals that are taken are
// skipped by what follows them, so that each is met once and not once a claim.
func paint(starts []uint16, list []claim) []*term {
	taken := make([]*term, len(starts))
	next := make([]int, len(starts)+1) // the first free interval from here on
	for i := range next {
		next[i] = i
	}
	free := func(i int) int {
		for next[i] != i {
			next[i] = next[next[i]]
			i = next[i]
		}
		return i
	}
	for _, c := range list {
		from, _ := slices.BinarySearch(starts, c.first)
		for i := free(from); i < len(starts) && starts[i] <= c.last; i = free(i) {
			taken[i], next[i] = c.term, i+1
		}
	}
	return taken
}

// narrower says whether something that a allows is not allowed by b. Both are as decide
// returns them.
func narrower(a, b []datapath.PortVerdict) bool {
	var all [256]bool
	for _, list := range [][]datapath.PortVerdict{a, b} {
		for _, v := range list {
			all[v.Protocol] = true
		}
	}
	for p := range all {
		if all[p] && narrowerProtocol(ofProtocol(a, uint8(p)), ofProtocol(b, uint8(p))) {
			return true
		}
	}
	return false
}

// ofProtocol are a protocol's verdicts, of all ports.
func ofProtocol(list []datapath.PortVerdict, protocol uint8) []datapath.PortVerdict {
	from := slices.IndexFunc(list, func(v datapath.PortVerdict) bool { return v.Protocol == protocol })
	if protocol == 0 || from < 0 {
		other := list[0]
		other.Last = 65535
		return []datapath.PortVerdict{other}
	}
	to := from
	for to < len(list) && list[to].Protocol == protocol {
		to++
	}
	return list[from:to]
}

func narrowerProtocol(a, b []datapath.PortVerdict) bool {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		if a[i].Allow && !b[j].Allow {
			return true
		}
		switch last := a[i].Last; {
		case last < b[j].Last:
			i++
		case last > b[j].Last:
			j++
		default:
			i, j = i+1, j+1
		}
	}
	return false
}
