// SPDX-License-Identifier: Apache-2.0

package sync_test

import (
	"context"
	"net/netip"
	"strings"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/enroll"
	"github.com/fairlead-io/fairlead/internal/state"
)

// desk takes pods' addresses at a controller.
type desk struct {
	state.UnimplementedPodAddressesServer
	mu      stdsync.Mutex
	calls   []*state.RegisterRequest
	callers map[string]bool // connections, by the far end's address
	answer  func(context.Context) (*state.RegisterResponse, error)
}

func (d *desk) Register(ctx context.Context, r *state.RegisterRequest) (*state.RegisterResponse, error) {
	node, err := enroll.NodeOf(ctx, clusterName)
	if err != nil || node != nodeName {
		return nil, status.Errorf(codes.PermissionDenied, "the caller is %q: %v", node, err)
	}
	from, _ := grpcpeer.FromContext(ctx)
	d.mu.Lock()
	d.calls = append(d.calls, r)
	d.callers[from.Addr.String()] = true
	answer := d.answer
	d.mu.Unlock()
	if answer == nil {
		return &state.RegisterResponse{}, nil
	}
	return answer(ctx)
}

func (d *desk) see(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// withDesk starts a controller that takes pods' addresses.
func (c *cluster) withDesk(d *desk) *controller {
	d.callers = map[string]bool{}
	c.also = func(g *grpc.Server) { state.RegisterPodAddressesServer(g, d) }
	defer func() { c.also = nil }()
	ctl := c.controller(clusterName, "127.0.0.1:0")
	ctl.fill(scope(c.t))
	return ctl
}

var newPod = sync.PodAddresses{Namespace: "shop", Name: "web", UID: "u", Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.5"), netip.MustParseAddr("fd00::5")}}

func register(a *agent, wait time.Duration) (sync.Registration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	return a.client.Register(ctx, newPod)
}

func TestAPodsAddressesReachEveryControllerOverConnectionsThatLast(t *testing.T) {
	c := newCluster(t)
	first, second := &desk{}, &desk{}
	one, two := c.withDesk(first), c.withDesk(second)
	a := c.agent(t.TempDir(), newNode(), one.address, two.address)
	eventually(t, "the agent is connected", func() bool { return a.client.Status().Connected })
	for range 5 {
		r, err := register(a, patience)
		if err != nil || r != (sync.Registration{Asked: 2, Known: 2}) {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	for _, d := range []*desk{first, second} {
		d.see(func() {
			if len(d.calls) != 5 || len(d.callers) != 1 {
				t.Errorf("%d calls over %d connections, want 5 over 1", len(d.calls), len(d.callers))
			}
			r := d.calls[0]
			if r.GetNamespace() != "shop" || r.GetName() != "web" || r.GetUid() != "u" || len(r.GetAddresses()) != 2 || len(r.GetAddresses()[1]) != 16 || r.GetWaitMilliseconds() == 0 || r.GetWaitMilliseconds() > 10000 {
				t.Errorf("it was asked %v", r)
			}
		})
	}
}

func TestAControllerThatDoesNotAnswerHoldsAPodUpNoLongerThanIsAllowed(t *testing.T) {
	c := newCluster(t)
	good, bad := &desk{}, &desk{}
	one, two := c.withDesk(good), c.withDesk(bad)
	var waits atomic.Int32
	bad.answer = func(ctx context.Context) (*state.RegisterResponse, error) {
		waits.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	good.answer = func(context.Context) (*state.RegisterResponse, error) {
		return &state.RegisterResponse{Waiting: 3}, nil
	}
	a := c.agent(t.TempDir(), newNode(), one.address, two.address)
	eventually(t, "the agent is connected", func() bool { return a.client.Status().Connected })
	began := time.Now()
	r, err := register(a, 300*time.Millisecond)
	if took := time.Since(began); took > patience || waits.Load() != 1 {
		t.Errorf("it took %v, and %d waited", took, waits.Load())
	}
	if err == nil || !strings.Contains(err.Error(), two.address) || strings.Contains(err.Error(), one.address) || r != (sync.Registration{Asked: 2, Known: 1, Waiting: 3}) {
		t.Errorf("%+v, %v; want one that knows, with 3 agents to come, and the other named", r, err)
	}
	two.kill()
	if r, err := register(a, 2*time.Second); err == nil || r.Known != 1 {
		t.Errorf("with one controller gone: %+v, %v", r, err)
	}
}
