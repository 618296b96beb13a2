// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"

	"github.com/fairlead-io/fairlead/internal/state"
)

// PolicyUpdate is what became different of policies, of the peer sets that they name and of
// the pods that they select. A change costs as much as it is, as with Services.
type PolicyUpdate struct {
	Objects []*state.PolicyObject
	// Removed are the resource names of what is no more.
	Removed []string

	// Known: with this change all there is has been handed over. Before that nothing may be
	// pruned or opened, and a policy may still lack peers.
	Known bool
	// Fresh and Follows are as in ServiceUpdate.
	Fresh, Follows bool
}

// PolicyHandler brings policies into force on the node.
type PolicyHandler interface {
	// ApplyPolicies is to policies what ApplyServices is to Services.
	ApplyPolicies(ctx context.Context, u PolicyUpdate) error
}

// newPolicyShelf is the client's state of policies.
func newPolicyShelf(cfg Config, h PolicyHandler) *shelf {
	return &shelf{book: newBook(newPolicyLog(cfg), kindPolicy), apply: func(ctx context.Context, c bookChange) error {
		u := PolicyUpdate{Known: c.known, Fresh: c.fresh, Follows: c.follows}
		for _, row := range c.rows {
			if m, ok := row.message.(*state.PolicyObject); ok {
				u.Objects = append(u.Objects, m)
			} else {
				u.Removed = append(u.Removed, row.key.name)
			}
		}
		return h.ApplyPolicies(ctx, u)
	}}
}
