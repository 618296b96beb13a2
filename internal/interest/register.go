// SPDX-License-Identifier: Apache-2.0

package interest

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

const (
	// maxWait bounds the wait that a caller can ask for.
	maxWait = 10 * time.Second
	// maxLag is how long the API server's news of a pod may come after the pod's node has begun
	// to connect it.
	maxLag = 2 * time.Second
	// maxAddresses bounds what a pod can have.
	maxAddresses = 8
)

// Registrar implements the PodAddresses call.
type Registrar struct {
	state.UnimplementedPodAddressesServer

	feed         *Feed
	authenticate serve.Authenticate
}

// NewRegistrar makes what takes the addresses of pods from their nodes.
func NewRegistrar(feed *Feed, auth serve.Authenticate) *Registrar {
	return &Registrar{feed: feed, authenticate: auth}
}

// Register has a pod's addresses join the sets that name it, and waits until every agent
// that is concerned has acknowledged them or the caller's time is over.
func (r *Registrar) Register(ctx context.Context, req *state.RegisterRequest) (*state.RegisterResponse, error) {
	peer, err := r.authenticate(ctx)
	if err != nil {
		return nil, err
	}
	addresses, err := registerable(req.GetAddresses())
	if err != nil {
		return nil, err
	}
	wait := time.Duration(req.GetWaitMilliseconds()) * time.Millisecond
	if wait > maxWait {
		return nil, status.Errorf(codes.InvalidArgument, "field wait_milliseconds is %d: %d are the most", req.GetWaitMilliseconds(), maxWait/time.Millisecond)
	}
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	d, err := r.join(ctx, req, peer.Node, addresses)
	if err != nil {
		return nil, err
	}
	select {
	case <-d.Done():
	case <-deadline.C:
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	return &state.RegisterResponse{Waiting: uint32(d.Progress().Waiting)}, nil
}

// join waits, not for long, until the pod is known to be on the node.
func (r *Registrar) join(ctx context.Context, req *state.RegisterRequest, node string, addresses []netip.Addr) (*serve.Delivery, error) {
	lag := time.NewTimer(maxLag)
	defer lag.Stop()
	for {
		d, news, err := r.feed.register(ctx, req.GetNamespace(), req.GetName(), req.GetUid(), node, addresses)
		if err != nil || d != nil {
			return d, err
		}
		select {
		case <-news:
		case <-lag.C:
			return nil, status.Errorf(codes.PermissionDenied, "pod %s/%s with UID %q is not on the pod network of node %q", req.GetNamespace(), req.GetName(), req.GetUid(), node)
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
}

func registerable(packed [][]byte) (out []netip.Addr, err error) {
	if len(packed) == 0 || len(packed) > maxAddresses {
		return nil, status.Errorf(codes.InvalidArgument, "field addresses has %d of them; a pod has 1 to %d", len(packed), maxAddresses)
	}
	for _, b := range packed {
		a, ok := netip.AddrFromSlice(b)
		if !ok || a.Is4In6() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() {
			return nil, status.Errorf(codes.InvalidArgument, "field addresses: %x is no address of a pod; send 4 or 16 bytes", b)
		}
		out = append(out, a)
	}
	return out, nil
}

// SetRanges says which ranges each node gives addresses of: no node can claim those of
// another's pods. Of a node without any it is not known yet.
func (f *Feed) SetRanges(cidrs map[string][]string) {
	ranges := make(map[string][]netip.Prefix, len(cidrs))
	for node, texts := range cidrs {
		for _, text := range texts {
			if p, err := netip.ParsePrefix(text); err == nil {
				ranges[node] = append(ranges[node], p)
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ranges = ranges
}

// register gives a pod addresses. Without a delivery there is no such pod yet; news is closed
// when something has changed.
func (f *Feed) register(ctx context.Context, namespace, name, uid, node string, addresses []netip.Addr) (*serve.Delivery, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.open {
		return nil, nil, status.Error(codes.Unavailable, "this controller has not read the cluster's state yet; try another one, or again in a moment")
	}
	for _, a := range addresses {
		in := func(p netip.Prefix) bool { return p.Contains(a) }
		if ranges := f.ranges[node]; len(ranges) > 0 && !slices.ContainsFunc(ranges, in) {
			return nil, nil, status.Errorf(codes.PermissionDenied, "%s is in no range of node %q: a node gives addresses of its own ranges", a, node)
		}
	}
	if !f.index.Register(namespace, name, uid, node, addresses) {
		return nil, f.flushed, nil
	}
	d, err := f.flush(ctx)
	if err != nil {
		return nil, nil, status.Errorf(codes.Internal, "the addresses cannot be told to agents: %v", err)
	}
	for key, old := range f.registered {
		if old.Progress().Waiting == 0 {
			delete(f.registered, key)
		}
	}
	// Who asks again, for an answer that was lost, waits for the first time's.
	key := uid + "/" + namespace + "/" + name
	if before := f.registered[key]; before != nil && d.Progress().Waiting == 0 {
		return before, nil, nil
	}
	f.registered[key] = d
	return d, nil, nil
}
