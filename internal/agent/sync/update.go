// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"

	"github.com/fairlead-io/fairlead/internal/state"
)

// Types is a set of resource types.
type Types struct {
	LocalNode, Peers, Endpoints, Announcements bool
}

// Any says whether the set has a member.
func (t Types) Any() bool { return t.LocalNode || t.Peers || t.Endpoints || t.Announcements }

// All says whether the set has every type.
func (t Types) All() bool { return t.LocalNode && t.Peers && t.Endpoints && t.Announcements }

func (t Types) union(o Types) Types {
	return Types{
		LocalNode: t.LocalNode || o.LocalNode,
		Peers:     t.Peers || o.Peers,
		Endpoints: t.Endpoints || o.Endpoints,

		Announcements: t.Announcements || o.Announcements,
	}
}

func typeSet(typeURL string) Types {
	return Types{
		LocalNode: typeURL == state.LocalNodeType,
		Peers:     typeURL == state.PeerNodeType,
		Endpoints: typeURL == state.EndpointType,

		Announcements: typeURL == state.AnnouncementType,
	}
}

// Update is the complete state of the agent's node after a change. The handler
// must not change what it points to; it may keep it.
type Update struct {
	// LocalNode is nil while the controllers know no such node.
	LocalNode *state.LocalNode
	// Peers by node name, the agent's own node among them.
	Peers map[string]*state.PeerNode
	// Endpoints of this node by "namespace/name".
	Endpoints map[string]*state.Endpoint
	// Announcements by address.
	Announcements map[string]*state.Announcement

	// Changed says which types differ from the last Update that was applied.
	Changed Types
	// Known says which types are complete: a controller answered for them, now or
	// before the agent restarted. An unknown type is empty because nothing has been
	// heard yet: nothing may be pruned on account of it.
	Known Types
}

// Handler brings an Update into force on the node.
type Handler interface {
	ServiceHandler
	PolicyHandler
	// Apply returns nil once the update is in force: only then is it acknowledged.
	// An error refuses the change, and its words are shown to people in the
	// NodeNetwork's status, so they should name the object, the field and the fix.
	// The refused change is not part of later updates unless it is sent again;
	// Apply may therefore do what it can and name the rest. Calls never overlap.
	Apply(ctx context.Context, u Update) error
}
