// SPDX-License-Identifier: Apache-2.0

package policy

import "github.com/fairlead-io/fairlead/internal/state"

// Shared is the key of Change.Scopes for what every node receives.
const Shared = ""

// Change is what has changed for whom.
type Change struct {
	// Scopes are the differences by node; Shared is that of all nodes.
	Scopes map[string]state.Delta
	// Work is what it took.
	Work Work
}

// Work counts what a change took, so that tests can bound it.
type Work struct {
	// Selectors that were compared with somebody's labels; Blocks, Policies and Subjects that
	// were encoded; Rows that were handed to nodes or taken from them.
	Selectors, Blocks, Policies, Subjects, Rows int
}

// outbox gathers what nodes have to be told; of one name the last word counts.
type outbox map[string]map[string]state.Resource

// put gives a node a resource.
func (o outbox) put(node string, r state.Resource) { o.rows(node)[r.Name] = r }

// take takes one away: a resource without a version.
func (o outbox) take(node, name string) { o.rows(node)[name] = state.Resource{} }

func (o outbox) rows(node string) map[string]state.Resource {
	rows := o[node]
	if rows == nil {
		rows = map[string]state.Resource{}
		o[node] = rows
	}
	return rows
}

func (o outbox) change() (out map[string]state.Delta, rows int) {
	out = make(map[string]state.Delta, len(o))
	for node, names := range o {
		var d state.Delta
		for name, r := range names {
			if r.Version == "" {
				d.Removed = append(d.Removed, name)
			} else {
				d.Set = append(d.Set, r)
			}
		}
		rows += len(names)
		out[node] = d
	}
	return out, rows
}
