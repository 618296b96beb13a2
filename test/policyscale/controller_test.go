// SPDX-License-Identifier: Apache-2.0

package policyscale

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/fairlead-io/fairlead/internal/interest"
	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/model/policy"
	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

// controller is the part of one that policies pass.
type controller struct {
	feed    *interest.Feed
	server  *serve.Server
	address string
	sent    wire
}

// wire counts what the server sends to agents.
type wire struct{ bytes, responses atomic.Int64 }

func (w *wire) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (w *wire) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (w *wire) HandleConn(context.Context, stats.ConnStats)                       {}
func (w *wire) HandleRPC(_ context.Context, s stats.RPCStats) {
	if out, ok := s.(*stats.OutPayload); ok {
		if _, ok := out.Payload.(*discovery.DeltaDiscoveryResponse); ok {
			w.bytes.Add(int64(out.WireLength))
			w.responses.Add(1)
		}
	}
}

// startController serves an index that fill fills, until the test ends.
func startController(t *testing.T, fill func(*policy.Index) error) *controller {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store := serve.NewStore(state.PolicyType)
	c := &controller{feed: interest.New(store, nil, log)}
	c.server = serve.NewServer(store, authenticate, serve.ObserverFunc(func(serve.NodeStatus) {}), serve.Options{}, nil, log)
	g := grpc.NewServer(append(serve.GRPCOptions(insecure.NewCredentials()), grpc.StatsHandler(&c.sent))...)
	c.server.Register(g)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- c.server.Run(ctx, g, l, time.Second) }()
	go func() { ended <- c.feed.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(c.feed.Change(fill), c.feed.Open(ctx)); err != nil {
		t.Fatal(err)
	}
	store.SetReady()
	return c
}

// authenticate believes agents: who they are is not what is measured.
func authenticate(ctx context.Context) (serve.Peer, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if names := md.Get(nodeKey); len(names) == 1 {
		return serve.Peer{Node: names[0]}, nil
	}
	return serve.Peer{}, status.Error(codes.Unauthenticated, "an agent says which node it is")
}

// synced waits until so many agents hold all that they should.
func (c *controller) synced(t *testing.T, agents int, patience time.Duration) {
	t.Helper()
	began := time.Now()
	for {
		n := 0
		for _, s := range c.server.Statuses() {
			if s.Connected && s.Synced() && len(s.Heard) > 0 {
				n++
			}
		}
		if n == agents {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("%d of %d agents are in sync after %v", n, agents, patience)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// change is what one change came to.
type change struct {
	took      time.Duration
	nodes     int // that acknowledged
	bytes     int64
	responses int64
}

// do takes something over into the index, and waits until the last agent that it concerns has
// acknowledged.
func (c *controller) do(t *testing.T, set func(*policy.Index)) change {
	t.Helper()
	told := make(chan interest.InForce, 1)
	bytes, responses := c.sent.bytes.Load(), c.sent.responses.Load()
	began := time.Now()
	c.feed.SetPolicy(interest.Policy{
		Resource: "measured", Kind: "measured", Set: func(x *policy.Index) []model.Finding { set(x); return nil },
		Told: func(f interest.InForce) { told <- f },
	})
	select {
	case f := <-told:
		if f.Refused+f.Gone > 0 {
			t.Fatalf("%d agents refused and %d are gone", f.Refused, f.Gone)
		}
		return change{time.Since(began), f.Acknowledged, c.sent.bytes.Load() - bytes, c.sent.responses.Load() - responses}
	case <-time.After(time.Minute):
		t.Fatal("a change is not acknowledged within a minute")
		return change{}
	}
}

// resident is the memory of this process in MiB: Rss or, since the last reset, Hwm.
func resident(t *testing.T, what string) float64 {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "Vm"+what+":"); ok {
			var kib float64
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				t.Fatal(err)
			}
			return kib / 1024
		}
	}
	t.Fatalf("/proc/self/status has no Vm%s", what)
	return 0
}
