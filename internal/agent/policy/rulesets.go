// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

// ruleset is all that policies say of one direction of a pod.
type ruleset struct {
	id       datapath.RulesetID
	pods     int // that have it
	terms    []*term
	isolated datapath.CauseID
	// byPeer are the places of terms that match whatever the peer is, bySet those that name a
	// set; both ascend.
	byPeer []int
	bySet  map[*set][]int
	causes []datapath.CauseID // that were taken into use for it alone

	base   *portTable            // of class 0
	tables map[*class]*portTable // where it is another one
	memo   map[string]*portTable // by the sets of the ruleset that a class has
}

// maxMemo bounds the port tables that a ruleset remembers.
const maxMemo = 4096

// assign gives a pod's direction (its place) a ruleset; nil: it is not policed.
func (e *Engine) assign(p *pod, direction int, r *ruleset) {
	old := p.rulesets[direction]
	if old == r {
		return
	}
	p.rulesets[direction] = r
	if r != nil {
		if r.pods++; r.pods == 1 {
			e.activate(r, 1)
		}
	}
	if old != nil {
		if old.pods--; old.pods == 0 {
			e.activate(old, -1)
			e.changes.left[old] = true
		}
	}
}

// activate notes at its sets that a ruleset has pods, or none any more.
func (e *Engine) activate(r *ruleset, by int) {
	for s := range r.bySet {
		if s.active += by; s.active > 0 {
			e.changes.sets[s] = true
		}
	}
}

// judge finds the rulesets of a pod.
func (e *Engine) judge(p *pod) (out [2]*ruleset) {
	s := e.subjects[p.key()]
	if s == nil || p.UID != "" && s.uid != p.UID {
		if p.Name == "" || s == nil && !e.inScope(p.Namespace) {
			return out
		}
		return e.closed(Rule{Missing: MissingSubject})
	}
	for _, name := range s.policies {
		if e.policies[name] == nil {
			return e.closed(missing(name))
		}
	}
	list := e.order(s)
	for d := range out {
		out[d] = e.ruleset(d, list, s)
	}
	return out
}

// missing is the cause of what waits for a policy.
func missing(resource string) Rule {
	parts := strings.Split(strings.TrimPrefix(resource, "policy/"), "/")
	r := Rule{Kind: parts[0], Name: parts[len(parts)-1], Place: NoPlace, Missing: MissingPolicy}
	if len(parts) == 3 {
		r.Namespace = parts[1]
	}
	return r
}

// order are the policies of a subject in the order in which they are asked.
func (e *Engine) order(s *subject) []*policy {
	list := make([]*policy, 0, len(s.policies))
	for _, name := range s.policies {
		list = append(list, e.policies[name])
	}
	slices.SortFunc(list, comparePolicies)
	return slices.Compact(list)
}

// tierOrder is that in which tiers are asked.
var tierOrder = [...]int{state.PolicyTier_TIER_ADMIN: 0, state.PolicyTier_TIER_NAMESPACE: 1, state.PolicyTier_TIER_BASELINE: 2}

func comparePolicies(a, b *policy) int {
	if c := cmp.Compare(tierOrder[a.tier], tierOrder[b.tier]); c != 0 {
		return c
	}
	if a.tier != state.PolicyTier_TIER_NAMESPACE && a.priority != b.priority {
		return cmp.Compare(a.priority, b.priority)
	}
	return cmp.Or(strings.Compare(a.namespace, b.namespace), strings.Compare(a.name, b.name))
}

// ruleset returns the one of policies, in their order; nil if they leave the direction alone.
func (e *Engine) ruleset(direction int, list []*policy, s *subject) *ruleset {
	h := newHash(e.seed, 'r')
	h.number(uint64(direction))
	none := true
	for _, p := range list {
		side := p.sides[direction]
		if side == nil {
			continue
		}
		none = false
		h.b = append(h.b, side.digest[:]...)
		for _, name := range side.named {
			for _, o := range s.resolve(name) {
				h.number(uint64(o.protocol)<<16 | uint64(o.first))
			}
			h.number(0) // the end
		}
	}
	if none {
		return nil
	}
	id := datapath.RulesetID(h.sum())
	if r := e.rulesets[id]; r != nil {
		return r
	}
	r := newRuleset(id)
	for _, p := range list {
		if side := p.sides[direction]; side != nil {
			e.extend(r, p, side, s)
		}
	}
	e.add(r)
	return r
}

// resolve are a subject's ports of a name, sorted.
func (s *subject) resolve(name portName) (out []ports) {
	for _, o := range s.ports {
		if o.name == name.name && (name.protocol == 0 || name.protocol == o.protocol) {
			out = append(out, ports{o.protocol, o.number, o.number})
		}
	}
	slices.SortFunc(out, func(a, b ports) int {
		return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.first, b.first))
	})
	return slices.Compact(out)
}

func newRuleset(id datapath.RulesetID) *ruleset {
	return &ruleset{id: id, bySet: map[*set][]int{}, tables: map[*class]*portTable{}, memo: map[string]*portTable{}}
}

// extend adds what a policy says to a ruleset.
func (e *Engine) extend(r *ruleset, p *policy, side *side, s *subject) {
	if r.isolated == 0 {
		r.isolated = side.isolates
	}
	for i := range side.rules {
		o := &side.rules[i]
		t := &term{tier: p.tier, action: o.action, cause: o.cause, anyPort: o.anyPort, ports: o.ports}
		if len(o.named) > 0 {
			t.ports = slices.Clone(o.ports)
			for _, name := range o.named {
				t.ports = append(t.ports, s.resolve(name)...)
			}
		}
		place := len(r.terms)
		r.terms = append(r.terms, t)
		if o.anyPeer {
			r.byPeer = append(r.byPeer, place)
			continue
		}
		for _, key := range o.sets {
			var n network
			if at := slices.IndexFunc(o.networks, func(n network) bool { return n.key == key }); at >= 0 {
				n = o.networks[at]
			}
			one := e.set(key, n)
			r.bySet[one] = append(r.bySet[one], place)
		}
	}
}

// closed are rulesets that deny everything.
func (e *Engine) closed(why Rule) (out [2]*ruleset) {
	for d := range out {
		why.Direction = datapath.Direction(d) + datapath.Ingress
		if why.Missing == MissingSubject {
			why.Place = NoPlace
		}
		h := newHash(e.seed, 'x')
		h.number(uint64(e.causes.id(why)))
		id := datapath.RulesetID(h.sum())
		if out[d] = e.rulesets[id]; out[d] != nil {
			continue
		}
		r := newRuleset(id)
		r.isolated = e.causes.use(why)
		r.causes = []datapath.CauseID{r.isolated}
		e.add(r)
		out[d] = r
	}
	return out
}

// add takes a new ruleset over, which a pod is given at once.
func (e *Engine) add(r *ruleset) {
	e.rulesets[r.id] = r
	for s := range r.bySet {
		s.rulesets[r] = true
	}
	r.base = e.intern(r.decide(nil))
	r.base.users++
	e.changes.newRulesets[r] = true
}

// drop forgets a ruleset, and the sets that nobody else names.
func (e *Engine) drop(r *ruleset) {
	delete(e.rulesets, r.id)
	e.changes.tableGone(datapath.RulesetClass{Ruleset: r.id})
	e.release(r.base)
	for c, t := range r.tables {
		delete(c.rulesets, r)
		e.changes.tableGone(datapath.RulesetClass{Ruleset: r.id, Class: c.id})
		e.release(t)
	}
	for s := range r.bySet {
		if delete(s.rulesets, r); len(s.rulesets) == 0 {
			e.displace(s)
			e.forget(s)
		}
	}
	for _, id := range r.causes {
		e.causes.drop(id)
	}
}
