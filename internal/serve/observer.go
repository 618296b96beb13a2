// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"slices"
	"time"
)

// NodeStatus is what the server knows of one subscriber.
type NodeStatus struct {
	Node string
	// AgentVersion is what the subscriber reported in its first request.
	AgentVersion string
	Connected    bool
	// LittleRoom says which of the subscriber's maps are nearly full, in its words; empty: none.
	LittleRoom string
	// Wanted is the digest over everything that the subscriber should hold;
	// Acknowledged over everything that it has acknowledged. It is in sync when they are equal.
	Wanted, Acknowledged string
	// Heard are the types of which the subscriber has acknowledged or refused everything
	// that there was when it came, in the order of its subscriptions. A type stays here
	// while later changes are on their way.
	Heard []string
	// Refusals are the refused resources, by type and name.
	Refusals []Refusal
}

// Synced says whether the subscriber holds all that it should.
func (s NodeStatus) Synced() bool { return s.Connected && s.Wanted == s.Acknowledged }

func (s NodeStatus) equal(o NodeStatus) bool {
	return s.Node == o.Node && s.AgentVersion == o.AgentVersion && s.Connected == o.Connected &&
		s.LittleRoom == o.LittleRoom && s.Wanted == o.Wanted && s.Acknowledged == o.Acknowledged && slices.Equal(s.Heard, o.Heard) &&
		slices.EqualFunc(s.Refusals, o.Refusals, func(a, b Refusal) bool {
			return a.Type == b.Type && a.Name == b.Name && a.Version == b.Version && a.Message == b.Message
		})
}

// Refusal is one resource that a subscriber refused.
type Refusal struct {
	// Type is the type URL; Name is empty when a response without a resource was refused.
	Type, Name string
	// Version is the refused version; empty when the removal was refused.
	Version string
	// Message is the subscriber's reason, in its words.
	Message string
	// At is when it was last refused.
	At time.Time
}

// Observer is told of every change of a subscriber's status. Observe must not
// block and must not call the server; calls for one node are in order.
type Observer interface {
	Observe(NodeStatus)
}

// ObserverFunc is a function as an Observer.
type ObserverFunc func(NodeStatus)

// Observe calls the function.
func (f ObserverFunc) Observe(s NodeStatus) { f(s) }
