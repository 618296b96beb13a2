// SPDX-License-Identifier: Apache-2.0

package topo

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/test/bench/load"
)

// FairleadServices makes a node of Fairlead's that balances Services for the sockets of a
// cgroup, and two pods on it.
func (w *World) FairleadServices(ctx context.Context, cgroup string) (*Pair, *datapath.Datapath, error) {
	n, err := w.fairleadNodeWith(ctx, 1, datapath.Options{Routing: datapath.RoutingTunnel, Services: true, CgroupRoot: cgroup})
	if err != nil {
		return nil, nil, err
	}
	if err := n.dp.SyncPeers(ctx, nil); err != nil {
		return nil, nil, err
	}
	if err := n.dp.UpdateServices(ctx, datapath.ServiceUpdate{Complete: true}); err != nil {
		return nil, nil, err
	}
	client, err := w.fairleadPod(ctx, n, 2)
	if err != nil {
		return nil, nil, err
	}
	server, err := w.fairleadPod(ctx, n, 3)
	if err != nil {
		return nil, nil, err
	}
	return &Pair{Client: client, Server: server, Server4: nth(n.range4, 3), Server6: nth(n.range6, 3)}, n.dp, nil
}

// CheckSockets sends packets to the Service and looks at them in the client's pod: sockets
// were translated when none has the Service's address. A client in a wrong cgroup would be
// served as well, packet by packet.
func (p *Pair) CheckSockets(ctx context.Context) error {
	tap, err := p.Client.tap("eth0")
	if err != nil {
		return err
	}
	defer unix.Close(tap) //nolint:errcheck // read only
	spec := load.Spec{Case: load.TCPRR, Server: p.Server4, Duration: checkFor, Via: p.Via, Ports: p.Ports, Cgroup: p.Cgroup}
	if _, err := load.Run(ctx, p.Client.NS, p.Server.NS, spec); err != nil {
		return err
	}
	toPod, toService := 0, 0
	err = eachPacket(tap, func(packet []byte) {
		if len(packet) < 20 || packet[0]>>4 != 4 {
			return
		}
		switch netip.AddrFrom4([4]byte(packet[16:20])) {
		case p.Server4:
			toPod++
		case p.Via.Addr():
			toService++
		}
	})
	if err == nil && (toPod == 0 || toService > 0) {
		err = fmt.Errorf("subject %s: %d packets left the client for the pod and %d for the Service, want all for the pod", p.Subject, toPod, toService)
	}
	return err
}

// RoutedPods makes a node with two pods, each at the end of a veth with a route to it. The
// node sees the packets between them twice, as kube-proxy's rules need it: on a bridge the
// answers would pass them by.
func (w *World) RoutedPods() (*Pair, *Machine, error) {
	n, err := w.node(1)
	if err != nil {
		return nil, nil, err
	}
	var pods [2]*Space
	for i := range pods {
		if pods[i], err = w.routedPod(n, 2+i); err != nil {
			return nil, nil, err
		}
	}
	m := &Machine{n.Space, n.name, []netip.Prefix{n.range4}, []netip.Addr{n.addr4}}
	return &Pair{Client: pods[0], Server: pods[1], Server4: nth(n.range4, 3)}, m, nil
}

func (w *World) routedPod(n *node, i int) (*Space, error) {
	pod, err := w.space()
	if err != nil {
		return nil, err
	}
	port, gateway, address := fmt.Sprintf("pod%d", i), nth(n.range4, 1), nth(n.range4, i)
	if err := n.wire(port, pod, "eth0", UnderlayMTU); err != nil {
		return nil, err
	}
	if err := n.up(port, netip.PrefixFrom(gateway, 32)); err != nil {
		return nil, err
	}
	if err := pod.up("eth0", netip.PrefixFrom(address, 32)); err != nil {
		return nil, err
	}
	if err := n.route(port, netip.PrefixFrom(address, 32), netip.Addr{}, 0); err != nil {
		return nil, err
	}
	return pod, pod.route("eth0", everywhere4, gateway, int(netlink.FLAG_ONLINK))
}
