// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"slices"
	"testing"

	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

// A subscriber has heard a type when all that there was at its coming is acknowledged or
// refused, and stays so while changes are on their way: with steady changes there always
// are some.
func TestHeardWhateverChangesMeanwhile(t *testing.T) {
	l := newLab(t, serve.Options{MaxResources: 1})
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"n1": "10.0.1.0/24", "n2": "10.0.2.0/24"}))
	l.store.SetReady()
	heard := func(want bool) {
		t.Helper()
		l.status("n1", map[bool]string{true: "one that has heard all", false: "one that has not"}[want], func(st serve.NodeStatus) bool {
			return st.Connected && slices.Contains(st.Heard, state.PeerNodeType) == want
		})
	}
	s := l.subscribe("n1")
	s.want(state.PeerNodeType, nil)
	first := s.next()
	// n1 is another one already when its first version is acknowledged.
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"n1": "10.0.9.0/24", "n2": "10.0.2.0/24"}))
	s.ack(first)
	again := s.next()
	expect(t, "the changed one", names(again), []string{"n1"})
	heard(false)
	s.ack(again)
	last := s.next()
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"n1": "10.0.8.0/24", "n2": "10.0.2.0/24"}))
	s.ack(last)
	s.next() // and stays in flight
	heard(true)
	if st := l.status("n1", "not in sync", func(st serve.NodeStatus) bool { return !st.Synced() }); !slices.Contains(st.Heard, state.PeerNodeType) {
		t.Errorf("a change on its way makes it unheard: %+v", st)
	}
}

func TestHeardWithRefusalsAndWithNothing(t *testing.T) {
	l := newLab(t, serve.Options{})
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"n1": "10.0.1.0/24"}))
	l.store.SetReady()
	s := l.subscribe("n1")
	s.want(state.PeerNodeType, nil)
	s.nack(s.next(), "no room")
	l.status("n1", "one that has refused all", func(st serve.NodeStatus) bool { return len(st.Refusals) == 1 })
	s.want(state.EndpointType, nil)
	s.ack(s.next())
	l.status("n1", "one that has heard of no endpoint", func(st serve.NodeStatus) bool { return slices.Contains(st.Heard, state.EndpointType) })
	s.close()

	// What it holds already need not be sent.
	var held map[string]string
	s = l.subscribe("n1")
	s.want(state.PeerNodeType, nil)
	r := s.next()
	s.ack(r)
	held = versions(r)
	s.close()
	s = l.subscribe("n1")
	s.want(state.PeerNodeType, held)
	s.ack(s.next())
	l.status("n1", "one that has held all", func(st serve.NodeStatus) bool { return st.Connected && slices.Contains(st.Heard, state.PeerNodeType) })
}
