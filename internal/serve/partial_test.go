// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"testing"

	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

// A subscriber prunes nothing before it has heard all that there was: each response but
// the last one of these says that more follows, and one that does not always comes.
func TestMoreFollowsUntilAllIsSent(t *testing.T) {
	l := newLab(t, serve.Options{MaxResources: 1})
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"n1": "10.0.1.0/24", "n2": "10.0.2.0/24", "n3": "10.0.3.0/24"}))
	l.store.SetReady()
	s := l.subscribe("n1")
	s.want(state.PeerNodeType, nil)
	first := s.next()
	expect(t, "the mark of the first of three", first.GetSystemVersionInfo(), state.MoreFollows)
	// The last one vanishes before its turn: there is nothing to send of it, so that
	// n2 is what completes the type.
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"n1": "10.0.1.0/24", "n2": "10.0.2.0/24"}))
	s.ack(first)
	last := s.next()
	expect(t, "the last one", names(last), []string{"n2"})
	expect(t, "its mark", last.GetSystemVersionInfo(), "")
	s.ack(last)

	// What comes later is complete by itself.
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"n1": "10.0.9.0/24", "n2": "10.0.9.0/24"}))
	for range 2 {
		r := s.next()
		expect(t, "the mark of a change", r.GetSystemVersionInfo(), "")
		s.ack(r)
	}
	held := map[string]string{}
	s.close()
	s = l.subscribe("n1")
	s.want(state.PeerNodeType, held)
	first = s.next()
	expect(t, "the mark of the first of two", first.GetSystemVersionInfo(), state.MoreFollows)
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"n1": "10.0.9.0/24"}))
	s.ack(first)
	r := s.next()
	expect(t, "names of what closes the type", len(names(r)), 0)
	expect(t, "its mark", r.GetSystemVersionInfo(), "")
	s.ack(r)
}

// A subscriber that holds what follows in the order of names is sent a complete type.
func TestNothingFollowsWhatIsHeld(t *testing.T) {
	l := newLab(t, serve.Options{MaxResources: 1})
	all := peers(t, map[string]string{"n1": "10.0.1.0/24", "n2": "10.0.2.0/24"})
	l.store.Swap(serve.Shared, state.PeerNodeType, all)
	l.store.SetReady()
	held := map[string]string{}
	for _, r := range all {
		if r.Name == "n2" {
			held["n2"] = r.Version
		}
	}
	s := l.subscribe("n1")
	s.want(state.PeerNodeType, held)
	r := s.next()
	expect(t, "what it lacks", names(r), []string{"n1"})
	expect(t, "the mark", r.GetSystemVersionInfo(), "")
	s.ack(r)
}
