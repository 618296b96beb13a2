// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// NoPlace is the place of what is no rule.
const NoPlace = -1

// Rule is what decided on a connection, in words.
type Rule struct {
	// Kind, Namespace (empty for kinds without) and Name are those of the policy.
	Kind, Namespace, Name string
	// Tier is "admin", "namespace" or "baseline".
	Tier string
	// Place is the rule's in the object, from 0. NoPlace: no rule of it matched, and the
	// policy is the first of those that isolate the pod.
	Place int
	// RuleName is the object's name for the rule; empty: it has none.
	RuleName  string
	Direction datapath.Direction
	// Missing says what has not been heard of yet, so that the pod is closed; empty: nothing.
	Missing string
}

// What may be missing.
const (
	// MissingPolicy: a policy that selects the pod; the rule names it.
	MissingPolicy = "the policy has not come yet"
	// MissingSubject: which policies select the pod.
	MissingSubject = "it is not known yet which policies select the pod"
)

// String is the rule for people.
func (r Rule) String() string {
	if r.Missing == MissingSubject {
		return r.Missing
	}
	var b strings.Builder
	b.WriteString(r.Kind + " ")
	if r.Namespace != "" {
		b.WriteString(r.Namespace + "/")
	}
	b.WriteString(r.Name)
	switch {
	case r.Missing != "":
		b.WriteString(": " + r.Missing)
	case r.Place == NoPlace:
		b.WriteString(": no rule allows it")
	case r.RuleName != "":
		fmt.Fprintf(&b, " %s[%d] %q", directionName(r.Direction), r.Place, r.RuleName)
	default:
		fmt.Fprintf(&b, " %s[%d]", directionName(r.Direction), r.Place)
	}
	return b.String()
}

func directionName(d datapath.Direction) string {
	if d == datapath.Egress {
		return "egress"
	}
	return "ingress"
}

// causesKept bounds the causes that are remembered of policies that are no more: events about
// them may still be on their way.
const causesKept = 4096

// causes are the words of ids.
type causes struct {
	seed  []byte
	rules map[datapath.CauseID]*known
	gone  []datapath.CauseID // those without users, oldest first
}

type known struct {
	rule  Rule
	users int
}

// id gives a rule's id.
func (c *causes) id(r Rule) datapath.CauseID {
	h := newHash(c.seed, 'e')
	for _, s := range []string{r.Kind, r.Namespace, r.Name, r.Tier, r.RuleName, r.Missing} {
		h.text(s)
	}
	h.number(uint64(int64(r.Place)))
	h.number(uint64(r.Direction))
	return datapath.CauseID(h.sum())
}

// use gives a rule's id and keeps its words until as many calls of drop.
func (c *causes) use(r Rule) datapath.CauseID {
	id := c.id(r)
	k := c.rules[id]
	if k == nil {
		k = &known{rule: r}
		c.rules[id] = k
	}
	k.users++
	return id
}

func (c *causes) drop(id datapath.CauseID) {
	k := c.rules[id]
	if k == nil {
		return
	}
	if k.users--; k.users > 0 {
		return
	}
	c.gone = append(c.gone, id)
	for len(c.gone) > causesKept {
		if old := c.rules[c.gone[0]]; old != nil && old.users == 0 {
			delete(c.rules, c.gone[0])
		}
		c.gone = c.gone[1:]
	}
}

// Cause says which rule an id stands for; false for one that this node does not know.
func (e *Engine) Cause(id datapath.CauseID) (Rule, bool) {
	k := e.causes.rules[id]
	if k == nil {
		return Rule{}, false
	}
	return k.rule, true
}
