// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Peer is the identity that a subscriber has proved.
type Peer struct {
	// Node is the node's name; it is the scope that the subscriber sees.
	Node string
}

// Authenticate returns who calls, from the connection's client certificate. Its
// errors go to the caller as they are (gRPC status errors).
type Authenticate func(ctx context.Context) (Peer, error)

// Server serves a Store by delta ADS.
type Server struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer

	store        *Store
	authenticate Authenticate
	opts         Options
	log          *slog.Logger
	metrics      *metrics
	registry     *registry

	ids        atomic.Uint64
	goroutines sync.WaitGroup
	stopOnce   sync.Once
	stopping   chan struct{}
}

// NewServer makes a server. Metrics are registered with reg unless it is nil.
func NewServer(store *Store, auth Authenticate, observer Observer, opts Options, reg prometheus.Registerer, log *slog.Logger) *Server {
	m := newMetrics(reg)
	store.mu.Lock()
	store.notify = func(typeURL string, n int) { m.resources.WithLabelValues(store.label(typeURL)).Set(float64(n)) }
	for typeURL, n := range store.counts {
		store.notify(typeURL, n)
	}
	store.mu.Unlock()
	return &Server{
		store: store, authenticate: auth, opts: opts.withDefaults(), log: log, metrics: m,
		registry: newRegistry(observer), stopping: make(chan struct{}),
	}
}

// Register adds the discovery service to a gRPC server.
func (s *Server) Register(g grpc.ServiceRegistrar) {
	discovery.RegisterAggregatedDiscoveryServiceServer(g, s)
}

// Statuses are the connected subscribers, in no order.
func (s *Server) Statuses() []NodeStatus { return s.registry.all() }

// StreamAggregatedResources says that state-of-the-world xDS is not served.
func (s *Server) StreamAggregatedResources(discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return status.Error(codes.Unimplemented, "only incremental xDS is served; use DeltaAggregatedResources")
}

// DeltaAggregatedResources serves one subscriber until its stream ends.
func (s *Server) DeltaAggregatedResources(wire discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	peer, err := s.authenticate(wire.Context())
	if err != nil {
		return err
	}
	if !s.store.Ready() {
		return status.Error(codes.Unavailable, "this controller has not read the cluster's state yet; try another one, or again in a moment")
	}
	st := &stream{
		server: s, log: s.log, peer: peer, wire: wire, id: s.ids.Add(1),
		requests: make(chan *discovery.DeltaDiscoveryRequest),
		outgoing: make(chan *discovery.DeltaDiscoveryResponse, s.opts.MaxTypes),
		dirty:    newDirtySet(),
		subs:     map[string]*subscription{},
		refused:  map[string]int{},
	}
	return st.run(wire.Context())
}

// Stop ends every stream, telling subscribers to go elsewhere. Call it before the
// gRPC server's own stop; Run does.
func (s *Server) Stop() { s.stopOnce.Do(func() { close(s.stopping) }) }

// GRPCOptions are the options that the gRPC server should be made with: a dead peer
// is noticed within half a minute, and nobody can keep many streams.
func GRPCOptions(creds credentials.TransportCredentials) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(creds),
		grpc.MaxConcurrentStreams(16),
		grpc.MaxRecvMsgSize(8 << 20), // a reconnecting subscriber names every version that it holds
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 15 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	}
}

// Run serves g on l until ctx ends, and then stops both gracefully, within grace.
func (s *Server) Run(ctx context.Context, g *grpc.Server, l net.Listener, grace time.Duration) error {
	served := make(chan error, 1)
	s.goroutines.Go(func() { served <- g.Serve(l) })
	defer s.goroutines.Wait()
	select {
	case err := <-served:
		s.Stop()
		return fmt.Errorf("the xDS server on %s ended: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	s.Stop()
	force := time.AfterFunc(grace, g.Stop)
	defer force.Stop()
	g.GracefulStop()
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}
