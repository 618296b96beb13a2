// SPDX-License-Identifier: Apache-2.0

package interest_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-io/fairlead/internal/interest"
	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/model/policy"
	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a feed with a real server in front. Its agents say who they are.
type lab struct {
	t        testing.TB
	feed     *interest.Feed
	store    *serve.Store
	registry *prometheus.Registry
	address  string
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, store: serve.NewStore(state.PolicyType), registry: prometheus.NewRegistry()}
	log := slog.New(slog.DiscardHandler)
	l.feed = interest.New(l.store, l.registry, log)
	says := func(ctx context.Context) (serve.Peer, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		return serve.Peer{Node: md.Get("node")[0]}, nil
	}
	server := serve.NewServer(l.store, says, nil, serve.Options{}, nil, log)
	g := grpc.NewServer(serve.GRPCOptions(insecure.NewCredentials())...)
	server.Register(g)
	state.RegisterPodAddressesServer(g, interest.NewRegistrar(l.feed, says))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Run(ctx, g, listener, time.Second); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() {
		if err := l.feed.Start(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	l.store.SetReady()
	return l
}

// agent follows policies. It acknowledges what it is let.
type agent struct {
	node  string
	conn  *grpc.ClientConn
	bytes atomic.Int64
	acks  atomic.Int64
	hold  atomic.Pointer[chan struct{}] // not nil: acknowledgements wait until it is closed
}

func (l *lab) agent(node string) *agent {
	l.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+l.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		l.t.Fatal(err)
	}
	a := &agent{node: node, conn: conn}
	ctx, cancel := context.WithCancel(a.says(context.Background()))
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := stream.Send(&discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: node}, TypeUrl: state.PolicyType, ResourceNamesSubscribe: []string{"*"}}); err != nil {
		l.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			if hold := a.hold.Load(); hold != nil {
				select {
				case <-*hold:
				case <-ctx.Done():
					return
				}
			}
			a.bytes.Add(int64(proto.Size(r)))
			if stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce}) == nil {
				a.acks.Add(1)
			}
		}
	}()
	l.t.Cleanup(func() {
		cancel()
		<-done
		conn.Close()
	})
	return a
}

func (a *agent) says(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "node", a.node)
}

// holdBack has acknowledgements wait until the returned function is called.
func (a *agent) holdBack() (release func()) {
	hold := make(chan struct{})
	a.hold.Store(&hold)
	return func() {
		a.hold.Store(nil)
		close(hold)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) { // a poll
		if time.Now().After(deadline) {
			t.Fatalf("it never came to this: %s", what)
		}
	}
}

// settled waits until all that agents were told they have acknowledged.
func (l *lab) settled() {
	l.t.Helper()
	eventually(l.t, "the agents have what there was", func() bool {
		d := l.store.Apply(state.PolicyType, map[string]state.Delta{serve.Shared: {Set: []state.Resource{probe(l.t, time.Now().String())}}})
		select {
		case <-d.Done():
			return true
		case <-time.After(patience):
			return false
		}
	})
}

func probe(t testing.TB, content string) state.Resource {
	r, err := state.Encode("cluster", &state.PolicyObject{Object: &state.PolicyObject_Scope{Scope: &state.PolicyScope{Namespaces: []string{content}}}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func pod(i int, node, app string) policy.Pod {
	return policy.Pod{
		Namespace: fmt.Sprint("ns", i/50), Name: fmt.Sprint("pod-", i), UID: fmt.Sprint("uid-", i), Node: node, Labels: map[string]string{"app": app},
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})},
	}
}

func allow(namespace, name, app, from string) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	p.Spec.PodSelector.MatchLabels = map[string]string{"app": app}
	p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
		{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": from}}},
	}}}
	return p
}

func (l *lab) change(fn func(*policy.Index)) {
	l.t.Helper()
	err := l.feed.Change(func(x *policy.Index) error {
		fn(x)
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// set takes a generation of a policy over; told gets what has become of it.
func (l *lab) set(p *networkingv1.NetworkPolicy, generation int64) (told chan interest.InForce) {
	l.t.Helper()
	told = make(chan interest.InForce, 1)
	l.feed.SetPolicy(interest.Policy{
		Resource: policy.NetworkPolicyName(p.Namespace, p.Name), Kind: "NetworkPolicy", Generation: generation,
		Set:  func(x *policy.Index) []model.Finding { return x.SetNetworkPolicy(p) },
		Told: func(in interest.InForce) { told <- in },
	})
	return told
}
