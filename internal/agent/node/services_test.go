// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-io/fairlead/internal/agent/service"
	agentsync "github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

// answers is a Health that remembers.
type answers struct{ now []service.Health }

func (a *answers) SetServices(h []service.Health) { a.now = h }

func balancing(s *stage) (*Node, *answers) {
	n, a := newNode(s), &answers{}
	n.BalanceServices(service.New("a"), a, func(time.Duration, error) {})
	return n, a
}

func web(name string, last byte) *state.Service {
	return &state.Service{Namespace: "default", Name: name, ClusterIps: [][]byte{{10, 96, 0, last}}, Ports: []*state.ServicePort{{Protocol: 6, Port: 80}}}
}

func backend(name string, last byte) *state.ServiceEndpoints {
	return &state.ServiceEndpoints{Namespace: "default", Name: name + "-x", Service: name, Ports: []*state.EndpointPort{{Protocol: 6, Port: 8080}},
		Endpoints: []*state.ServiceEndpoint{{Address: []byte{10, 1, 0, last}, Ready: true, Node: "a"}}}
}

func apply(t *testing.T, n *Node, u agentsync.ServiceUpdate) {
	t.Helper()
	if err := n.ApplyServices(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, n *Node) {
	t.Helper()
	if err := n.Apply(t.Context(), update(func(*agentsync.Update) {})); err != nil {
		t.Fatal(err)
	}
}

// Until the datapath is open and all is known, nothing is touched; then everything comes
// at once, and afterwards changes alone.
func TestServicesWaitUntilAllIsKnown(t *testing.T) {
	s := &stage{}
	n, _ := balancing(s)
	apply(t, n, agentsync.ServiceUpdate{Services: []*state.Service{web("w", 1)}, Fresh: true})
	open(t, n)
	if len(s.services) != 0 {
		t.Fatalf("a part was brought into force: %v", s.services)
	}
	select {
	case <-n.ServicesInForce():
		t.Fatal("they are in force before they are known")
	default:
	}
	apply(t, n, agentsync.ServiceUpdate{Endpoints: []*state.ServiceEndpoints{backend("w", 5)}, Known: true, Fresh: true})
	if len(s.services) != 1 || !s.services[0].Complete || len(s.services[0].Set) != 1 || len(s.services[0].Set[0].Pools[0].Backends) != 1 {
		t.Fatalf("brought into force: %+v", s.services)
	}
	<-n.ServicesInForce()
	apply(t, n, agentsync.ServiceUpdate{Endpoints: []*state.ServiceEndpoints{backend("w", 6)}, Known: true, Fresh: true})
	if u := s.services[1]; u.Complete || len(u.Set) != 1 || len(u.Gone) != 1 || u.Gone[0].Address != netip.MustParseAddr("10.1.0.5") {
		t.Errorf("one change became %+v", u)
	}
}

// What an earlier run saved may be older than what it left in the kernel: a controller
// that answers comes first, and only without one it counts.
func TestSavedServicesWaitForNewerOnes(t *testing.T) {
	saved := agentsync.ServiceUpdate{Services: []*state.Service{web("w", 1)}, Known: true}
	t.Run("a controller answers", func(t *testing.T) {
		s := &stage{}
		n, _ := balancing(s)
		open(t, n)
		apply(t, n, saved)
		if len(s.services) != 0 {
			t.Fatalf("brought into force: %+v", s.services)
		}
		apply(t, n, agentsync.ServiceUpdate{Endpoints: []*state.ServiceEndpoints{backend("w", 5)}, Known: true, Fresh: true})
		if len(s.services) != 1 || !s.services[0].Complete {
			t.Errorf("brought into force: %+v", s.services)
		}
	})
	t.Run("none does", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &stage{}
			n, _ := balancing(s)
			open(t, n)
			apply(t, n, saved)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- n.Run(ctx) }()
			began := time.Now()
			<-n.ServicesInForce()
			if took := time.Since(began); took != stalePatience || len(s.services) != 1 {
				t.Errorf("after %v: %+v", took, s.services)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	})
}

// A Service that cannot be in force is refused once. Others do not suffer for it, and it
// is tried again.
func TestAFailedServiceIsTriedAgainAlone(t *testing.T) {
	s := &stage{}
	n, _ := balancing(s)
	open(t, n)
	apply(t, n, agentsync.ServiceUpdate{Services: []*state.Service{web("w", 1)}, Known: true, Fresh: true})
	s.serviceErr = errors.New("Service default/x: no room")
	if err := n.ApplyServices(t.Context(), agentsync.ServiceUpdate{Services: []*state.Service{web("x", 2)}, Known: true, Fresh: true}); err == nil {
		t.Fatal("it was not refused")
	}
	s.serviceErr = nil
	apply(t, n, agentsync.ServiceUpdate{Services: []*state.Service{web("y", 3)}, Known: true, Fresh: true})
	if u := s.services[2]; len(u.Set) != 1 || u.Set[0].Name != "default/y" {
		t.Errorf("another Service's change was %+v", u)
	}
	n.repeat(t.Context())
	if u := s.services[len(s.services)-1]; len(u.Set) != 1 || u.Set[0].Name != "default/x" {
		t.Errorf("tried again: %+v", u)
	}
	before := len(s.services)
	n.repeat(t.Context())
	if len(s.services) != before {
		t.Errorf("tried again without need: %+v", s.services[before:])
	}
}

// What is to be taken back before its parts come again is not brought into force meanwhile.
func TestWhatFollowsIsBroughtIntoForceTogether(t *testing.T) {
	s := &stage{}
	n, _ := balancing(s)
	open(t, n)
	apply(t, n, agentsync.ServiceUpdate{Services: []*state.Service{web("w", 1)}, Known: true, Fresh: true})
	apply(t, n, agentsync.ServiceUpdate{Services: []*state.Service{web("w", 2), web("x", 3)}, Known: true, Fresh: true, Follows: true})
	if len(s.services) != 1 {
		t.Fatalf("brought into force: %+v", s.services[1:])
	}
	apply(t, n, agentsync.ServiceUpdate{Services: []*state.Service{web("y", 4)}, Known: true, Fresh: true})
	if u := s.services[1]; len(u.Set) != 3 {
		t.Errorf("brought into force: %+v", u)
	}
}

// A pod's end counts at once, controller or none, and so does what health checks are told.
func TestAPodsEndCountsAtOnce(t *testing.T) {
	s := &stage{}
	n, health := balancing(s)
	open(t, n)
	w := web("w", 1)
	w.ExternalLocal, w.HealthCheckNodePort = true, 30999
	apply(t, n, agentsync.ServiceUpdate{Services: []*state.Service{w}, Endpoints: []*state.ServiceEndpoints{backend("w", 5)}, Known: true, Fresh: true})
	if len(health.now) != 1 || health.now[0].LocalEndpoints != 1 {
		t.Fatalf("health %+v", health.now)
	}
	if err := n.PodGone(t.Context(), []netip.Addr{netip.MustParseAddr("10.1.0.5")}); err != nil {
		t.Fatal(err)
	}
	u := s.services[len(s.services)-1]
	if len(u.Set) != 1 || len(u.Set[0].Pools[0].Backends) != 0 || len(u.Gone) != 1 || u.Gone[0].Protocol != datapath.TCP {
		t.Errorf("brought into force: %+v", u)
	}
	if health.now[0].LocalEndpoints != 0 {
		t.Errorf("health %+v", health.now)
	}
}
