// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-io/fairlead/internal/agent/endpoint"
	"github.com/fairlead-io/fairlead/internal/agent/pathmtu"
	agentsync "github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// resyncEvery is how often what should hold is compared with the kernel even if
// nothing changed and nobody has nudged: no notification may be the only way to a repair.
const resyncEvery = time.Minute

// Datapath is what this package needs of the kernel's side.
type Datapath interface {
	endpoint.Datapath
	Reconfigure(context.Context, datapath.Node) error
	SyncPeers(context.Context, []datapath.Peer) error
	UpdateServices(context.Context, datapath.ServiceUpdate) error
	PolicyDatapath
}

// Opener opens the datapath for a node; called again after a failure.
type Opener func(context.Context, datapath.Node) (Datapath, error)

// Endpoints is what this package needs of the endpoint manager.
type Endpoints interface {
	SetNotReady(reason string)
	Start(context.Context, endpoint.Datapath, []netip.Prefix) error
	SetRanges([]netip.Prefix) error
}

// Paths is what this package needs of the measuring of paths to peers.
type Paths interface {
	SetPeers([]pathmtu.Peer)
	// MTU is the largest packet that arrives at a peer, in bytes; 0 for no limit that is
	// known.
	MTU(peer string) int
}

// Node brings updates into force, one at a time.
type Node struct {
	open      Opener
	endpoints Endpoints
	paths     Paths
	publish   func() error // tells the runtime that the node can take pods
	log       *slog.Logger
	nudged    chan struct{}

	mu      sync.Mutex
	dp      Datapath
	started bool
	local   datapath.Node
	last    agentsync.Update

	services *services // nil: they are left to kube-proxy
	policies *policies // nil: none are enforced
}

// New returns a node. publish is called each time that everything holds; it must
// be cheap when there is nothing to do.
func New(open Opener, endpoints Endpoints, paths Paths, publish func() error, log *slog.Logger) *Node {
	return &Node{open: open, endpoints: endpoints, paths: paths, publish: publish, log: log, nudged: make(chan struct{}, 1)}
}

// Nudge has Run repeat the last update now, because the machine, or a path to a peer, has
// changed. It does not wait.
func (n *Node) Nudge() {
	select {
	case n.nudged <- struct{}{}:
	default:
	}
}

// Apply brings the node's complete state into force. Its error goes back to the
// controller as the refusal of the update.
func (n *Node) Apply(ctx context.Context, u agentsync.Update) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = u
	return n.converge(ctx)
}

// Known returns the pods that the API server has on this node, by "namespace/name".
func (n *Node) Known() map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	known := make(map[string]bool, len(n.last.Endpoints))
	for name := range n.last.Endpoints {
		known[name] = true
	}
	return known
}

// Run repeats the last update when it is nudged and once a minute, so that what was
// changed behind the agent's back is put right, until the context ends.
func (n *Node) Run(ctx context.Context) error {
	var waiting sync.WaitGroup
	defer waiting.Wait()
	waiting.Go(func() { n.runServices(ctx) })
	waiting.Go(func() { n.runPolicies(ctx) })
	tick := time.NewTicker(resyncEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.nudged:
		case <-tick.C:
		}
		n.repeat(ctx)
	}
}

func (n *Node) repeat(ctx context.Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last.LocalNode == nil {
		return
	}
	if err := n.converge(ctx); err != nil {
		n.log.Warn("the node's state does not hold", "error", err)
	}
	if n.services != nil {
		n.services.again(ctx)
	}
}

func (n *Node) converge(ctx context.Context) error {
	if n.last.LocalNode == nil {
		n.endpoints.SetNotReady("the controller has sent nothing for this node yet; is its Node object there?")
		return nil
	}
	local, err := parseLocal(n.last.LocalNode)
	if err == nil {
		err = n.prepare(ctx, local)
	}
	if err != nil {
		n.endpoints.SetNotReady(err.Error())
		return err
	}
	if !n.last.Known.Peers {
		return nil // nothing is known of the peers yet: nothing may be pruned, and no pod is promised a network
	}
	peers, err := parsePeers(local.Name, n.last.Peers)
	n.limit(peers)
	err = errors.Join(err, n.dp.SyncPeers(ctx, peers))
	if !n.policiesWhole() {
		return err // no pod is promised a network yet; Run publishes the node when they are
	}
	// A peer that cannot be served keeps nobody else from being served, so the
	// node is published all the same; the error names the peer.
	return errors.Join(err, n.publish())
}

// limit has the paths to peers measured, and gives each peer what is known of its path.
func (n *Node) limit(peers []datapath.Peer) {
	all := make([]pathmtu.Peer, 0, len(peers))
	for _, p := range peers {
		all = append(all, pathmtu.Peer{Name: p.Name, Addresses: p.Addresses})
	}
	n.paths.SetPeers(all)
	for i := range peers {
		peers[i].PathMTU = n.paths.MTU(peers[i].Name)
	}
}

// prepare opens the datapath and starts the endpoints, once, and afterwards
// follows changes of the node itself.
func (n *Node) prepare(ctx context.Context, local datapath.Node) error {
	if n.dp == nil {
		dp, err := n.open(ctx, local)
		if err != nil {
			return err
		}
		n.dp = dp
	} else if err := n.dp.Reconfigure(ctx, local); err != nil {
		return err
	}
	if err := n.openPolicies(); err != nil {
		return err
	}
	switch {
	case !n.started:
		if err := n.endpoints.Start(ctx, n.dp, local.PodCIDRs); err != nil {
			return fmt.Errorf("node %s: %w", local.Name, err)
		}
		n.started = true
	case !slices.Equal(n.local.PodCIDRs, local.PodCIDRs):
		if err := n.endpoints.SetRanges(local.PodCIDRs); err != nil {
			return fmt.Errorf("node %s: %w", local.Name, err)
		}
	}
	n.local = local
	n.startPolicies(ctx)
	n.openServices(ctx, n.last.LocalNode.GetZone())
	return nil
}
