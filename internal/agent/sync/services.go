// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"
	"errors"
	"fmt"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

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

func (c *ServiceUpdate) empty() bool {
	return len(c.Services)+len(c.Endpoints)+len(c.RemovedServices)+len(c.RemovedEndpoints) == 0
}

// ServiceHandler brings Services into force on the node.
type ServiceHandler interface {
	// ApplyServices returns nil once the change is in force: only then is it acknowledged.
	// An error refuses the change, in words as Handler.Apply's. What it was before follows
	// as another change then. The messages are the handler's. Calls never overlap, nor with
	// those of Handler.Apply.
	ApplyServices(ctx context.Context, u ServiceUpdate) error
}

// loadPart bounds how many resources of the saved state are handed over at once.
const loadPart = 2048

// loadServices hands over what the last agent held. What the handler refuses of it is
// forgotten, so that the controllers send it again.
func (c *Client) loadServices(ctx context.Context) {
	start := time.Now()
	if err := c.services.open(); err != nil {
		c.cfg.Log.Warn("the saved Services cannot be used; starting without any until a controller answers", "error", err)
	}
	names := c.services.all()
	for at := 0; at < len(names) && ctx.Err() == nil; at += loadPart {
		c.loadSome(ctx, names[at:min(at+loadPart, len(names))])
	}
	if !c.services.complete() || ctx.Err() != nil {
		return
	}
	if err := c.handler.ApplyServices(ctx, ServiceUpdate{Known: true}); err != nil {
		c.cfg.Log.Warn("the saved Services are not all in force", "error", err)
	}
	c.cfg.Log.Info("loaded the saved Services", "resources", len(names), "duration", time.Since(start))
}

func (c *Client) loadSome(ctx context.Context, keys []resourceKey) {
	change := ServiceUpdate{Follows: true}
	for _, k := range keys {
		m, err := c.services.read(k)
		if err != nil {
			c.cfg.Log.Warn("a saved resource cannot be used; the controllers will send it again", "error", err)
			c.services.drop(k)
			continue
		}
		change.set(m)
	}
	err := c.handler.ApplyServices(ctx, change)
	switch {
	case err == nil || ctx.Err() != nil:
	case len(keys) > 1: // find the one
		for _, k := range keys {
			c.loadSome(ctx, []resourceKey{k})
		}
	default:
		c.cfg.Log.Warn("a saved resource is refused; asking the controllers for it again", "error", err)
		c.services.drop(keys[0])
	}
}

// set takes a message of one of the two types over.
func (c *ServiceUpdate) set(m proto.Message) {
	switch m := m.(type) {
	case *state.Service:
		c.Services = append(c.Services, m)
	case *state.ServiceEndpoints:
		c.Endpoints = append(c.Endpoints, m)
	}
}

// remove takes the name of a resource that is no more over.
func (c *ServiceUpdate) remove(k resourceKey) {
	if k.kind == kindService {
		c.RemovedServices = append(c.RemovedServices, k.name)
	} else {
		c.RemovedEndpoints = append(c.RemovedEndpoints, k.name)
	}
}

// applyServices brings a response of one of the two types into force. A refused one is
// taken back as a whole, whichever part of it was at fault: the controllers send the
// resources again one by one then.
func (c *Client) applyServices(ctx context.Context, r *discovery.DeltaDiscoveryResponse) error {
	start := time.Now()
	change, rows, err := c.services.decode(r)
	if err != nil {
		return err
	}
	wasKnown, wasFresh := c.services.complete(), c.services.fresh()
	heard := r.GetSystemVersionInfo() != state.MoreFollows
	change.Known = c.services.completeWith(r.GetTypeUrl(), heard)
	change.Fresh = c.services.freshWith(r.GetTypeUrl(), heard)
	if !change.empty() || change.Known != wasKnown || change.Fresh != wasFresh {
		if err := c.handler.ApplyServices(ctx, change); err != nil {
			return c.takeBack(ctx, r, rows, err)
		}
	}
	c.services.keep(r.GetTypeUrl(), rows, heard)
	c.cfg.Log.Debug("applied a change", "type", state.ShortType(r.GetTypeUrl()), "resources", len(r.GetResources()),
		"removed", len(r.GetRemovedResources()), "duration", time.Since(start))
	return nil
}

// takeBack hands over what was in force before a refused response.
func (c *Client) takeBack(ctx context.Context, r *discovery.DeltaDiscoveryResponse, rows []bookRow, cause error) error {
	if ctx.Err() != nil {
		return cause
	}
	if len(rows) == 1 {
		// The type was answered, if only with what is refused.
		c.services.keep(r.GetTypeUrl(), nil, r.GetSystemVersionInfo() != state.MoreFollows)
	}
	back := ServiceUpdate{Known: c.services.complete(), Fresh: c.services.fresh(), Follows: len(rows) > 1}
	for _, row := range rows {
		if !c.services.has(row.key) {
			back.remove(row.key)
			continue
		}
		m, err := c.services.read(row.key)
		if err != nil {
			c.services.drop(row.key) // the next stream asks for it
			return errors.Join(cause, fmt.Errorf("what it was before cannot be put back: %w", err))
		}
		back.set(m)
	}
	if err := c.handler.ApplyServices(ctx, back); err != nil {
		return errors.Join(cause, fmt.Errorf("what it was before could not be put back either: %w", err))
	}
	return cause
}
