// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"

	"github.com/fairlead-io/fairlead/internal/state"
)

// ServiceUpdate is what became different of Services and their endpoints. There may be a
// hundred thousand endpoints, so that their complete state is never handed over, as an
// Update is: a change costs as much as it is.
type ServiceUpdate struct {
	Services  []*state.Service
	Endpoints []*state.ServiceEndpoints
	// Names of what is no more.
	RemovedServices, RemovedEndpoints []string

	// Known: with this change all Services and endpoints there are have been handed over.
	// Before that nothing may be pruned, and a Service may still lack endpoints.
	Known bool
	// Fresh: all of it is what a controller said since this agent started. Else a part is
	// what an earlier agent held, and may be some seconds older than what that one had
	// brought into force.
	Fresh bool
	// Follows: another change follows at once, so that this one alone need not be brought
	// into force.
	Follows bool
}

// ServiceHandler brings Services into force on the node.
type ServiceHandler interface {
	// ApplyServices returns nil once the change is in force: only then is it acknowledged.
	// An error refuses the change, in words as Handler.Apply's. What it was before follows
	// as another change then. The messages are the handler's. Calls never overlap, nor with
	// those of Handler.Apply.
	ApplyServices(ctx context.Context, u ServiceUpdate) error
}

// newServiceShelf is the client's state of Services.
func newServiceShelf(cfg Config, h ServiceHandler) *shelf {
	return &shelf{book: newBook(newServiceLog(cfg), kindEndpoints, kindService), apply: func(ctx context.Context, c bookChange) error {
		u := ServiceUpdate{Known: c.known, Fresh: c.fresh, Follows: c.follows}
		for _, row := range c.rows {
			switch m := row.message.(type) {
			case *state.Service:
				u.Services = append(u.Services, m)
			case *state.ServiceEndpoints:
				u.Endpoints = append(u.Endpoints, m)
			case nil:
				u.remove(row.key)
			}
		}
		return h.ApplyServices(ctx, u)
	}}
}

// remove takes the name of a resource that is no more over.
func (u *ServiceUpdate) remove(k resourceKey) {
	if k.kind == kindService {
		u.RemovedServices = append(u.RemovedServices, k.name)
	} else {
		u.RemovedEndpoints = append(u.RemovedEndpoints, k.name)
	}
}
