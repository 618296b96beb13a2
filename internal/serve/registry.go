// SPDX-License-Identifier: Apache-2.0

package serve

import "sync"

// registry knows the present stream of every node. A node that reconnects before
// its old stream is noticed to be dead has two for a while: the newer one speaks
// for it, and the end of the older one is no news.
type registry struct {
	observer Observer

	mu    sync.Mutex
	nodes map[string]*registered
	owner map[uint64]string // stream -> node
}

type registered struct {
	stream uint64
	last   NodeStatus
}

func newRegistry(o Observer) *registry {
	if o == nil {
		o = ObserverFunc(func(NodeStatus) {})
	}
	return &registry{observer: o, nodes: map[string]*registered{}, owner: map[uint64]string{}}
}

func (r *registry) begin(stream uint64, node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owner[stream] = node
	if n := r.nodes[node]; n == nil {
		r.nodes[node] = &registered{stream: stream}
	} else if n.stream < stream {
		n.stream = stream
	}
}

// update publishes a status if it differs from the last one. The observer is called
// under the lock, which keeps a node's statuses in order.
func (r *registry) update(stream uint64, s NodeStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[s.Node]
	if n == nil || n.stream != stream || n.last.equal(s) {
		return
	}
	n.last = s
	r.observer.Observe(s)
}

func (r *registry) end(stream uint64, s NodeStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.owner, stream)
	n := r.nodes[s.Node]
	if n == nil || n.stream != stream {
		return
	}
	// An older stream of the node may live on: it speaks again.
	n.stream = 0
	for other, node := range r.owner {
		if node == s.Node && other > n.stream {
			n.stream = other
		}
	}
	if n.stream != 0 {
		return
	}
	delete(r.nodes, s.Node)
	r.observer.Observe(s)
}

func (r *registry) all() []NodeStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]NodeStatus, 0, len(r.nodes))
	for _, n := range r.nodes {
		out = append(out, n.last)
	}
	return out
}
