// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// requirement is one of those that labels must meet: op is '=' (one of the values), '!' (none
// of them, or no label), '+' (there is a label) or '-' (there is none).
type requirement struct {
	key    string
	op     byte
	values []string
}

// requirements are a label selector in canonical order; none: everything matches.
type requirements []requirement

// parseSelector reads a label selector; nil selects nothing in Kubernetes and is the caller's.
func parseSelector(s *metav1.LabelSelector) (requirements, error) {
	var out requirements
	add := func(key string, op selection.Operator, letter byte, values []string) error {
		if _, err := labels.NewRequirement(key, op, values); err != nil {
			return err
		}
		values = slices.Clone(values)
		slices.Sort(values)
		out = append(out, requirement{key, letter, slices.Compact(values)})
		return nil
	}
	for key, value := range s.MatchLabels {
		if err := add(key, selection.In, '=', []string{value}); err != nil {
			return nil, err
		}
	}
	for _, e := range s.MatchExpressions {
		op, letter := selection.Operator(""), byte(0)
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			op, letter = selection.In, '='
		case metav1.LabelSelectorOpNotIn:
			op, letter = selection.NotIn, '!'
		case metav1.LabelSelectorOpExists:
			op, letter = selection.Exists, '+'
		case metav1.LabelSelectorOpDoesNotExist:
			op, letter = selection.DoesNotExist, '-'
		default:
			op = selection.Operator(e.Operator) // refused below
		}
		if err := add(e.Key, op, letter, e.Values); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, requirement.compare)
	return slices.CompactFunc(out, func(a, b requirement) bool { return a.compare(b) == 0 }), nil
}

func (r requirement) compare(o requirement) int {
	return cmp.Or(strings.Compare(r.key, o.key), cmp.Compare(r.op, o.op), slices.Compare(r.values, o.values))
}

func (r requirement) matches(l map[string]string) bool {
	value, has := l[r.key]
	switch r.op {
	case '=':
		return has && slices.Contains(r.values, value)
	case '!':
		return !has || !slices.Contains(r.values, value)
	case '+':
		return has
	}
	return !has
}

func (rs requirements) matches(l map[string]string) bool {
	for _, r := range rs {
		if !r.matches(l) {
			return false
		}
	}
	return true
}

// text is the canonical form. Neither keys nor values of labels hold its signs.
func (rs requirements) text() string {
	var b strings.Builder
	for _, r := range rs {
		b.WriteString(r.key)
		b.WriteByte(r.op)
		b.WriteString(strings.Join(r.values, ","))
		b.WriteByte(';')
	}
	return b.String()
}

// nodesNamespace holds the nodes as members. No namespace can have the name.
const nodesNamespace = "/"

// portFilter keeps the pods that have a port of a name. Protocol 0 is any.
type portFilter struct {
	name     string
	protocol uint8
}

func (f portFilter) keeps(p NamedPort) bool {
	return f.name == p.Name && (f.protocol == 0 || f.protocol == p.Protocol)
}

// who says who is meant: the pods that match, of one namespace or of those that match.
type who struct {
	namespace  string // the one namespace; empty: all that match namespaces
	namespaces requirements
	pods       requirements
	port       portFilter // without a name: whatever ports there are
}

// key is the canonical form: equal ones mean the same pods.
func (w *who) key() string {
	where := "n" + w.namespaces.text()
	if w.namespace != "" {
		where = "i" + w.namespace
	}
	key := where + "|" + w.pods.text()
	if w.port.name != "" {
		key += "|" + w.port.name + "|" + string('0'+rune(w.port.protocol))
	}
	return key
}

// anchor is something that every member has, by which a group is found: a label of the pod
// ('p') or of its namespace ('n') with a value, or with any (value empty, any set).
type anchor struct {
	of         byte
	any        bool
	key, value string
}

// anchors are where a group is looked for: each member has exactly one of them. The zero
// anchor is had by all.
func (w *who) anchors() []anchor {
	if a := anchorsOf('p', w.pods); a != nil {
		return a
	}
	if w.namespace == "" {
		if a := anchorsOf('n', w.namespaces); a != nil {
			return a
		}
	}
	return []anchor{{}}
}

func anchorsOf(of byte, rs requirements) []anchor {
	var best *requirement
	for i := range rs {
		r := &rs[i]
		if r.op == '+' && best == nil || r.op == '=' && (best == nil || best.op == '+' || len(r.values) < len(best.values)) {
			best = r
		}
	}
	if best == nil {
		return nil
	}
	if best.op == '+' {
		return []anchor{{of: of, any: true, key: best.key}}
	}
	out := make([]anchor, 0, len(best.values))
	for _, v := range best.values {
		out = append(out, anchor{of: of, key: best.key, value: v})
	}
	return out
}
