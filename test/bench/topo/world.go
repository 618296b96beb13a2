// SPDX-License-Identifier: Apache-2.0

package topo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// The names of subjects, as they stand in a report.
const (
	Veth           = "veth"            // two namespaces and one veth
	Bridge         = "bridge"          // two pods on a Linux bridge
	FairleadSame   = "fairlead-same"   // two pods on a node of Fairlead's
	BridgeRoutes   = "bridge-routes"   // bridges on two nodes, routes between them
	BridgeVXLAN    = "bridge-vxlan"    // bridges on two nodes, the kernel's VXLAN between them
	Flannel        = "flannel"         // bridges on two nodes, flannel's VXLAN backend
	FairleadVXLAN  = "fairlead-vxlan"  // two nodes of Fairlead's, tunnelled
	FairleadNative = "fairlead-native" // two nodes of Fairlead's, routed
)

// Subjects are all of them, in the order of a report.
var Subjects = []string{Veth, Bridge, FairleadSame, BridgeRoutes, BridgeVXLAN, Flannel, FairleadVXLAN, FairleadNative}

// Pair is a client and a server, and how they reach each other.
type Pair struct {
	Subject string
	Client  *Space
	Server  *Space
	// Server4 and Server6 are the server's addresses; Server6 is invalid where the
	// subject is measured over IPv4 only.
	Server4, Server6 netip.Addr

	// Via, Ports and Cgroup are those of load.Spec, where clients connect to a Service.
	Via    netip.AddrPort
	Ports  []uint16
	Cgroup string

	carry carriage // on the underlay
	port  string   // of the client's node on the underlay; "" for one node
}

// Fairlead says whether the packets of the pair meet Fairlead's programs.
func (p *Pair) Fairlead() bool {
	return slices.Contains([]string{FairleadSame, FairleadVXLAN, FairleadNative}, p.Subject)
}

// UnderlayMTU is that between nodes, in bytes.
const UnderlayMTU = 1500

// World is the underlay and what hangs on it.
type World struct {
	// Dir holds mount points and sockets; the caller removes it.
	dir      string
	flannel  string // path of the peer's program
	underlay *Space
	nodes    int
	closers  []func() error
}

// Settings are what a world needs.
type Settings struct {
	// Dir is an empty folder for mount points and files.
	Dir string
	// Flannel is the path of the program built from test/bench/flannel; it is needed
	// for that subject only.
	Flannel string
}

var (
	underlay4 = netip.MustParsePrefix("192.168.100.254/24")
	underlay6 = netip.MustParsePrefix("fd64::fe/64")
)

// New makes the underlay.
func New(s Settings) (*World, error) {
	w := &World{dir: s.Dir, flannel: s.Flannel}
	var err error
	if w.underlay, err = w.space(); err != nil {
		return nil, err
	}
	if err := w.underlay.bridge("br0", underlay4, underlay6); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// Close takes everything down, in the reverse order.
func (w *World) Close() error {
	var errs []error
	for _, c := range slices.Backward(w.closers) {
		errs = append(errs, c())
	}
	w.closers = nil
	return errors.Join(errs...)
}

func (w *World) onClose(f func() error) { w.closers = append(w.closers, f) }

// space makes a namespace that closes with the world.
func (w *World) space() (*Space, error) {
	s, err := NewSpace()
	if err != nil {
		return nil, err
	}
	w.onClose(s.Close)
	return s, nil
}

// Build makes a subject's pods and checks that its packets go the way that its name says.
func (w *World) Build(ctx context.Context, subject string) (*Pair, error) {
	build := map[string]func(context.Context) (*Pair, error){
		Veth: w.buildVeth, Bridge: w.buildBridge, BridgeRoutes: w.buildRoutes, BridgeVXLAN: w.buildVXLAN,
		Flannel: w.buildFlannel, FairleadSame: w.buildFairleadSame,
		FairleadVXLAN: w.buildFairleadVXLAN, FairleadNative: w.buildFairleadNative,
	}[subject]
	if build == nil {
		return nil, fmt.Errorf("subject %q: want one of %v", subject, Subjects)
	}
	pair, err := build(ctx)
	if err != nil {
		return nil, fmt.Errorf("subject %s: %w", subject, err)
	}
	pair.Subject = subject
	if err := w.check(ctx, pair); err != nil {
		return nil, fmt.Errorf("subject %s: %w", subject, err)
	}
	return pair, nil
}

// node is a machine on the underlay.
type node struct {
	*Space
	index            int
	addr4, addr6     netip.Addr
	range4, range6   netip.Prefix // of its pods
	uplinkPort, name string
}

// node makes a machine. Nodes of one subject are made with which 1 and 2, from which their
// pods' ranges derive; subjects know nothing of each other, so these may be the same.
func (w *World) node(which int) (*node, error) {
	s, err := w.space()
	if err != nil {
		return nil, err
	}
	w.nodes++
	n := &node{Space: s, index: which, name: fmt.Sprintf("node-%d", w.nodes), uplinkPort: fmt.Sprintf("port%d", w.nodes)}
	if err := w.underlay.plug("br0", n.uplinkPort, s, "eth0", UnderlayMTU); err != nil {
		return nil, err
	}
	n.addr4 = netip.AddrFrom4([4]byte{192, 168, 100, byte(w.nodes)})
	n.addr6 = netip.MustParseAddr(fmt.Sprintf("fd64::1:%x", w.nodes))
	n.range4 = netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", which))
	n.range6 = netip.MustParsePrefix(fmt.Sprintf("fd00:10:244:%d::/64", which))
	if err := s.up("eth0", netip.PrefixFrom(n.addr4, 24), netip.PrefixFrom(n.addr6, 64)); err != nil {
		return nil, err
	}
	return n, s.forward()
}

// nth returns an address of a range; the first one is its gateway's.
func nth(p netip.Prefix, i int) netip.Addr {
	a := p.Addr()
	for range i {
		a = a.Next()
	}
	return a
}

// Machine is a node with nothing on it, for a caller that runs programs there.
type Machine struct {
	*Space
	Name      string
	PodCIDRs  []netip.Prefix // IPv4 first
	Addresses []netip.Addr   // IPv4 first
}

// Machine makes a node that belongs to no subject.
func (w *World) Machine() (*Machine, error) {
	n, err := w.node(1)
	if err != nil {
		return nil, err
	}
	return &Machine{n.Space, n.name, []netip.Prefix{n.range4, n.range6}, []netip.Addr{n.addr4, n.addr6}}, nil
}

// Pod makes a network namespace with no interface but lo.
func (w *World) Pod() (*Space, error) { return w.space() }
