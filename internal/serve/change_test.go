// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

func slice(t *testing.T, i, content int) state.Resource {
	t.Helper()
	name := fmt.Sprintf("default/s%05d", i)
	r, err := state.Encode(name, &state.ServiceEndpoints{Namespace: "default", Name: name[len("default/"):], Service: fmt.Sprint("s", i),
		Endpoints: []*state.ServiceEndpoint{{Address: []byte{10, 0, byte(content >> 8), byte(content)}, Ready: true}}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A store that is changed piece by piece holds what one that is filled at once does, and
// its digest says so: else no subscriber would ever be in sync.
func TestChangesAddUp(t *testing.T) {
	l := newLab(t, serve.Options{})
	l.store.SetReady()
	random := rand.New(rand.NewPCG(5, 6))
	want := map[string]string{}
	for range 300 {
		i := random.IntN(20)
		r := slice(t, i, random.IntN(3))
		if random.IntN(3) == 0 {
			changed := l.store.Change(serve.Shared, state.ServiceEndpointsType, nil, []string{r.Name})
			if _, had := want[r.Name]; had != (changed == 1) {
				t.Fatalf("%d changed by the removal of %s, which was there: %v", changed, r.Name, had)
			}
			delete(want, r.Name)
			continue
		}
		changed := l.store.Change(serve.Shared, state.ServiceEndpointsType, []state.Resource{r}, nil)
		if (want[r.Name] != r.Version) != (changed == 1) {
			t.Fatalf("%d changed by %s, was %s, is %s", changed, r.Name, want[r.Name], r.Version)
		}
		want[r.Name] = r.Version
	}
	s := l.subscribe("n1")
	for _, typeURL := range state.AgentTypes {
		s.want(typeURL, nil)
		r := s.next()
		if typeURL == state.ServiceEndpointsType && !maps.Equal(versions(r), want) {
			t.Errorf("served %v, want %v", versions(r), want)
		}
		s.ack(r)
	}
	l.status("n1", "in sync", func(st serve.NodeStatus) bool { return st.Synced() })
}

// Changes that come while a subscriber applies the one before wait for it as one response,
// in their last version, however many they are, and nobody waits for the slow ones.
func TestAStormIsCoalesced(t *testing.T) {
	const all, changes, touched, nodes = 20000, 500, 20, 10
	l := newLab(t, serve.Options{})
	rows := make([]state.Resource, 0, all)
	for i := range all {
		rows = append(rows, slice(t, i, 0))
	}
	l.store.Swap(serve.Shared, state.ServiceEndpointsType, rows)
	l.store.SetReady()
	held := map[string]string{}
	for _, r := range rows {
		held[r.Name] = r.Version
	}
	var subscribers []*subscriber
	for i := range nodes {
		s := l.subscribe(fmt.Sprint("n", i))
		s.want(state.ServiceEndpointsType, held)
		s.ack(s.next())
		subscribers = append(subscribers, s)
	}
	l.store.Change(serve.Shared, state.ServiceEndpointsType, []state.Resource{slice(t, 0, 1)}, nil)
	first := make([]*discovery.DeltaDiscoveryResponse, nodes)
	for i, s := range subscribers {
		first[i] = s.next()
		expect(t, "the first change", names(first[i]), []string{"default/s00000"})
	}
	began := time.Now()
	want := map[string]string{}
	for i := range changes {
		r := slice(t, i%touched, i+2)
		l.store.Change(serve.Shared, state.ServiceEndpointsType, []state.Resource{r}, nil)
		want[r.Name] = r.Version
	}
	t.Logf("%d changes of %d resources for %d subscribers took the store %v", changes, all, nodes, time.Since(began))
	for i, s := range subscribers {
		s.ack(first[i])
		r := s.next()
		if !maps.Equal(versions(r), want) {
			t.Errorf("node %d is sent %v, want the last of each of %d", i, slices.Sorted(maps.Keys(versions(r))), touched)
		}
		s.ack(r)
	}
	subscribers[0].nothing()
}
