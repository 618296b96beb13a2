// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/fairlead-io/fairlead/internal/agent/service"
	agentsync "github.com/fairlead-io/fairlead/internal/agent/sync"
)

// Health answers those who ask whether a Service has endpoints on this node.
type Health interface {
	SetServices([]service.Health)
}

// services are the cluster's Services on their way to the datapath.
type services struct {
	health  Health
	observe func(took time.Duration, err error)
	log     *slog.Logger
	inForce chan struct{} // closed when all have been brought into force once

	mu     sync.Mutex
	engine *service.Engine
	dp     Datapath // nil: not open yet
	known  bool     // all have been told
	whole  bool     // inForce is closed
}

// BalanceServices has the node load-balance Services. It is to be called before anything
// else. observe is told of each change that was brought into force, or was not.
func (n *Node) BalanceServices(engine *service.Engine, health Health, observe func(took time.Duration, err error)) {
	n.services = &services{engine: engine, health: health, observe: observe, log: n.log, inForce: make(chan struct{})}
}

// ApplyServices implements sync.ServiceHandler.
func (n *Node) ApplyServices(ctx context.Context, u agentsync.ServiceUpdate) error {
	var wrong error
	err := n.services.change(ctx, func(s *services) { wrong = s.take(u) })
	return errors.Join(wrong, err)
}

// take tells the engine of a change.
func (s *services) take(u agentsync.ServiceUpdate) error {
	var errs []error
	for _, name := range u.RemovedEndpoints {
		s.engine.RemoveEndpoints(name)
	}
	for _, e := range u.Endpoints {
		errs = append(errs, s.engine.SetEndpoints(e))
	}
	for _, one := range u.Services {
		errs = append(errs, s.engine.SetService(one))
	}
	for _, name := range u.RemovedServices {
		s.engine.RemoveService(name)
	}
	s.known = s.known || u.Known
	return errors.Join(errs...)
}

// ServicesInForce is closed when all Services, but for those that are wrong, have been
// brought into force for the first time. It is nil where they are left to kube-proxy.
func (n *Node) ServicesInForce() <-chan struct{} {
	if n.services == nil {
		return nil
	}
	return n.services.inForce
}

// openServices says that the datapath is open, and in which zone the node is. What is
// wrong with Services is no fault of the node's.
func (n *Node) openServices(ctx context.Context, zone string) {
	err := n.services.change(ctx, func(s *services) {
		s.dp = n.dp
		s.engine.SetZone(zone)
	})
	if err != nil {
		n.log.Warn("Services are not all in force", "error", err)
	}
}

// change changes what is known of Services and brings that into force. Before the datapath
// is open and all Services are known that waits: what an earlier run left stays in force.
func (s *services) change(ctx context.Context, change func(*services)) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
	if s.dp == nil || !s.known {
		return nil
	}
	u := s.engine.Take(!s.whole)
	if s.whole && len(u.Set)+len(u.Removed)+len(u.Gone) == 0 {
		return nil
	}
	began := time.Now()
	err := s.dp.UpdateServices(ctx, u)
	s.observe(time.Since(began), err)
	if !s.whole && ctx.Err() == nil {
		s.whole = true
		close(s.inForce)
		// All Services at once took several times the memory that holding them does.
		go debug.FreeOSMemory()
	}
	s.health.SetServices(s.engine.Health())
	return err
}

// PodGone says that a pod of this node is gone, so that no Service sends anybody to its
// addresses, whether or not a controller says so too.
func (n *Node) PodGone(ctx context.Context, addresses []netip.Addr) error {
	return n.services.change(ctx, func(s *services) { s.engine.PodGone(addresses) })
}

// SetHostPorts says which ports of the node are a pod's; none removes them.
func (n *Node) SetHostPorts(ctx context.Context, key string, ports []service.HostPort) error {
	return n.services.change(ctx, func(s *services) { s.engine.SetHostPorts(key, ports) })
}

// Services returns what this node thinks of each Service, Service of one of them.
func (n *Node) Services() []service.View {
	if n.services == nil {
		return nil
	}
	n.services.mu.Lock()
	defer n.services.mu.Unlock()
	return n.services.engine.Views()
}

// Service returns what this node thinks of a Service ("namespace/name").
func (n *Node) Service(name string) (service.View, bool) {
	if n.services == nil {
		return service.View{}, false
	}
	n.services.mu.Lock()
	defer n.services.mu.Unlock()
	return n.services.engine.View(name)
}

// CountServices returns how many Services and endpoints are known.
func (n *Node) CountServices() (services, endpoints int) {
	if n.services == nil {
		return 0, 0
	}
	n.services.mu.Lock()
	defer n.services.mu.Unlock()
	return n.services.engine.Count()
}
