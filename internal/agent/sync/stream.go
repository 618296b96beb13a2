// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"
	"errors"
	"fmt"
	"strings"
	stdsync "sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/fairlead-io/fairlead/internal/state"
)

const (
	userAgent = "fairlead-agent"
	// maxResponse bounds one response; controllers stay far below it.
	maxResponse = 16 << 20
	// maxRefusal bounds the text of a refusal: it ends up in a status field.
	maxRefusal = 2048
)

// session enrolls if need be and follows one controller until the stream ends. It
// reports whether the controller answered.
func (c *Client) session(ctx context.Context, address string) (answered bool) {
	err := c.identity.ensure(ctx, address)
	if err == nil {
		answered, err = c.stream(ctx, address)
	}
	if ctx.Err() != nil {
		c.setStatus(false, address, nil)
		return answered
	}
	if certificateRefused(err) {
		c.identity.distrust()
	}
	level := c.cfg.Log.Warn
	if answered {
		level = c.cfg.Log.Info
	}
	level("the stream to a controller ended; what is in force stays in force", "controller", address, "error", err)
	c.setStatus(false, address, err)
	return answered
}

// certificateRefused says that a new certificate may help.
func certificateRefused(err error) bool {
	switch status.Code(err) {
	case codes.Unauthenticated, codes.PermissionDenied:
		return true
	}
	return err != nil && strings.Contains(err.Error(), "remote error: tls:")
}

// dial prepares a connection; nothing is sent before the first call.
func (c *Client) dial(address string, creds credentials.TransportCredentials) (*grpc.ClientConn, error) {
	return dial(c.cfg, address, creds)
}

func dial(cfg Config, address string, creds credentials.TransportCredentials, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, append(more,
		grpc.WithTransportCredentials(creds),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: cfg.DialTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: cfg.Keepalive, Timeout: cfg.Keepalive, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
	)...)
}

// stream subscribes to every type, naming the versions in force, and applies and
// answers what comes.
func (c *Client) stream(ctx context.Context, address string) (answered bool, err error) {
	creds, link, err := c.identity.credentials()
	if err != nil {
		return false, err
	}
	conn, err := c.dial(address, creds)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	// A stream that is cut must not leave the node with half of a change: changes are
	// brought into force by the caller's context.
	onStream, cut := context.WithCancelCause(ctx)
	var watching stdsync.WaitGroup
	watching.Go(func() { link.watch(onStream, c.cfg.RevokedInterval, cut) })
	defer watching.Wait()
	defer cut(nil)
	defer c.lines.lend(address, conn, link)()
	answered, err = c.converse(ctx, onStream, conn, address)
	if cause := context.Cause(onStream); err != nil && cause != nil {
		err = cause
	}
	return answered, err
}

// converse subscribes and answers on a connection until onStream ends.
func (c *Client) converse(ctx, onStream context.Context, conn *grpc.ClientConn, address string) (answered bool, err error) {
	ads, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(onStream)
	if err != nil {
		return false, err
	}
	told := c.cfg.LittleRoom()
	if err := c.subscribe(ads, told); err != nil {
		return false, err
	}
	for {
		r, err := ads.Recv()
		if err != nil {
			return answered, err
		}
		if !answered {
			answered = true
			c.cfg.Log.Info("following a controller", "controller", address)
			c.setStatus(true, address, nil)
		}
		if err := c.answer(ctx, ads, r, &told); err != nil {
			return answered, err
		}
	}
}

func (c *Client) subscribe(ads discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, littleRoom string) error {
	h := c.current()
	for i, typeURL := range state.AgentTypes {
		versions := h.versions(typeURL)
		if s := c.shelf(typeURL); s != nil {
			versions = s.versions(typeURL)
		}
		req := &discovery.DeltaDiscoveryRequest{
			TypeUrl:                 typeURL,
			ResourceNamesSubscribe:  []string{"*"},
			InitialResourceVersions: versions,
		}
		if i == 0 {
			req.Node = c.self(littleRoom)
		}
		if err := ads.Send(req); err != nil {
			return sendError(ads, err)
		}
	}
	return nil
}

// self is what a request says of the subscriber.
func (c *Client) self(littleRoom string) *core.Node {
	n := &core.Node{
		Id: c.cfg.NodeName, Cluster: c.cfg.ClusterName, UserAgentName: userAgent,
		UserAgentVersionType: &core.Node_UserAgentVersion{UserAgentVersion: c.cfg.AgentVersion},
	}
	state.ReportRoom(n, littleRoom)
	return n
}

// answer applies a response and acknowledges it, or refuses it in the words of
// whoever refused. told is what the controller was last told of the node's room.
func (c *Client) answer(ctx context.Context, ads discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, r *discovery.DeltaDiscoveryResponse, told *string) error {
	reply := &discovery.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
	if err := c.apply(ctx, r); err != nil {
		if ctx.Err() != nil {
			return ctx.Err() // stopped in the middle: neither in force nor refused
		}
		text := err.Error()
		if len(text) > maxRefusal {
			text = strings.ToValidUTF8(text[:maxRefusal], "") + " ..."
		}
		c.cfg.Log.Warn("refused a change", "type", state.ShortType(r.GetTypeUrl()),
			"resources", len(r.GetResources()), "removed", len(r.GetRemovedResources()), "error", text)
		reply.ErrorDetail = &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: strings.ToValidUTF8(text, "")}
	}
	if room := c.cfg.LittleRoom(); room != *told {
		reply.Node, *told = c.self(room), room
	}
	if err := ads.Send(reply); err != nil {
		return sendError(ads, err)
	}
	return nil
}

// sendError returns what the stream ended with: Send itself reports only io.EOF.
func sendError(ads discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, err error) error {
	if _, recvErr := ads.Recv(); recvErr != nil {
		return recvErr
	}
	return err
}

// apply brings a response into force: all of it or, as far as the client can tell,
// nothing of it.
func (c *Client) apply(ctx context.Context, r *discovery.DeltaDiscoveryResponse) error {
	if s := c.shelf(r.GetTypeUrl()); s != nil {
		return c.put(ctx, s, r)
	}
	before := c.current()
	after, err := before.with(r)
	if err != nil {
		return err
	}
	changed := before.differs(after)
	if !changed.Any() {
		return nil
	}
	start := time.Now()
	if err := c.handler.Apply(ctx, after.update(c.cfg.NodeName, changed)); err != nil {
		return c.rollback(ctx, r, before, changed, err)
	}
	c.setCurrent(after)
	c.cfg.Log.Debug("applied a change", "type", state.ShortType(r.GetTypeUrl()), "resources", len(r.GetResources()),
		"removed", len(r.GetRemovedResources()), "duration", time.Since(start))
	return nil
}

// rollback puts the last good state back in force after the refusal of a single
// resource. After the refusal of several the controller sends them again in smaller
// parts at once, so that there is nothing to put back yet.
func (c *Client) rollback(ctx context.Context, r *discovery.DeltaDiscoveryResponse, before *held, changed Types, cause error) error {
	if len(r.GetResources())+len(r.GetRemovedResources()) > 1 || ctx.Err() != nil {
		return cause
	}
	u := before.update(c.cfg.NodeName, changed)
	if r.GetSystemVersionInfo() != state.MoreFollows {
		u.Known = u.Known.union(changed) // the type was answered, if only with what was refused
	}
	if err := c.handler.Apply(ctx, u); err != nil {
		return errors.Join(cause, fmt.Errorf("the last good state could not be put back either: %w", err))
	}
	return cause
}
