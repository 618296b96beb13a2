// SPDX-License-Identifier: Apache-2.0

package topo

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	tunnelPort = 8472
	tunnelMTU  = UnderlayMTU - 50
	podBridge  = "cni0"
)

func (w *World) buildVeth(context.Context) (*Pair, error) {
	client, err := w.space()
	if err != nil {
		return nil, err
	}
	server, err := w.space()
	if err != nil {
		return nil, err
	}
	if err := client.wire("eth0", server, "eth0", UnderlayMTU); err != nil {
		return nil, err
	}
	range4, range6 := netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:10:244:1::/64")
	for i, s := range []*Space{client, server} {
		if err := s.up("eth0", netip.PrefixFrom(nth(range4, 2+i), 24), netip.PrefixFrom(nth(range6, 2+i), 64)); err != nil {
			return nil, err
		}
	}
	return &Pair{Client: client, Server: server, Server4: nth(range4, 3), Server6: nth(range6, 3)}, nil
}

func (w *World) buildBridge(context.Context) (*Pair, error) {
	n, err := w.node(1)
	if err != nil {
		return nil, err
	}
	if err := n.podBridge(); err != nil {
		return nil, err
	}
	client, err := w.bridgePod(n, 2, UnderlayMTU)
	if err != nil {
		return nil, err
	}
	server, err := w.bridgePod(n, 3, UnderlayMTU)
	if err != nil {
		return nil, err
	}
	return &Pair{Client: client, Server: server, Server4: nth(n.range4, 3), Server6: nth(n.range6, 3)}, nil
}

// podBridge makes the bridge of a node as the bridge plugin does: it is the pods' gateway.
func (n *node) podBridge() error {
	return n.bridge(podBridge, netip.PrefixFrom(nth(n.range4, 1), 24), netip.PrefixFrom(nth(n.range6, 1), 64))
}

// bridgePod makes the i-th pod on a node's bridge.
func (w *World) bridgePod(n *node, i, mtu int) (*Space, error) {
	pod, err := w.space()
	if err != nil {
		return nil, err
	}
	if err := n.plug(podBridge, fmt.Sprintf("pod%d", i), pod, "eth0", mtu); err != nil {
		return nil, err
	}
	if err := pod.up("eth0", netip.PrefixFrom(nth(n.range4, i), 24), netip.PrefixFrom(nth(n.range6, i), 64)); err != nil {
		return nil, err
	}
	for _, r := range []struct{ all, own netip.Prefix }{{everywhere4, n.range4}, {everywhere6, n.range6}} {
		if err := pod.route("eth0", r.all, nth(r.own, 1), 0); err != nil {
			return nil, err
		}
	}
	return pod, nil
}

var everywhere4, everywhere6 = netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")

// twoBridges makes two nodes with a bridge and a pod each.
func (w *World) twoBridges(podMTU int, how carriage) (nodes [2]*node, p *Pair, err error) {
	var pods [2]*Space
	for i := range nodes {
		if nodes[i], err = w.node(i + 1); err != nil {
			return nodes, nil, err
		}
		if err = nodes[i].podBridge(); err != nil {
			return nodes, nil, err
		}
		if pods[i], err = w.bridgePod(nodes[i], 2, podMTU); err != nil {
			return nodes, nil, err
		}
	}
	return nodes, &Pair{
		Client: pods[0], Server: pods[1], Server4: nth(nodes[1].range4, 2), Server6: nth(nodes[1].range6, 2),
		carry: how, port: nodes[0].uplinkPort,
	}, nil
}

func (w *World) buildRoutes(context.Context) (*Pair, error) {
	nodes, pair, err := w.twoBridges(UnderlayMTU, routed)
	if err != nil {
		return nil, err
	}
	for i, n := range nodes {
		far := nodes[1-i]
		if err := n.route("eth0", far.range4, far.addr4, 0); err != nil {
			return nil, err
		}
		if err := n.route("eth0", far.range6, far.addr6, 0); err != nil {
			return nil, err
		}
	}
	return pair, nil
}

// buildVXLAN joins the nodes as flannel does: one device with all neighbours and
// forwarding entries given, and a route to each other node's range through it.
func (w *World) buildVXLAN(context.Context) (*Pair, error) {
	nodes, pair, err := w.twoBridges(tunnelMTU, tunnelled)
	if err != nil {
		return nil, err
	}
	var macs [2]net.HardwareAddr
	for i, n := range nodes {
		if macs[i], err = n.vxlan(); err != nil {
			return nil, err
		}
	}
	for i, n := range nodes {
		if err := n.tunnelTo(nodes[1-i], macs[1-i]); err != nil {
			return nil, err
		}
	}
	return pair, nil
}

const vxlanDevice = "vxlan1"

func (n *node) vxlan() (net.HardwareAddr, error) {
	uplink, err := n.nl.LinkByName("eth0")
	if err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = vxlanDevice, tunnelMTU
	err = n.nl.LinkAdd(&netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: 1, VtepDevIndex: uplink.Attrs().Index, SrcAddr: n.addr4.AsSlice(), Port: tunnelPort,
	})
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", vxlanDevice, err)
	}
	if err := n.up(vxlanDevice, netip.PrefixFrom(n.range4.Addr(), 32)); err != nil {
		return nil, err
	}
	l, err := n.nl.LinkByName(vxlanDevice)
	if err != nil {
		return nil, err
	}
	return l.Attrs().HardwareAddr, nil
}

func (n *node) tunnelTo(far *node, mac net.HardwareAddr) error {
	l, err := n.nl.LinkByName(vxlanDevice)
	if err != nil {
		return err
	}
	entry := &netlink.Neigh{
		LinkIndex: l.Attrs().Index, State: unix.NUD_PERMANENT, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF,
		IP: far.addr4.AsSlice(), HardwareAddr: mac,
	}
	if err := n.nl.NeighSet(entry); err != nil {
		return fmt.Errorf("device %s: forwarding entry for %s: %w", vxlanDevice, far.addr4, err)
	}
	for _, p := range []netip.Prefix{far.range4, far.range6} {
		neighbour := &netlink.Neigh{LinkIndex: l.Attrs().Index, State: unix.NUD_PERMANENT, IP: p.Addr().AsSlice(), HardwareAddr: mac}
		if err := n.nl.NeighSet(neighbour); err != nil {
			return fmt.Errorf("device %s: neighbour %s: %w", vxlanDevice, p.Addr(), err)
		}
		if err := n.route(vxlanDevice, p, p.Addr(), int(netlink.FLAG_ONLINK)); err != nil {
			return err
		}
	}
	return nil
}
