// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"errors"
	"fmt"
	"maps"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/fairlead-io/fairlead/internal/state"
)

// entry is one resource in force.
type entry struct {
	version string
	body    []byte
	message proto.Message
}

// held is the complete state in force, by type URL and resource name. A held is
// never changed: with returns a new one, so that a refused change costs nothing.
type held struct {
	byType map[string]map[string]entry
	known  Types
}

func emptyHeld() *held { return &held{byType: map[string]map[string]entry{}} }

// with is the state after a response. Every fault of the response is named.
func (h *held) with(r *discovery.DeltaDiscoveryResponse) (*held, error) {
	set := typeSet(r.GetTypeUrl())
	if !set.Any() {
		return nil, fmt.Errorf("type %q was not asked for", r.GetTypeUrl())
	}
	rows := maps.Clone(h.byType[r.GetTypeUrl()])
	if rows == nil {
		rows = make(map[string]entry, len(r.GetResources()))
	}
	for _, name := range r.GetRemovedResources() {
		delete(rows, name)
	}
	var errs []error
	seen := make(map[string]bool, len(r.GetResources()))
	for _, res := range r.GetResources() {
		if seen[res.GetName()] {
			errs = append(errs, fmt.Errorf("%s %q comes twice in one response", state.ShortType(r.GetTypeUrl()), res.GetName()))
			continue
		}
		seen[res.GetName()] = true
		e, err := decode(r.GetTypeUrl(), res)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		rows[res.GetName()] = e
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	next := &held{byType: maps.Clone(h.byType), known: h.known}
	if r.GetSystemVersionInfo() != state.MoreFollows {
		next.known = h.known.union(set)
	}
	next.byType[r.GetTypeUrl()] = rows
	return next, nil
}

// decode checks that a resource is what its type and its name say.
func decode(typeURL string, res *discovery.Resource) (entry, error) {
	fail := func(format string, args ...any) (entry, error) {
		return entry{}, fmt.Errorf("%s %q: %s", state.ShortType(typeURL), res.GetName(), fmt.Sprintf(format, args...))
	}
	if got := res.GetResource().GetTypeUrl(); got != typeURL {
		return fail("it holds a message of type %q", got)
	}
	var m proto.Message
	var name func() string
	switch typeURL {
	case state.LocalNodeType:
		n := &state.LocalNode{}
		m, name = n, n.GetName
	case state.PeerNodeType:
		n := &state.PeerNode{}
		m, name = n, n.GetName
	case state.EndpointType:
		e := &state.Endpoint{}
		m, name = e, func() string { return state.EndpointName(e.GetNamespace(), e.GetName()) }
	case state.AnnouncementType:
		a := &state.Announcement{}
		m, name = a, func() string { return state.AddressName(a.GetAddress()) }
	default:
		return fail("the type is unknown to this agent")
	}
	body := res.GetResource().GetValue()
	if err := proto.Unmarshal(body, m); err != nil {
		return fail("it cannot be decoded: %v", err)
	}
	if name() != res.GetName() {
		return fail("the message is of %q", name())
	}
	return entry{version: res.GetVersion(), body: body, message: m}, nil
}

// versions are the resources of a type in force, for initial_resource_versions.
func (h *held) versions(typeURL string) map[string]string {
	rows := h.byType[typeURL]
	out := make(map[string]string, len(rows))
	for name, e := range rows {
		out[name] = e.version
	}
	return out
}

// differs names the types of which o differs from h, in content or in being known.
func (h *held) differs(o *held) Types {
	same := func(typeURL string) bool {
		return maps.EqualFunc(h.byType[typeURL], o.byType[typeURL], func(a, b entry) bool { return a.version == b.version })
	}
	return Types{
		LocalNode: h.known.LocalNode != o.known.LocalNode || !same(state.LocalNodeType),
		Peers:     h.known.Peers != o.known.Peers || !same(state.PeerNodeType),
		Endpoints: h.known.Endpoints != o.known.Endpoints || !same(state.EndpointType),

		Announcements: h.known.Announcements != o.known.Announcements || !same(state.AnnouncementType),
	}
}

// update is the state as the handler sees it.
func (h *held) update(node string, changed Types) Update {
	u := Update{
		Peers:     make(map[string]*state.PeerNode, len(h.byType[state.PeerNodeType])),
		Endpoints: make(map[string]*state.Endpoint, len(h.byType[state.EndpointType])),
		Changed:   changed,
		Known:     h.known,

		Announcements: make(map[string]*state.Announcement, len(h.byType[state.AnnouncementType])),
	}
	if e, ok := h.byType[state.LocalNodeType][node]; ok {
		u.LocalNode = e.message.(*state.LocalNode)
	}
	for name, e := range h.byType[state.PeerNodeType] {
		u.Peers[name] = e.message.(*state.PeerNode)
	}
	for name, e := range h.byType[state.EndpointType] {
		u.Endpoints[name] = e.message.(*state.Endpoint)
	}
	for name, e := range h.byType[state.AnnouncementType] {
		u.Announcements[name] = e.message.(*state.Announcement)
	}
	return u
}
