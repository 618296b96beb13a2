// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
)

// Peer is the probe's pod on a node.
type Peer struct {
	Node string
	// Addresses of the pod.
	Addresses []netip.Addr
}

// Source calls found with all peers that are ready, oneself among them, now and at every
// change, until the context ends.
type Source func(ctx context.Context, found func([]Peer)) error

// Static is a Source of peers that do not change.
func Static(all ...Peer) Source {
	return func(ctx context.Context, found func([]Peer)) error {
		found(all)
		<-ctx.Done()
		return nil
	}
}

// roster has the peers as they were found last.
type roster struct {
	mu      sync.Mutex
	all     []Peer
	changed chan struct{}
}

// set replaces all peers.
func (r *roster) set(all []Peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = slices.SortedFunc(slices.Values(all), func(a, b Peer) int { return cmp.Compare(a.Node, b.Node) })
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// get returns all peers by the names of their nodes, and a channel that is closed when they
// are others.
func (r *roster) get() ([]Peer, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.all, r.changed
}
