// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/bpf/model"
)

// shape is what a node's programs are loaded with.
type shape struct {
	Over6        bool // tunnels run over IPv6
	Uplink       bool // is an Ethernet device
	Pods4, Pods6 bool // families that pods have
	Rows         uint32
	VNI          uint32
	Port         uint16
}

var shapes = []shape{
	{false, true, true, true, 16, testVNI, 8472},
	{true, true, true, true, 8, testVNI, 8472},
	{false, true, true, true, 256, 0xabcdef, 4789},
	{true, true, true, true, 256, testVNI, 8472},
	{false, false, true, true, 64, testVNI, 8472},
	{true, false, true, true, 64, 0xffffff, 8472},
	{false, true, true, false, 64, testVNI, 8472},
	{true, true, false, true, 64, testVNI, 4789},
}

var (
	ownRange4, ownRange6 = netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("fd00:1::/64")
	farRanges4           = []netip.Prefix{netip.MustParsePrefix("10.2.0.0/24"), netip.MustParsePrefix("10.3.0.0/24"), netip.MustParsePrefix("10.4.0.0/24")}
	farRanges6           = []netip.Prefix{netip.MustParsePrefix("fd00:2::/64"), netip.MustParsePrefix("fd00:3::/64"), netip.MustParsePrefix("fd00:4::/64")}
	hosts                = []netip.Addr{self4, self6}
	ownPods              = []netip.Addr{pod4, other4, pod6, other6}
	farPods              = []netip.Addr{
		netip.MustParseAddr("10.2.0.10"), netip.MustParseAddr("10.2.0.200"), netip.MustParseAddr("10.3.0.10"), netip.MustParseAddr("10.4.0.10"),
		netip.MustParseAddr("fd00:2::a"), netip.MustParseAddr("fd00:2::8000:a"), netip.MustParseAddr("fd00:3::a"), netip.MustParseAddr("fd00:4::a"),
	}
	// Ranges within others: of another node, and of a pod that has moved.
	nestedRanges = []netip.Prefix{
		netip.MustParsePrefix("10.2.0.128/25"), netip.MustParsePrefix("fd00:2::8000:0/97"),
		netip.PrefixFrom(other4, 32), netip.PrefixFrom(other6, 128),
	}
	unusedOwn   = []netip.Addr{netip.MustParseAddr("10.1.0.99"), netip.MustParseAddr("fd00:1::63")}
	gateways    = []netip.Addr{gateway4, gateway6}
	moreOutside = []netip.Addr{
		outside4, outside6, self4, self6, netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("ff02::fb"), netip.MustParseAddr("255.255.255.255"),
		netip.MustParseAddr("fe80::1"), netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("::"), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"),
	}
)

// node is a node's programs in the kernel, and the model of the node.
type node struct {
	space *space
	shape shape
	k     *kernel
	world *model.World
	ends  []netip.Addr // tunnel ends: known, silent, away, a stranger's
	// behind are the programs behind others, which set what a run cannot be given.
	behind map[prelude]*ebpf.Program
	totals totals
}

// newNode loads the programs of a shape.
func newNode(t testing.TB, s *space, sh shape) *node {
	t.Helper()
	n := &node{space: s, shape: sh, behind: map[prelude]*ebpf.Program{}}
	n.ends = []netip.Addr{known4, silent4, away4, stranger4}
	ipv6, self := uint8(0), self4
	if sh.Over6 {
		ipv6, self, n.ends = 1, self6, []netip.Addr{known6, silent6, away6, stranger6}
	}
	ones := [4]uint32{^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0)}
	settings := map[string]any{
		"cfg_tunnel_address": bpf.AddressOf(self).Word, "cfg_tunnel_ipv6": ipv6, "cfg_vni": sh.VNI, "cfg_tunnel_port": sh.Port<<8 | sh.Port>>8,
	}
	if sh.Uplink {
		settings["cfg_uplink_ifindex"] = s.uplink.index
	}
	if !sh.Pods4 {
		settings["cfg_gateway4"], settings["cfg_pods4"], settings["cfg_pods4_mask"] = uint32(0), ones[3], ones[3]
	}
	if !sh.Pods6 {
		settings["cfg_gateway6"], settings["cfg_pods6"], settings["cfg_pods6_mask"] = [4]uint32{}, ones, ones
	}
	n.k = loadKernel(t, sh.Rows, settings)
	t.Cleanup(n.k.close)
	return n
}

// reset makes the node as its shape says, with nothing remembered.
func (n *node) reset() error {
	sh := n.shape
	w := &model.World{
		Router: [6]byte(routerMAC), VNI: sh.VNI, TunnelAddress: self4, TunnelPort: sh.Port, Epoch: 1,
		Endpoints: map[netip.Addr]model.Endpoint{}, Ranges: map[netip.Prefix]model.Range{}, Peers: map[netip.Addr]bool{},
		Hosts: map[netip.Addr]bool{}, Fragments: map[bpf.FragmentKey]bpf.Fragment{}, Policies: model.Policies{
			Classes: map[netip.Prefix]uint64{}, Tables: map[bpf.PolicyKey]uint64{}, Ports: map[uint64][]model.PortVerdict{},
		},
		TunnelHops: map[netip.Addr]model.Hop{}, NativeHops: map[netip.Prefix]model.Hop{},
	}
	n.world = w
	if sh.Over6 {
		w.TunnelAddress = self6
	}
	if sh.Uplink {
		w.Uplink = n.space.uplink.index
	}
	resolved := model.Hop{Ifindex: n.space.uplink.index, To: knownMAC, From: n.space.uplink.mac, Resolved: true}
	asked := model.Hop{Ifindex: n.space.uplink.index}
	w.TunnelHops[n.ends[0]], w.TunnelHops[n.ends[1]] = resolved, asked
	for _, far := range [][]netip.Prefix{farRanges4, farRanges6} {
		w.NativeHops[far[0]], w.NativeHops[far[1]] = resolved, asked
	}
	n.setFamily(sh.Pods4, gateway4, ownRange4, "255.255.255.255/32")
	n.setFamily(sh.Pods6, gateway6, ownRange6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128")
	for _, a := range hosts {
		w.Hosts[a] = true
	}
	for i, a := range ownPods {
		if sh.has(a) {
			w.Endpoints[a] = model.Endpoint{Ifindex: n.space.pods[i%2].index, MAC: [6]byte{2, 0, 0, 0, 0, byte(10 + i%2)}}
		}
	}
	for i := range farRanges4 {
		w.Peers[n.ends[i]] = true
		for _, p := range []netip.Prefix{farRanges4[i], farRanges6[i]} {
			w.Ranges[p] = model.Range{Tunnel: n.ends[i], MTU: 1450}
		}
	}
	return n.write()
}

// setFamily gives the node a family's range, or the range of none.
func (n *node) setFamily(has bool, gateway netip.Addr, pods netip.Prefix, none string) {
	if !has {
		n.world.Pods = append(n.world.Pods, netip.MustParsePrefix(none))
		return
	}
	n.world.Gateways = append(n.world.Gateways, gateway)
	n.world.Pods = append(n.world.Pods, pods)
	n.world.Ranges[pods] = model.Range{Local: true}
}

func (sh shape) has(a netip.Addr) bool { return a.Is4() && sh.Pods4 || a.Is6() && sh.Pods6 }

// write makes the kernel's maps equal to the world's.
func (n *node) write() error {
	for _, name := range []string{"fl_endpoints", "fl_ranges", "fl_peers", "fl_node_addrs", "fl_classes", "fl_policies", "fl_ports", "fl_fragments"} {
		if err := clearMap(n.k.maps[name]); err != nil {
			return err
		}
	}
	for a, ep := range n.world.Endpoints {
		if err := n.putEndpoint(a, ep); err != nil {
			return err
		}
	}
	for p, r := range n.world.Ranges {
		if err := n.putRange(p, r); err != nil {
			return err
		}
	}
	for a := range n.world.Hosts {
		if err := n.k.maps["fl_node_addrs"].Put(bpf.AddressOf(a), bpf.NodeAddress{Known: 1}); err != nil {
			return err
		}
	}
	for a := range n.world.Peers {
		if err := n.k.maps["fl_peers"].Put(bpf.AddressOf(a), bpf.Peer{Known: 1}); err != nil {
			return err
		}
	}
	n.world.Noted = map[bpf.Flow]bool{}
	if err := errors.Join(n.putEpoch(), clearMap(n.k.maps["fl_via_stack"])); err != nil {
		return err
	}
	return n.forgetConnections()
}

// forgetConnections empties the table of connections, and takes the counters as they are.
func (n *node) forgetConnections() error {
	n.world.Table = model.NewTable(n.shape.Rows)
	if err := n.putTable(); err != nil {
		return err
	}
	var err error
	n.totals, err = n.readTotals()
	return err
}

func clearMap(m *ebpf.Map) error {
	var keys [][]byte
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	rows := m.Iterate()
	for rows.Next(&key, &value) {
		keys = append(keys, append([]byte(nil), key...))
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%v: %w", m, err)
	}
	for _, key := range keys {
		if err := m.Delete(key); err != nil {
			return fmt.Errorf("%v: %w", m, err)
		}
	}
	return nil
}

func (n *node) putEndpoint(a netip.Addr, ep model.Endpoint) error {
	return n.k.maps["fl_endpoints"].Put(bpf.AddressOf(a), bpf.Endpoint{Ifindex: ep.Ifindex, Mac: ep.MAC, Ingress: ep.Ingress, Egress: ep.Egress})
}

func (n *node) putRange(p netip.Prefix, r model.Range) error {
	row := bpf.Range{Mtu: uint16(r.MTU), Flags: bpf.RangeLocal}
	if !r.Local {
		row.Flags, row.Tunnel = 0, bpf.AddressOf(r.Tunnel)
	}
	if r.Native {
		row.Flags |= bpf.RangeNative
	}
	return n.k.maps["fl_ranges"].Put(bpf.RangeKeyOf(p), row)
}

func (n *node) putEpoch() error {
	return n.k.maps["fl_state"].Put(uint32(0), bpf.State{Seed: model.Seed, Epoch: n.world.Epoch})
}

// putTable writes all connections as the model has them.
func (n *node) putTable() error {
	keys := make([]uint32, n.shape.Rows)
	for i := range keys {
		keys[i] = uint32(i)
	}
	_, err := n.k.maps["fl_connections"].BatchUpdate(keys, []bpf.Connection(n.world.Table), nil)
	return err
}

// prelude is what a packet has that a run cannot be given.
type prelude struct {
	hook   bpf.Hook
	key    bool // a tunnel key
	vni    uint32
	sender netip.Addr
	tagged bool
	past   bool
}

// program returns the program of a hook, behind one that prepares the packet if need be.
func (n *node) program(m model.Meeting) *ebpf.Program {
	p := prelude{m.Hook, m.Key, m.VNI, m.Sender, m.Tagged, m.Past}
	prog := n.k.programs[m.Hook]
	if !p.key && !p.tagged && !p.past {
		return prog
	}
	if n.behind[p] == nil {
		var code asm.Instructions
		if p.key {
			code = append(code, setTunnelKey(p.vni, p.sender)...)
		}
		if p.tagged {
			const id, protocol = 5, 0x0081 // 802.1Q, in network byte order
			code = append(code, asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, protocol), asm.Mov.Imm(asm.R3, id), asm.FnSkbVlanPush.Call())
		}
		if p.past {
			const mark, field = 0xfa1e, 11 * 4 // PAST_THE_STACK, tc_index of struct __sk_buff
			code = append(code, asm.StoreImm(asm.R6, field, mark, asm.Word))
		}
		n.behind[p] = n.k.after(code, prog)
	}
	return n.behind[p]
}
