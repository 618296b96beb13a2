// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

func TestHeldOnlyWhenAcknowledged(t *testing.T) {
	l := newLab(t, serve.Options{})
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"n1": "10.0.1.0/24", "n2": "10.0.2.0/24"}))
	l.store.SetReady()
	s := l.subscribe("n1")
	s.want(state.PeerNodeType, nil)
	first := s.next()
	expect(t, "first response", names(first), []string{"n1", "n2"})
	l.status("n1", "connected and not in sync", func(st serve.NodeStatus) bool {
		return st.Connected && !st.Synced() && st.AgentVersion == "v1"
	})

	// While the first is in flight nothing else goes out, and changes are merged.
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"n1": "10.0.1.0/24", "n2": "10.0.3.0/24"}))
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"n2": "10.0.4.0/24", "n3": "10.0.5.0/24"}))
	s.nothing()
	s.ack(first)
	second := s.next()
	expect(t, "merged response", names(second), []string{"n2", "n3"})
	expect(t, "merged removals", second.RemovedResources, []string{"n1"})
	s.ack(second)
	s.nothing()

	// An answer to a response long gone says nothing about the one in flight.
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"n2": "10.0.4.0/24"}))
	third := s.next()
	s.ack(first)
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, map[string]string{"n2": "10.0.9.0/24"}))
	s.nothing()
	s.ack(third)
	s.ack(s.next())
}

func TestInSyncNeedsEveryTypeAnswered(t *testing.T) {
	l := newLab(t, serve.Options{})
	l.store.SetReady()
	s := l.subscribe("n1")
	for i, typeURL := range state.AgentTypes {
		s.want(typeURL, nil)
		r := s.next()
		expect(t, "an empty first answer", len(r.Resources)+len(r.RemovedResources), 0)
		if i > 0 {
			l.status("n1", "connected and not in sync", func(st serve.NodeStatus) bool { return st.Connected && !st.Synced() })
		}
		s.ack(r)
	}
	l.status("n1", "in sync with an empty state", serve.NodeStatus.Synced)
	s.close()
	l.status("n1", "gone", func(st serve.NodeStatus) bool { return !st.Connected && !st.Synced() })
}

func TestResume(t *testing.T) {
	l := newLab(t, serve.Options{})
	content := manyPeers(500)
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
	l.store.SetReady()
	s := l.subscribe("n1")
	s.want(state.PeerNodeType, nil)
	r := s.next()
	s.ack(r)
	held := versions(r)
	s.close()

	for _, c := range []struct {
		name    string
		change  func()
		sent    []string
		removed []string
	}{
		{"nothing changed", func() {}, nil, nil},
		{"one changed", func() { content["node-0007"] = "10.99.0.0/24" }, []string{"node-0007"}, nil},
		{"one removed", func() { delete(content, "node-0008") }, nil, []string{"node-0008"}},
		{"one added", func() { content["node-9999"] = "10.98.0.0/24" }, []string{"node-9999"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.change()
			l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
			s := l.subscribe("n1")
			s.want(state.PeerNodeType, held)
			r := s.next()
			expect(t, "sent", names(r), c.sent)
			expect(t, "removed", r.RemovedResources, c.removed)
			s.ack(r)
			s.nothing()
			maps.Copy(held, versions(r))
			for _, name := range r.RemovedResources {
				delete(held, name)
			}
			s.close()
		})
	}
}

func TestScope(t *testing.T) {
	l := newLab(t, serve.Options{})
	for _, n := range []string{"n1", "n2"} {
		l.store.Swap(n, state.LocalNodeType, local(t, n))
	}
	l.store.SetReady()
	s := l.subscribe("n1")
	s.want(state.LocalNodeType, nil)
	r := s.next()
	expect(t, "own node only", names(r), []string{"n1"})
	s.ack(r)
	// Asking by name opens nothing either, and is answered.
	s.send(&discovery.DeltaDiscoveryRequest{TypeUrl: state.LocalNodeType, ResourceNamesSubscribe: []string{"n2"}})
	r = s.next()
	expect(t, "another's node", names(r), []string{})
	expect(t, "it is answered as missing", r.RemovedResources, []string{"n2"})
	s.ack(r)
	l.store.Swap("n2", state.LocalNodeType, nil)
	s.nothing()
}

func TestWhoMaySubscribe(t *testing.T) {
	for _, c := range []struct {
		name, cert string
		ready      bool
		request    *discovery.DeltaDiscoveryRequest
		code       codes.Code
		words      string
	}{
		{"without a certificate", "", true, nil, codes.Unauthenticated, "enroll first"},
		{"as another node", "n1", true, &discovery.DeltaDiscoveryRequest{TypeUrl: state.PeerNodeType, Node: &core.Node{Id: "n2"}}, codes.PermissionDenied, `node.id is "n2"`},
		{"without an id", "n1", true, &discovery.DeltaDiscoveryRequest{TypeUrl: state.PeerNodeType}, codes.InvalidArgument, "node.id is empty"},
		{"without a type", "n1", true, &discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: "n1"}}, codes.InvalidArgument, "type_url is empty"},
		{"before the state is complete", "n1", false, nil, codes.Unavailable, "has not read the cluster's state"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, serve.Options{})
			if c.ready {
				l.store.SetReady()
			}
			s := l.subscribe(c.cert)
			if c.request != nil {
				s.send(c.request)
			}
			select {
			case err := <-s.err:
				if status.Code(err) != c.code || !strings.Contains(err.Error(), c.words) {
					t.Fatalf("got %v, want %v with %q", err, c.code, c.words)
				}
			case <-time.After(patience):
				t.Fatal("the stream went on")
			}
		})
	}
}

func TestNamedSubscriptions(t *testing.T) {
	l := newLab(t, serve.Options{})
	content := map[string]string{"n1": "10.0.1.0/24", "n2": "10.0.2.0/24", "n3": "10.0.3.0/24"}
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
	l.store.SetReady()
	s := l.subscribe("n1")
	ask := func(sub, unsub []string) {
		s.send(&discovery.DeltaDiscoveryRequest{
			Node: &core.Node{Id: "n1"}, TypeUrl: state.PeerNodeType,
			ResourceNamesSubscribe: sub, ResourceNamesUnsubscribe: unsub,
		})
	}
	ask([]string{"n2", "nowhere"}, nil)
	r := s.next()
	expect(t, "named", names(r), []string{"n2"})
	expect(t, "missing ones are answered", r.RemovedResources, []string{"nowhere"})
	s.ack(r)

	content["n3"] = "10.0.33.0/24"
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
	s.nothing()

	ask([]string{"n2"}, nil)
	r = s.next()
	expect(t, "asked for again, sent again", names(r), []string{"n2"})
	s.ack(r)

	ask([]string{"later"}, []string{"n2"})
	r = s.next()
	expect(t, "the new name is answered", r.RemovedResources, []string{"later"})
	s.ack(r)
	content["n2"] = "10.0.22.0/24"
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
	s.nothing()

	content["nowhere"] = "10.0.44.0/24"
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
	r = s.next()
	expect(t, "it has come into being", names(r), []string{"nowhere"})
	s.ack(r)

	ask([]string{"*"}, nil)
	r = s.next()
	expect(t, "the wildcard brings the rest", names(r), []string{"n1", "n2", "n3"})
	s.ack(r)

	ask([]string{"later"}, []string{"*"})
	r = s.next()
	expect(t, "the name is answered again", r.RemovedResources, []string{"later"})
	s.ack(r)
	content["n1"], content["nowhere"] = "10.0.11.0/24", "10.0.45.0/24"
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
	r = s.next()
	expect(t, "without the wildcard the named one stays", names(r), []string{"nowhere"})
	s.ack(r)
}

func TestUnknownTypeIsAnswered(t *testing.T) {
	l := newLab(t, serve.Options{})
	l.store.SetReady()
	s := l.subscribe("n1")
	s.want("type.googleapis.com/some.Other", nil)
	r := s.next()
	expect(t, "resources", len(r.Resources), 0)
	s.ack(r)
	s.nothing()
}

func TestBatches(t *testing.T) {
	l := newLab(t, serve.Options{MaxResources: 40})
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, manyPeers(100)))
	l.store.SetReady()
	s := l.subscribe("n1")
	s.want(state.PeerNodeType, nil)
	var sizes []int
	seen := map[string]string{}
	for len(seen) < 100 {
		r := s.next()
		sizes = append(sizes, len(r.Resources))
		maps.Copy(seen, versions(r))
		s.ack(r)
	}
	expect(t, "sizes of the responses", sizes, []int{40, 40, 20})
	s.nothing()
}

func TestSlowSubscriberHarmsNobody(t *testing.T) {
	l := newLab(t, serve.Options{})
	content := manyPeers(4000) // one response is far larger than a connection's window
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
	l.store.SetReady()
	stuck := l.open("n1", false)
	for _, typeURL := range []string{state.PeerNodeType, state.LocalNodeType, state.EndpointType} {
		stuck.want(typeURL, nil)
	}
	l.status("n1", "connected", func(st serve.NodeStatus) bool { return st.Connected })

	quick := l.subscribe("n2")
	quick.want(state.PeerNodeType, nil)
	for seen := 0; seen < len(content); {
		r := quick.next()
		seen += len(r.Resources)
		quick.ack(r)
	}
	for i := range 10 {
		content["node-0001"] = "10.77." + string(rune('0'+i%10)) + ".0/24"
		content["node-0002"] = "10.78." + string(rune('0'+i%10)) + ".0/24"
		before := l.status("n1", "connected", func(st serve.NodeStatus) bool { return st.Connected }).Wanted
		start := time.Now()
		l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
		if d := time.Since(start); d > 5*time.Second {
			t.Fatalf("a change waited %v for a subscriber that does not read", d)
		}
		r := quick.next()
		quick.ack(r)
		// What the stuck one should hold is known at once, too.
		l.status("n1", "aware of the change", func(st serve.NodeStatus) bool { return st.Wanted != before && !st.Synced() })
	}
	l.stop() // does not wait for it either, beyond its grace
}

func TestReconnectBeforeTheOldStreamIsNoticed(t *testing.T) {
	l := newLab(t, serve.Options{})
	l.store.SetReady()
	old := l.subscribe("n1")
	old.want(state.PeerNodeType, nil)
	old.ack(old.next())
	fresh := l.subscribe("n1")
	for _, typeURL := range state.AgentTypes {
		fresh.want(typeURL, nil)
		fresh.ack(fresh.next())
	}
	l.status("n1", "in sync by its new stream", serve.NodeStatus.Synced)
	old.close()
	l.store.Swap("n1", state.LocalNodeType, local(t, "n1"))
	fresh.ack(fresh.next())
	l.status("n1", "in sync still", serve.NodeStatus.Synced)
	expect(t, "subscribers", len(l.server.Statuses()), 1)
}

func TestStopSendsSubscribersAway(t *testing.T) {
	l := newLab(t, serve.Options{})
	l.store.SetReady()
	s := l.subscribe("n1")
	s.want(state.PeerNodeType, nil)
	s.ack(s.next())
	start := time.Now()
	l.stop()
	if d := time.Since(start); d > 900*time.Millisecond {
		t.Errorf("stopping took %v: the streams were not ended by themselves", d)
	}
	select {
	case err := <-s.err:
		expect(t, "code", status.Code(err), codes.Unavailable)
	case <-time.After(patience):
		t.Fatal("the stream went on")
	}
}

// A change of one shared resource reaches every one of many subscribers.
func TestManySubscribers(t *testing.T) {
	const many = 200
	l := newLab(t, serve.Options{})
	content := manyPeers(many)
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
	l.store.SetReady()
	var all []*subscriber
	for i := range many {
		s := l.subscribe(fmt.Sprintf("node-%04d", i))
		s.want(state.PeerNodeType, nil)
		all = append(all, s)
	}
	for _, s := range all {
		s.ack(s.next())
	}
	content["node-0000"] = "10.250.0.0/24"
	start := time.Now()
	l.store.Swap(serve.Shared, state.PeerNodeType, peers(t, content))
	for _, s := range all {
		r := s.next()
		expect(t, "what changed", names(r), []string{"node-0000"})
		s.ack(r)
	}
	t.Logf("one change at %d subscribers after %v", many, time.Since(start))
}
