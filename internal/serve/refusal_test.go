// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

// picky answers until nothing more comes: it refuses every response that refuse
// finds fault with. It returns what it holds and how often each name was refused.
func picky(s *subscriber, held map[string]string, refuse func(held map[string]string, r *discovery.DeltaDiscoveryResponse) string) (responses, refusals int) {
	for {
		select {
		case r := <-s.in:
			responses++
			if words := refuse(held, r); words != "" {
				refusals++
				s.nack(r, words)
				continue
			}
			maps.Copy(held, versions(r))
			for _, name := range r.RemovedResources {
				delete(held, name)
			}
			s.ack(r)
		case err := <-s.err:
			s.t.Fatal(err)
		case <-time.After(quiet):
			return responses, refusals
		}
	}
}

// has refuses responses that hold one of the names.
func has(bad ...string) func(map[string]string, *discovery.DeltaDiscoveryResponse) string {
	return func(_ map[string]string, r *discovery.DeltaDiscoveryResponse) string {
		for _, name := range names(r) {
			if slices.Contains(bad, name) {
				return "cannot use " + name
			}
		}
		return ""
	}
}

func TestCulpritIsIsolated(t *testing.T) {
	for _, c := range []struct {
		name string
		bad  []string
	}{
		{"one", []string{"node-0013"}},
		{"the first and the last", []string{"node-0000", "node-0063"}},
		{"neighbours", []string{"node-0030", "node-0031", "node-0032"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, serve.Options{RetryRefused: time.Hour})
			content := manyPeers(64)
			l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
			l.store.SetReady()
			s := l.subscribe("n1")
			s.want(state.PeerNodeType, nil)
			held := map[string]string{}
			responses, refusals := picky(s, held, has(c.bad...))
			expect(t, "accepted", len(held), 64-len(c.bad))
			if refusals > len(c.bad)*8 || responses > len(c.bad)*15 {
				t.Errorf("%d responses, %d refused: that is no search by halves", responses, refusals)
			}
			st := l.status("n1", "showing the refusals", func(st serve.NodeStatus) bool { return len(st.Refusals) == len(c.bad) })
			for i, r := range st.Refusals {
				expect(t, "refused", r.Name+": "+r.Message, c.bad[i]+": cannot use "+c.bad[i])
			}

			// Others' changes pass, and do not bring the culprits along.
			content["node-0005"] = "10.200.0.0/24"
			l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
			r := s.next()
			expect(t, "next response", names(r), []string{"node-0005"})
			s.ack(r)
			s.nothing()

			// Nor do they come back when their content changes and changes back unseen.
			content["node-0005"] = "10.202.0.0/24"
			l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
			r = s.next()
			other := maps.Clone(content)
			other[c.bad[0]] = "10.203.0.0/24"
			l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, other))
			l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
			s.ack(r)
			s.nothing()

			// New content is a new chance, and acceptance clears the record.
			for _, name := range c.bad {
				content[name] = "10.201." + name[len(name)-2:] + ".0/24"
			}
			l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
			picky(s, held, has())
			expect(t, "accepted", len(held), 64)
			l.status("n1", "clear of refusals", func(st serve.NodeStatus) bool { return len(st.Refusals) == 0 })
		})
	}
}

func TestLastGoodVersionCounts(t *testing.T) {
	l := newLab(t, serve.Options{RetryRefused: time.Hour})
	content := map[string]string{"a": "10.0.1.0/24", "b": "10.0.2.0/24"}
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
	l.store.SetReady()
	s := l.subscribe("n1")
	held := map[string]string{}
	for _, typeURL := range state.AgentTypes {
		s.want(typeURL, nil)
	}
	picky(s, held, has())
	l.status("n1", "in sync", serve.NodeStatus.Synced)
	good := held["a"]

	content["a"] = "10.0.9.0/24"
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
	picky(s, held, has("a"))
	expect(t, "a at its last good version", held["a"], good)
	l.status("n1", "refusing", func(st serve.NodeStatus) bool { return len(st.Refusals) == 1 && !st.Synced() })

	// Back to the old content: nothing to send, and in sync again.
	content["a"] = "10.0.1.0/24"
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
	l.status("n1", "in sync again", func(st serve.NodeStatus) bool { return len(st.Refusals) == 0 && st.Synced() })
	s.nothing()

	// A removal may be refused, too.
	delete(content, "a")
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
	r := s.next()
	expect(t, "removed", r.RemovedResources, []string{"a"})
	s.nack(r, "a is in use")
	l.status("n1", "refusing the removal", func(st serve.NodeStatus) bool {
		return len(st.Refusals) == 1 && st.Refusals[0].Version == "" && st.Refusals[0].Message == "a is in use"
	})
	s.nothing()
}

func TestRefusedIsTriedAgainAfterAPause(t *testing.T) {
	l := newLab(t, serve.Options{RetryRefused: 20 * time.Millisecond, MaxRetryRefused: 40 * time.Millisecond})
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"a": "10.0.1.0/24", "b": "10.0.2.0/24"}))
	l.store.SetReady()
	s := l.subscribe("n1")
	s.want(state.PeerNodeType, nil)
	tries := 0
	for tries < 4 {
		r := s.next()
		if slices.Contains(names(r), "b") {
			tries++
			s.nack(r, fmt.Sprintf("busy (%d)", tries))
			continue
		}
		s.ack(r)
	}
	l.status("n1", "showing the latest words", func(st serve.NodeStatus) bool {
		return len(st.Refusals) == 1 && st.Refusals[0].Message == "busy (4)"
	})
	r := s.next()
	expect(t, "alone", names(r), []string{"b"})
	s.ack(r)
	l.status("n1", "clear of refusals", func(st serve.NodeStatus) bool { return len(st.Refusals) == 0 })
	s.nothing()
}

// A range moves from one node to another. Whoever applies the two singly in the
// wrong order sees two nodes with one range.
func TestRefusedForTheOrderIsTriedAgainAtOnce(t *testing.T) {
	l := newLab(t, serve.Options{RetryRefused: time.Hour})
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"a": "10.0.2.0/24", "b": "10.0.1.0/24", "c": "10.0.3.0/24"}))
	l.store.SetReady()
	s := l.subscribe("n1")
	s.want(state.PeerNodeType, nil)
	held := map[string]string{}
	picky(s, held, has())
	old := held["b"]

	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"a": "10.0.1.0/24", "b": "10.0.4.0/24", "c": "10.0.5.0/24"}))
	_, refusals := picky(s, held, func(held map[string]string, r *discovery.DeltaDiscoveryResponse) string {
		if slices.Contains(names(r), "a") && held["b"] == old {
			return "a overlaps b" // even in one response: somebody who cannot do better
		}
		return ""
	})
	if refusals == 0 {
		t.Fatal("the case did not happen")
	}
	l.status("n1", "clear of refusals", func(st serve.NodeStatus) bool { return len(st.Refusals) == 0 })
	if held["b"] == old {
		t.Error("b is still at its old version")
	}
}

func TestRefusedEmptyResponseIsNoLoop(t *testing.T) {
	l := newLab(t, serve.Options{RetryRefused: time.Hour})
	l.store.SetReady()
	s := l.subscribe("n1")
	s.want(state.PeerNodeType, nil)
	s.nack(s.next(), "no")
	l.status("n1", "refusing", func(st serve.NodeStatus) bool { return len(st.Refusals) == 1 && st.Refusals[0].Message == "no" })
	s.nothing()
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"a": "10.0.1.0/24"}))
	s.ack(s.next())
	l.status("n1", "clear of refusals", func(st serve.NodeStatus) bool { return len(st.Refusals) == 0 })
}
