// SPDX-License-Identifier: Apache-2.0

package topo

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// clusterRanges are all pods' ranges of a subject.
var clusterRanges = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/48")}

// fairleadNode is a node that runs Fairlead's datapath, with the agent's default settings.
type fairleadNode struct {
	*node
	dp *datapath.Datapath
}

func (w *World) fairleadNode(ctx context.Context, which int, routing datapath.Routing) (*fairleadNode, error) {
	return w.fairleadNodeWith(ctx, which, datapath.Options{Routing: routing})
}

func (w *World) fairleadNodeWith(ctx context.Context, which int, opts datapath.Options) (*fairleadNode, error) {
	n, err := w.node(which)
	if err != nil {
		return nil, err
	}
	bpffs, err := w.MountBPF(n.name)
	if err != nil {
		return nil, err
	}
	f := &fairleadNode{node: n}
	opts.BPFFS, opts.Masquerade = bpffs, true
	err = n.Do(func() (err error) {
		f.dp, err = datapath.Open(ctx, opts, datapath.Node{
			Name: n.name, PodCIDRs: []netip.Prefix{n.range4, n.range6}, Addresses: []netip.Addr{n.addr4, n.addr6}, ClusterPodCIDRs: clusterRanges,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	w.onClose(f.dp.Close)
	return f, nil
}

// MountBPF mounts a BPF file system of a node's own and returns where.
func (w *World) MountBPF(name string) (string, error) {
	at := filepath.Join(w.dir, "bpf-"+name)
	if err := os.Mkdir(at, 0o755); err != nil {
		return "", err
	}
	if err := unix.Mount("bpf", at, "bpf", 0, ""); err != nil {
		return "", fmt.Errorf("mount a BPF file system at %s: %w", at, err)
	}
	w.onClose(func() error { return unix.Unmount(at, unix.MNT_DETACH) })
	return at, nil
}

// pod makes the i-th pod of a node.
func (w *World) fairleadPod(ctx context.Context, n *fairleadNode, i int) (*Space, error) {
	pod, err := w.space()
	if err != nil {
		return nil, err
	}
	_, err = n.dp.AddEndpoint(ctx, datapath.EndpointSpec{
		ContainerID: fmt.Sprintf("%s-%d", n.name, i), IfName: "eth0", Netns: pod.Path(),
		Addresses: []netip.Addr{nth(n.range4, i), nth(n.range6, i)},
	})
	return pod, err
}

func (w *World) buildFairleadSame(ctx context.Context) (*Pair, error) {
	n, err := w.fairleadNode(ctx, 1, datapath.RoutingTunnel)
	if err != nil {
		return nil, err
	}
	if err := n.dp.SyncPeers(ctx, nil); err != nil {
		return nil, err
	}
	client, err := w.fairleadPod(ctx, n, 2)
	if err != nil {
		return nil, err
	}
	server, err := w.fairleadPod(ctx, n, 3)
	if err != nil {
		return nil, err
	}
	return &Pair{Client: client, Server: server, Server4: nth(n.range4, 3), Server6: nth(n.range6, 3)}, nil
}

func (w *World) buildFairleadVXLAN(ctx context.Context) (*Pair, error) {
	return w.twoFairleads(ctx, datapath.RoutingTunnel, tunnelled)
}

func (w *World) buildFairleadNative(ctx context.Context) (*Pair, error) {
	return w.twoFairleads(ctx, datapath.RoutingNative, routed)
}

func (w *World) twoFairleads(ctx context.Context, routing datapath.Routing, how carriage) (*Pair, error) {
	var nodes [2]*fairleadNode
	var peers []datapath.Peer
	for i := range nodes {
		n, err := w.fairleadNode(ctx, i+1, routing)
		if err != nil {
			return nil, err
		}
		nodes[i] = n
		peers = append(peers, datapath.Peer{Name: n.name, PodCIDRs: []netip.Prefix{n.range4, n.range6}, Addresses: []netip.Addr{n.addr4, n.addr6}})
	}
	var pods [2]*Space
	for i, n := range nodes {
		if err := n.dp.SyncPeers(ctx, peers); err != nil {
			return nil, err
		}
		pod, err := w.fairleadPod(ctx, n, 2)
		if err != nil {
			return nil, err
		}
		pods[i] = pod
	}
	return &Pair{
		Client: pods[0], Server: pods[1], Server4: nth(nodes[1].range4, 2), Server6: nth(nodes[1].range6, 2),
		carry: how, port: nodes[0].uplinkPort,
	}, nil
}
