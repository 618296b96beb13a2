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
	"github.com/fairlead-io/fairlead/internal/agent/service/view"
	agentsync "github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/datapath"
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

	stale chan struct{} // capacity 1: all are known, from an earlier run

	mu      sync.Mutex
	engine  *service.Engine
	dp      Datapath // nil: not open yet
	known   bool     // all have been told
	settled bool     // and no newer ones are waited for
	whole   bool     // inForce is closed

	failed map[string]bool // Services whose last update was not in force; tried again by Run
	gone   []datapath.Gone // backends whose sockets were to be ended by such updates
}

// stalePatience is how long Services that an earlier run has saved wait for newer ones:
// they may be some seconds older than those which that run has left in the kernel.
const stalePatience = 3 * time.Second

// BalanceServices has the node load-balance Services. It is to be called before anything
// else. observe is told of each change that was brought into force, or was not.
func (n *Node) BalanceServices(engine *service.Engine, health Health, observe func(took time.Duration, err error)) {
	n.services = &services{
		engine: engine, health: health, observe: observe, log: n.log,
		inForce: make(chan struct{}), stale: make(chan struct{}, 1), failed: map[string]bool{},
	}
}

// ApplyServices implements sync.ServiceHandler.
func (n *Node) ApplyServices(ctx context.Context, u agentsync.ServiceUpdate) error {
	var wrong error
	if u.Follows && n.services != nil {
		n.services.mu.Lock()
		defer n.services.mu.Unlock()
		return n.services.take(u)
	}
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
	if u.Known && !u.Fresh && !s.known {
		select {
		case s.stale <- struct{}{}:
		default:
		}
	}
	s.known, s.settled = s.known || u.Known, s.settled || u.Known && u.Fresh
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
// Its error is about Services that the change is about, and no others.
func (s *services) change(ctx context.Context, change func(*services)) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
	if s.dp == nil || !s.known || !s.settled {
		return nil
	}
	u := s.engine.Take(!s.whole)
	u.Gone = append(s.gone, u.Gone...)
	if s.whole && len(u.Set)+len(u.Removed)+len(u.Gone) == 0 {
		return nil
	}
	began := time.Now()
	err := s.dp.UpdateServices(ctx, u)
	s.observe(time.Since(began), err)
	s.note(u, err)
	if !s.whole && ctx.Err() == nil {
		s.whole = true
		close(s.inForce)
		// All Services at once took several times the memory that holding them does.
		go debug.FreeOSMemory()
	}
	s.health.SetServices(s.engine.Health())
	return err
}

// note keeps what was not brought into force.
func (s *services) note(u datapath.ServiceUpdate, err error) {
	s.gone = nil
	if err != nil {
		s.gone = u.Gone
	}
	note := func(name string) {
		if err != nil {
			s.failed[name] = true
		} else {
			delete(s.failed, name)
		}
	}
	for i := range u.Set {
		note(u.Set[i].Name)
	}
	for _, name := range u.Removed {
		note(name)
	}
}

// again tries what could not be brought into force once more.
func (s *services) again(ctx context.Context) {
	err := s.change(ctx, func(s *services) {
		for name := range s.failed {
			s.engine.Again(name)
		}
	})
	if err != nil {
		s.log.Warn("Services are not all in force", "error", err)
	}
}

// settle has Services that an earlier run has saved brought into force: no controller has
// told newer ones.
func (s *services) settle(ctx context.Context) {
	err := s.change(ctx, func(s *services) { s.settled = true })
	if err != nil {
		s.log.Warn("the saved Services are not all in force", "error", err)
	}
}

// runServices waits for controllers, where all that is known is what an earlier run saved.
func (n *Node) runServices(ctx context.Context) {
	if n.services == nil {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-n.services.stale:
	}
	timer := time.NewTimer(stalePatience)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-n.services.inForce:
	case <-timer.C:
		n.services.settle(ctx)
	}
}

// PodGone says that a pod of this node is gone, so that no Service sends anybody to its
// addresses, whether or not a controller says so too.
func (n *Node) PodGone(ctx context.Context, addresses []netip.Addr) error {
	return n.services.change(ctx, func(s *services) { s.engine.PodGone(addresses) })
}

// SetReadiness says how ready the pods of this node are, while no controller does; nil: the
// controllers do again.
func (n *Node) SetReadiness(ctx context.Context, pods map[netip.Addr]service.Readiness) error {
	return n.services.change(ctx, func(s *services) { s.engine.SetReadiness(pods) })
}

// SetHostPorts says which ports of the node are a pod's; none removes them.
func (n *Node) SetHostPorts(ctx context.Context, key string, ports []service.HostPort) error {
	return n.services.change(ctx, func(s *services) { s.engine.SetHostPorts(key, ports) })
}

// Services returns what this node thinks of each Service, Service of one of them.
func (n *Node) Services() []view.Service {
	if n.services == nil {
		return nil
	}
	n.services.mu.Lock()
	defer n.services.mu.Unlock()
	return n.services.engine.Views()
}

// Service returns what this node thinks of a Service ("namespace/name").
func (n *Node) Service(name string) (view.Service, bool) {
	if n.services == nil {
		return view.Service{}, false
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
