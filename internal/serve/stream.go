// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/fairlead-io/fairlead/internal/state"
)

type deltaStream = discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer

// maxMessage bounds the refusal text that is kept of a subscriber.
const maxMessage = 2048

// stream is one subscriber's delta ADS stream. Its fields belong to the goroutine
// of run; two helpers only move messages between it and the wire, so that a
// subscriber that does not read cannot stop the bookkeeping.
type stream struct {
	server *Server
	log    *slog.Logger
	peer   Peer
	wire   deltaStream
	id     uint64

	requests chan *discovery.DeltaDiscoveryRequest
	outgoing chan *discovery.DeltaDiscoveryResponse
	dirty    *dirtySet

	started bool // the first request was accepted
	version string
	room    string   // what the subscriber said of it last
	order   []string // types in the order of their subscription
	subs    map[string]*subscription
	nonce   uint64
	refused map[string]int // refused resources by type, as the gauge has them
}

// view is what the stream's node sees of one type.
type nodeView struct {
	store         *Store
	node, typeURL string
}

func (v nodeView) version(name string) (string, bool) {
	r, ok := v.store.lookup(v.node, v.typeURL, name)
	return r.Version, ok
}

func (v nodeView) size(name string) int {
	r, _ := v.store.lookup(v.node, v.typeURL, name)
	return len(r.Body)
}

func (v nodeView) all() []string { return v.store.names(v.node, v.typeURL) }

// receive moves requests from the wire until it ends.
func (st *stream) receive(ctx context.Context, ended chan<- error) {
	for {
		req, err := st.wire.Recv()
		if err != nil {
			ended <- err
			return
		}
		select {
		case st.requests <- req:
		case <-ctx.Done():
			return
		}
	}
}

// transmit moves responses to the wire. Send waits for a subscriber that does not
// read; the queue has room for one response of each type, and more are never in flight.
func (st *stream) transmit(ctx context.Context, ended chan<- error) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-st.outgoing:
			if err := st.wire.Send(r); err != nil {
				ended <- err
				return
			}
		}
	}
}

// run serves the stream until it ends.
func (st *stream) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 2)
	st.server.goroutines.Go(func() { st.receive(ctx, ended) })
	st.server.goroutines.Go(func() { st.transmit(ctx, ended) })
	defer st.finish()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-st.server.stopping:
			return status.Error(codes.Unavailable, "this controller is shutting down; another one serves you")
		case <-ended:
			return nil // whatever ended it, there is nobody to tell
		case req := <-st.requests:
			if err := st.handle(req); err != nil {
				return err
			}
		case <-st.dirty.wake:
			st.takeDirty()
		case <-timer.C:
		}
		if !st.started {
			continue
		}
		if next := st.retry(); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		st.pump()
		st.publish()
	}
}

func (st *stream) finish() {
	if !st.started {
		return
	}
	st.server.store.detach(st.peer.Node, st.dirty)
	for typeURL, n := range st.refused {
		st.server.metrics.refused.WithLabelValues(st.server.store.label(typeURL)).Sub(float64(n))
	}
	st.server.metrics.subscribers.Dec()
	st.server.registry.end(st.id, st.status(false))
	st.log.Info("a subscriber left", "node", st.peer.Node)
}

// handle processes a request: the answer to a response, or a change of subscriptions, or both.
func (st *stream) handle(req *discovery.DeltaDiscoveryRequest) error {
	if !st.started {
		if err := st.start(req.GetNode()); err != nil {
			return err
		}
	}
	if room, ok := state.ReportedRoom(req.GetNode()); ok {
		st.room = clean(room, maxMessage)
	}
	typeURL := req.GetTypeUrl()
	if typeURL == "" {
		return status.Error(codes.InvalidArgument, "the request's type_url is empty; on an aggregated stream every request names its type")
	}
	if slices.Contains(st.server.opts.Unanswered, typeURL) {
		return nil
	}
	sub, fresh := st.subs[typeURL], false
	if sub == nil {
		if len(st.subs) >= st.server.opts.MaxTypes {
			return status.Errorf(codes.ResourceExhausted, "more than %d types are subscribed to on one stream", st.server.opts.MaxTypes)
		}
		st.dirty.follow(typeURL) // before the store is read: what changes from now on is told
		sub = newSubscription(typeURL, nodeView{st.server.store, st.peer.Node, typeURL}, st.server.opts, req.GetInitialResourceVersions())
		st.subs[typeURL], fresh = sub, true
		st.order = append(st.order, typeURL)
	}
	if !fresh {
		st.settle(sub, req)
	}
	if len(sub.names)+len(req.GetResourceNamesSubscribe())+len(sub.held) > 2*st.server.opts.MaxNames {
		return status.Errorf(codes.ResourceExhausted, "more than %d names of %s are subscribed to", st.server.opts.MaxNames, typeURL)
	}
	if fresh || len(req.GetResourceNamesSubscribe()) > 0 {
		sub.subscribe(req.GetResourceNamesSubscribe(), fresh)
	}
	if len(req.GetResourceNamesUnsubscribe()) > 0 {
		sub.unsubscribe(req.GetResourceNamesUnsubscribe())
	}
	return nil
}

// start accepts the first request, which says who subscribes.
func (st *stream) start(node *core.Node) error {
	if node.GetId() == "" {
		return status.Error(codes.InvalidArgument, "the first request's node.id is empty; it must be the node's name")
	}
	if node.GetId() != st.peer.Node {
		return status.Errorf(codes.PermissionDenied, "node.id is %q but the client certificate is of node %q", node.GetId(), st.peer.Node)
	}
	st.version = clean(node.GetUserAgentVersion(), 64)
	st.started = true
	st.server.store.attach(st.peer.Node, st.dirty)
	st.server.metrics.subscribers.Inc()
	st.server.registry.begin(st.id, st.peer.Node)
	st.log.Info("a subscriber came", "node", st.peer.Node, "version", st.version)
	return nil
}

// clean makes foreign text fit to be kept and shown.
func clean(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
}

// settle books the acknowledgement or refusal that a request carries. A nonce other
// than that of the response in flight is out of date and says nothing.
func (st *stream) settle(sub *subscription, req *discovery.DeltaDiscoveryRequest) {
	b := sub.inflight
	if b == nil || req.GetResponseNonce() != b.nonce {
		return
	}
	label := st.server.store.label(sub.typeURL)
	st.server.metrics.ackSeconds.WithLabelValues(label).Observe(time.Since(b.sent).Seconds())
	if req.GetErrorDetail() == nil {
		st.server.metrics.acks.WithLabelValues(label).Inc()
		sub.ack()
		st.dirty.settle(sub.typeURL, b.covers, sub.outcome())
		return
	}
	st.server.metrics.nacks.WithLabelValues(label).Inc()
	message := clean(req.GetErrorDetail().GetMessage(), maxMessage)
	if message == "" {
		message = fmt.Sprintf("the subscriber gave no reason (code %d)", req.GetErrorDetail().GetCode())
	}
	st.log.Warn("a subscriber refused a response", "node", st.peer.Node, "type", label,
		"resources", len(b.version), "removed", len(b.removed), "reason", message)
	sub.nack(message, time.Now())
}

// takeDirty hands the store's marks to the subscriptions. Types that nobody
// subscribed to yet are read from the store when somebody does.
func (st *stream) takeDirty() {
	for typeURL, m := range st.dirty.take() {
		sub := st.subs[typeURL]
		if sub == nil {
			continue
		}
		sub.taken = m.revision
		for name := range m.names {
			if sub.covers(name) {
				sub.dirty[name] = struct{}{}
			}
		}
	}
}

func (st *stream) retry() (next time.Time) {
	now := time.Now()
	for _, sub := range st.subs {
		if t := sub.retry(now); !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// pump sends what is due of every type.
func (st *stream) pump() {
	for _, typeURL := range st.order {
		sub := st.subs[typeURL]
		b := sub.next()
		if b == nil {
			if sub.inflight == nil {
				st.dirty.settle(typeURL, sub.taken, sub.outcome())
			}
			continue
		}
		st.nonce++
		b.nonce = strconv.FormatUint(st.nonce, 10)
		b.sent = time.Now()
		r := st.encode(sub, b)
		label := st.server.store.label(typeURL)
		st.server.metrics.responses.WithLabelValues(label).Inc()
		st.server.metrics.sent.WithLabelValues(label).Add(float64(len(r.Resources) + len(r.RemovedResources)))
		st.outgoing <- r // never waits: one of each type at most, and there is room for all types
	}
}

// encode fills the response from the store. What has changed since the batch was
// decided goes out in its new version; what has vanished, as a removal.
func (st *stream) encode(sub *subscription, b *batch) *discovery.DeltaDiscoveryResponse {
	r := &discovery.DeltaDiscoveryResponse{TypeUrl: sub.typeURL, Nonce: b.nonce}
	if b.partial {
		r.SystemVersionInfo = state.MoreFollows
	}
	for _, name := range b.names() {
		row, ok := st.server.store.lookup(st.peer.Node, sub.typeURL, name)
		if !ok {
			if _, was := b.version[name]; was {
				delete(b.version, name)
				b.removed = append(b.removed, name)
			}
			r.RemovedResources = append(r.RemovedResources, name)
			continue
		}
		if i := slices.Index(b.removed, name); i >= 0 {
			b.removed = slices.Delete(b.removed, i, i+1)
		}
		if b.version == nil {
			b.version = map[string]string{}
		}
		b.version[name] = row.Version
		r.Resources = append(r.Resources, &discovery.Resource{
			Name: name, Version: row.Version,
			Resource: &anypb.Any{TypeUrl: sub.typeURL, Value: row.Body},
		})
	}
	return r
}

// status is the stream's node as it stands now.
func (st *stream) status(connected bool) NodeStatus {
	s := NodeStatus{
		Node: st.peer.Node, AgentVersion: st.version, Connected: connected, LittleRoom: st.room,
	}
	s.Wanted = st.server.store.wanted(st.peer.Node, func(typeURL string) bool {
		return st.subs[typeURL] == nil && slices.Contains(st.server.opts.Optional, typeURL)
	})
	var acked digest
	for _, typeURL := range st.order {
		sub := st.subs[typeURL]
		s.Refusals = append(s.Refusals, sub.refusals()...)
		if sub.heardAll() {
			s.Heard = append(s.Heard, typeURL)
		}
		if !st.server.store.known(typeURL) {
			continue
		}
		acked.flip(sub.heldSum)
		if sub.answered {
			acked.flip(typeDigest(typeURL))
		}
	}
	s.Acknowledged = acked.String()
	return s
}

// publish tells the observer and the metrics what has changed.
func (st *stream) publish() {
	for typeURL, sub := range st.subs {
		if n := len(sub.refused); n != st.refused[typeURL] {
			st.server.metrics.refused.WithLabelValues(st.server.store.label(typeURL)).Add(float64(n - st.refused[typeURL]))
			st.refused[typeURL] = n
		}
	}
	st.server.registry.update(st.id, st.status(true))
}
