// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/fairlead-io/fairlead/internal/state"
)

// ServiceUpdate is a change of the cluster's Services. Unlike an Update it holds what
// changed and no more: there may be 10,000 of them.
type ServiceUpdate struct {
	Services         []*state.Service
	RemovedServices  []string // "namespace/name"
	Endpoints        []*state.ServiceEndpoints
	RemovedEndpoints []string // "namespace/slicename"
	// Known: with this change all Services and their endpoints are known. Nothing may be
	// pruned before.
	Known bool
}

// ServiceHandler brings changes of Services into force. It keeps what it is told of:
// messages are not kept here.
type ServiceHandler interface {
	// ApplyServices returns nil once the change is in force. An error refuses it, in
	// words for people; the client then tells the handler of what there was before. Calls
	// never overlap, nor do they those of Handler.Apply.
	ApplyServices(ctx context.Context, u ServiceUpdate) error
}

// serviceTypes are those that are kept in a book, in the order in which they are of use.
var serviceTypes = []string{state.ServiceEndpointsType, state.ServiceType}

func isServiceType(typeURL string) bool { return slices.Contains(serviceTypes, typeURL) }

// bookRow is a resource in force, encoded.
type bookRow struct {
	version string
	body    []byte
}

// serviceBook is the Services in force. Unlike held it is changed in place, since it is large.
type serviceBook struct {
	rows  map[string]map[string]bookRow // by type URL and name
	known map[string]bool
}

func newServiceBook() *serviceBook {
	b := &serviceBook{rows: map[string]map[string]bookRow{}, known: map[string]bool{}}
	for _, t := range serviceTypes {
		b.rows[t] = map[string]bookRow{}
	}
	return b
}

func (b *serviceBook) allKnown() bool { return len(b.known) == len(serviceTypes) }

func (b *serviceBook) versions(typeURL string) map[string]string {
	out := make(map[string]string, len(b.rows[typeURL]))
	for name, r := range b.rows[typeURL] {
		out[name] = r.version
	}
	return out
}

// clone copies the book's index; the bodies are shared.
func (b *serviceBook) clone() *serviceBook {
	c := &serviceBook{rows: map[string]map[string]bookRow{}, known: maps.Clone(b.known)}
	for t, rows := range b.rows {
		c.rows[t] = maps.Clone(rows)
	}
	return c
}

// serviceChange is a response on its way into the book.
type serviceChange struct {
	typeURL string
	set     map[string]bookRow
	removed []string
	update  ServiceUpdate
}

// empty says that there is nothing to bring into force.
func (c *serviceChange) empty() bool { return len(c.set)+len(c.removed) == 0 }

// read checks a response and reduces it to what differs. Every fault is named.
func (b *serviceBook) read(r *discovery.DeltaDiscoveryResponse) (*serviceChange, error) {
	c := &serviceChange{typeURL: r.GetTypeUrl(), set: map[string]bookRow{}}
	rows := b.rows[c.typeURL]
	for _, name := range r.GetRemovedResources() {
		if _, ok := rows[name]; ok {
			c.remove(name)
		}
	}
	var errs []error
	for _, res := range r.GetResources() {
		name := res.GetName()
		if _, twice := c.set[name]; twice {
			errs = append(errs, fmt.Errorf("%s %q comes twice in one response", state.ShortType(c.typeURL), name))
			continue
		}
		if have, ok := rows[name]; ok && have.version == res.GetVersion() {
			continue
		}
		if got := res.GetResource().GetTypeUrl(); got != c.typeURL {
			errs = append(errs, fmt.Errorf("%s %q: it holds a message of type %q", state.ShortType(c.typeURL), name, got))
			continue
		}
		body := slices.Clone(res.GetResource().GetValue()) // not the whole response
		if err := c.add(name, body); err != nil {
			errs = append(errs, err)
			continue
		}
		c.set[name] = bookRow{res.GetVersion(), body}
	}
	return c, errors.Join(errs...)
}

func (c *serviceChange) remove(name string) {
	c.removed = append(c.removed, name)
	if c.typeURL == state.ServiceType {
		c.update.RemovedServices = append(c.update.RemovedServices, name)
	} else {
		c.update.RemovedEndpoints = append(c.update.RemovedEndpoints, name)
	}
}

// add decodes a resource into the update.
func (c *serviceChange) add(name string, body []byte) error {
	var m proto.Message
	var own string
	var err error
	if c.typeURL == state.ServiceType {
		s := &state.Service{}
		err = proto.Unmarshal(body, s)
		m, own = s, s.GetNamespace()+"/"+s.GetName()
	} else {
		e := &state.ServiceEndpoints{}
		err = proto.Unmarshal(body, e)
		m, own = e, e.GetNamespace()+"/"+e.GetName()
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s %q: it cannot be decoded: %w", state.ShortType(c.typeURL), name, err)
	case own != name:
		return fmt.Errorf("%s %q: the message is of %q", state.ShortType(c.typeURL), name, own)
	}
	switch m := m.(type) {
	case *state.Service:
		c.update.Services = append(c.update.Services, m)
	case *state.ServiceEndpoints:
		c.update.Endpoints = append(c.update.Endpoints, m)
	}
	return nil
}

// inverse is the update that takes a change back.
func (b *serviceBook) inverse(c *serviceChange) ServiceUpdate {
	back := &serviceChange{typeURL: c.typeURL}
	rows := b.rows[c.typeURL]
	names := slices.Concat(slices.Sorted(maps.Keys(c.set)), c.removed)
	for _, name := range names {
		if have, ok := rows[name]; !ok || back.add(name, have.body) != nil {
			back.remove(name)
		}
	}
	return back.update
}

// commit makes a change part of the book.
func (b *serviceBook) commit(c *serviceChange) {
	for name, row := range c.set {
		b.rows[c.typeURL][name] = row
	}
	for _, name := range c.removed {
		delete(b.rows[c.typeURL], name)
	}
}

// whole says that with a response a type is known: nothing of what was there when the agent
// subscribed follows.
func whole(r *discovery.DeltaDiscoveryResponse) bool {
	return r.GetSystemVersionInfo() != state.MoreFollows
}

// everything is the update that an empty handler needs.
func (b *serviceBook) everything() (ServiceUpdate, error) {
	all := ServiceUpdate{Known: b.allKnown()}
	var errs []error
	for _, t := range serviceTypes {
		c := &serviceChange{typeURL: t}
		for name, row := range b.rows[t] {
			errs = append(errs, c.add(name, row.body))
		}
		all.Services = append(all.Services, c.update.Services...)
		all.Endpoints = append(all.Endpoints, c.update.Endpoints...)
	}
	return all, errors.Join(errs...)
}

// applyServices brings a response of a Service type into force: all of it, or nothing.
func (c *Client) applyServices(ctx context.Context, r *discovery.DeltaDiscoveryResponse) error {
	change, err := c.services.read(r)
	if err != nil {
		return err
	}
	knew := c.services.allKnown()
	known := c.services.known[change.typeURL]
	if change.empty() && known {
		return nil
	}
	if whole(r) {
		c.services.known[change.typeURL] = true
	}
	change.update.Known = c.services.allKnown()
	start := time.Now()
	if change.empty() && knew == change.update.Known {
		return nil
	}
	if err := c.handler.ApplyServices(ctx, change.update); err != nil {
		if ctx.Err() != nil {
			return err
		}
		back := c.services.inverse(change)
		back.Known = change.update.Known
		if undo := c.handler.ApplyServices(ctx, back); undo != nil {
			err = errors.Join(err, fmt.Errorf("what there was before could not be put back either: %w", undo))
		}
		return err
	}
	c.saving.Lock()
	c.services.commit(change)
	c.saving.Unlock()
	signal(c.dirtyServices)
	c.cfg.Log.Debug("applied a change of Services", "type", state.ShortType(change.typeURL), "resources", len(change.set),
		"removed", len(change.removed), "duration", time.Since(start))
	return nil
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
