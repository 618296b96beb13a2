// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"

	"github.com/fairlead-io/fairlead/internal/enroll"
	"github.com/fairlead-io/fairlead/internal/enroll/enrolltest"
	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

const (
	clusterName = "alpha"
	patience    = 10 * time.Second
	// quiet is how long nothing may come before a test says that nothing comes.
	quiet = 150 * time.Millisecond
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a server on the loopback, with real certificates.
type lab struct {
	t         *testing.T
	store     *serve.Store
	server    *serve.Server
	registry  *prometheus.Registry
	root      *enrolltest.Root
	authority *enroll.Authority
	address   string
	stop      func()

	mu       sync.Mutex
	statuses map[string]serve.NodeStatus
	changed  chan struct{}
}

func newLab(t *testing.T, opts serve.Options) *lab {
	t.Helper()
	return newLabOf(t, opts, state.AgentTypes...)
}

// newLabOf is a lab whose store has these types.
func newLabOf(t *testing.T, opts serve.Options, types ...string) *lab {
	t.Helper()
	types = slices.Clone(types)
	slices.Sort(types)
	l := &lab{
		t: t, store: serve.NewStore(slices.Compact(types)...), root: enrolltest.NewRoot(t),
		registry: prometheus.NewRegistry(),
		statuses: map[string]serve.NodeStatus{}, changed: make(chan struct{}, 1),
	}
	dir := t.TempDir()
	l.root.WriteIntermediate(t, dir)
	log := slog.New(slog.DiscardHandler)
	var err error
	if l.authority, err = enroll.NewAuthority(dir, clusterName, log); err != nil {
		t.Fatal(err)
	}
	l.server = serve.NewServer(l.store, func(ctx context.Context) (serve.Peer, error) {
		node, err := enroll.NodeOf(ctx, clusterName)
		return serve.Peer{Node: node}, err
	}, serve.ObserverFunc(l.observe), opts, l.registry, log)
	g := grpc.NewServer(serve.GRPCOptions(credentials.NewTLS(l.authority.TLS()))...)
	l.server.Register(g)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.server.Run(ctx, g, listener, time.Second) }()
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	t.Cleanup(l.stop)
	return l
}

func (l *lab) observe(s serve.NodeStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.statuses[s.Node] = s
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// status waits until what the observer knows of a node is as wanted.
func (l *lab) status(node, what string, ok func(serve.NodeStatus) bool) serve.NodeStatus {
	l.t.Helper()
	deadline := time.After(patience)
	for {
		l.mu.Lock()
		s, known := l.statuses[node]
		l.mu.Unlock()
		if known && ok(s) {
			return s
		}
		select {
		case <-l.changed:
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			l.t.Fatalf("node %s never became %s: %+v", node, what, s)
		}
	}
}

// peers are PeerNodes; each has the content that is given with its name.
func peers(t *testing.T, content map[string]string) []state.Resource {
	t.Helper()
	var out []state.Resource
	for name, cidr := range content {
		r, err := state.Encode(name, &state.PeerNode{Name: name, PodCidrs: []string{cidr}})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func local(t *testing.T, name string) []state.Resource {
	t.Helper()
	r, err := state.Encode(name, &state.LocalNode{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return []state.Resource{r}
}

func manyPeers(n int) map[string]string {
	out := map[string]string{}
	for i := range n {
		out[fmt.Sprintf("node-%04d", i)] = fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)
	}
	return out
}

// subscriber is a client that does exactly what a test tells it to.
type subscriber struct {
	t      *testing.T
	node   string
	stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	in     chan *discovery.DeltaDiscoveryResponse
	err    chan error
	close  func()
}

func (l *lab) dial(certNode string) *grpc.ClientConn {
	l.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+l.address,
		grpc.WithTransportCredentials(credentials.NewTLS(enrolltest.ClientTLS(l.t, l.root, l.authority, certNode))))
	if err != nil {
		l.t.Fatal(err)
	}
	return conn
}

// subscribe opens a stream with a certificate of certNode. Nothing is sent yet.
func (l *lab) subscribe(certNode string) *subscriber {
	l.t.Helper()
	return l.open(certNode, true)
}

// open opens a stream; one that does not read leaves everything in the connection's buffers.
func (l *lab) open(certNode string, reads bool) *subscriber {
	l.t.Helper()
	conn := l.dial(certNode)
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	s := &subscriber{t: l.t, node: certNode, stream: stream, in: make(chan *discovery.DeltaDiscoveryResponse), err: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for reads {
			r, err := stream.Recv()
			if err != nil {
				s.err <- err
				return
			}
			select {
			case s.in <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	s.close = sync.OnceFunc(func() {
		cancel()
		<-done
		conn.Close()
	})
	l.t.Cleanup(s.close)
	return s
}

func (s *subscriber) send(req *discovery.DeltaDiscoveryRequest) {
	s.t.Helper()
	if err := s.stream.Send(req); err != nil {
		s.t.Fatal(err)
	}
}

// want subscribes to a type with the wildcard, naming what is held.
func (s *subscriber) want(typeURL string, held map[string]string) {
	s.t.Helper()
	s.send(&discovery.DeltaDiscoveryRequest{
		Node:    &core.Node{Id: s.node, UserAgentVersionType: &core.Node_UserAgentVersion{UserAgentVersion: "v1"}},
		TypeUrl: typeURL, ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: held,
	})
}

func (s *subscriber) next() *discovery.DeltaDiscoveryResponse {
	s.t.Helper()
	select {
	case r := <-s.in:
		return r
	case err := <-s.err:
		s.t.Fatalf("the stream ended: %v", err)
	case <-time.After(patience):
		s.t.Fatal("no response came")
	}
	return nil
}

func (s *subscriber) nothing() {
	s.t.Helper()
	select {
	case r := <-s.in:
		s.t.Fatalf("a response came that nobody needs: %v", r)
	case err := <-s.err:
		s.t.Fatalf("the stream ended: %v", err)
	case <-time.After(quiet):
	}
}

func (s *subscriber) ack(r *discovery.DeltaDiscoveryResponse) {
	s.t.Helper()
	s.send(ackOf(r))
}

func ackOf(r *discovery.DeltaDiscoveryResponse) *discovery.DeltaDiscoveryRequest {
	return &discovery.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce}
}

func (s *subscriber) nack(r *discovery.DeltaDiscoveryResponse, words string) {
	s.t.Helper()
	s.send(&discovery.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce,
		ErrorDetail: &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: words}})
}

func names(r *discovery.DeltaDiscoveryResponse) []string {
	var out []string
	for _, res := range r.Resources {
		out = append(out, res.Name)
	}
	slices.Sort(out)
	return out
}

func versions(r *discovery.DeltaDiscoveryResponse) map[string]string {
	out := map[string]string{}
	for _, res := range r.Resources {
		out[res.Name] = res.Version
	}
	return out
}

func expect(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Fatalf("%s: got %s, want %s", what, g, w)
	}
}
