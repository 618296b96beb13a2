// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"
	"errors"
	"fmt"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/fairlead-io/fairlead/internal/state"
)

// shelf is a book and how its changes are brought into force.
type shelf struct {
	*book
	apply func(context.Context, bookChange) error
}

// bookChange is a change of what is in a book, with messages. What the three words mean,
// ServiceUpdate says.
type bookChange struct {
	rows                  []bookRow
	known, fresh, follows bool
}

// shelf returns the one that holds a type; nil: none does.
func (c *Client) shelf(typeURL string) *shelf {
	if k, ok := kindOf(typeURL); !ok {
		return nil
	} else if k == kindPolicy {
		return c.policies
	}
	return c.services
}

// shelves are all of them, in the order in which they are loaded: what is to be forbidden
// comes first.
func (c *Client) shelves() []*shelf { return []*shelf{c.policies, c.services} }

// loadPart bounds how many resources of the saved state are handed over at once.
const loadPart = 2048

// load hands over what the last agent held. What the handler refuses of it is forgotten, so
// that the controllers send it again.
func (c *Client) load(ctx context.Context, s *shelf) {
	start := time.Now()
	if err := s.open(); err != nil {
		c.cfg.Log.Warn("the saved "+s.log.what+" cannot be used; starting without any until a controller answers", "error", err)
	}
	names := s.all()
	for at := 0; at < len(names) && ctx.Err() == nil; at += loadPart {
		c.loadSome(ctx, s, names[at:min(at+loadPart, len(names))])
	}
	if !s.complete() || ctx.Err() != nil {
		return
	}
	if err := s.apply(ctx, bookChange{known: true}); err != nil {
		c.cfg.Log.Warn("the saved "+s.log.what+" are not all in force", "error", err)
	}
	c.cfg.Log.Info("loaded the saved "+s.log.what, "resources", len(names), "duration", time.Since(start))
}

func (c *Client) loadSome(ctx context.Context, s *shelf, keys []resourceKey) {
	change := bookChange{follows: true}
	for _, k := range keys {
		m, err := s.read(k)
		if err != nil {
			c.cfg.Log.Warn("a saved resource cannot be used; the controllers will send it again", "error", err)
			s.drop(k)
			continue
		}
		change.rows = append(change.rows, bookRow{key: k, message: m})
	}
	err := s.apply(ctx, change)
	switch {
	case err == nil || ctx.Err() != nil:
	case len(keys) > 1: // find the one
		for _, k := range keys {
			c.loadSome(ctx, s, []resourceKey{k})
		}
	default:
		c.cfg.Log.Warn("a saved resource is refused; asking the controllers for it again", "error", err)
		s.drop(keys[0])
	}
}

// put brings a response into force. A refused one is taken back as a whole, whichever part of
// it was at fault: the controllers send the resources again one by one then.
func (c *Client) put(ctx context.Context, s *shelf, r *discovery.DeltaDiscoveryResponse) error {
	start := time.Now()
	rows, err := s.decode(r)
	if err != nil {
		return err
	}
	heard := r.GetSystemVersionInfo() != state.MoreFollows
	change := bookChange{rows: rows, known: s.completeWith(r.GetTypeUrl(), heard), fresh: s.freshWith(r.GetTypeUrl(), heard)}
	if len(rows) > 0 || change.known != s.complete() || change.fresh != s.fresh() {
		if err := s.apply(ctx, change); err != nil {
			return c.takeBack(ctx, s, r, rows, err)
		}
	}
	s.keep(r.GetTypeUrl(), rows, heard)
	c.cfg.Log.Debug("applied a change", "type", state.ShortType(r.GetTypeUrl()), "resources", len(r.GetResources()),
		"removed", len(r.GetRemovedResources()), "duration", time.Since(start))
	return nil
}

// takeBack hands over what was in force before a refused response.
func (c *Client) takeBack(ctx context.Context, s *shelf, r *discovery.DeltaDiscoveryResponse, rows []bookRow, cause error) error {
	if ctx.Err() != nil {
		return cause
	}
	if len(rows) == 1 {
		// The type was answered, if only with what is refused.
		s.keep(r.GetTypeUrl(), nil, r.GetSystemVersionInfo() != state.MoreFollows)
	}
	back := bookChange{known: s.complete(), fresh: s.fresh(), follows: len(rows) > 1}
	for _, row := range rows {
		before := bookRow{key: row.key}
		if s.has(row.key) {
			m, err := s.read(row.key)
			if err != nil {
				s.drop(row.key) // the next stream asks for it
				return errors.Join(cause, fmt.Errorf("what it was before cannot be put back: %w", err))
			}
			before.message = m
		}
		back.rows = append(back.rows, before)
	}
	if err := s.apply(ctx, back); err != nil {
		return errors.Join(cause, fmt.Errorf("what it was before could not be put back either: %w", err))
	}
	return cause
}
