// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/datapath/link"
	"github.com/fairlead-io/fairlead/internal/datapath/netns"
	"github.com/fairlead-io/fairlead/internal/datapath/netns/netnstest"
	"github.com/fairlead-io/fairlead/test/continuity"
)

// TestMain lets FAIRLEAD_TEST_ATTACH=clsact try what kernels without tcx need.
func TestMain(m *testing.M) {
	continuity.ServeIfSpawned()
	useSocketsIfSpawned()
	switch way := os.Getenv("FAIRLEAD_TEST_ATTACH"); way {
	case "":
	case "clsact":
		link.UseWay(link.Clsact)
	default:
		fmt.Fprintf(os.Stderr, "FAIRLEAD_TEST_ATTACH=%s: want clsact, or nothing for what the kernel has\n", way)
		os.Exit(2)
	}
	goleak.VerifyTestMain(m)
}

// world is an underlay in one namespace, which is also the outside, and nodes around it.
type world struct {
	t       *testing.T
	outside space
	nodes   []*node
}

// space is a network namespace with a netlink handle in it.
type space struct {
	*netns.NS
	nl *netlink.Handle
}

// node is a machine: a namespace with an uplink, a BPF file system and a datapath.
type node struct {
	space
	world *world
	name  string
	bpffs string
	opts  datapath.Options
	spec  datapath.Node
	dp    *datapath.Datapath
	pods  int
}

// pod is a namespace with an endpoint.
type pod struct {
	space
	node *node
	ep   datapath.Endpoint
}

const (
	outside4, outside6 = "192.168.100.254", "fd64::fe"
	uplinkMTU          = 1500
)

// shape is what worlds differ in.
type shape struct {
	over6    bool             // tunnels run over IPv6
	routing  datapath.Routing // "": the default
	families []string         // of pods; none: both

	policies   bool
	services   bool
	forwarding datapath.ServiceForwarding
}

// has says whether pods have addresses of a family.
func (s shape) has(family string) bool {
	return len(s.families) == 0 || slices.Contains(s.families, family)
}

// newWorld makes n nodes, whose tunnels run over IPv4 or IPv6.
func newWorld(t *testing.T, n int, over6 bool) *world {
	t.Helper()
	return newShapedWorld(t, n, shape{over6: over6})
}

func newShapedWorld(t *testing.T, n int, sh shape) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("makes network namespaces and loads eBPF programs: run it as root (make test-bpf)")
	}
	w := &world{t: t, outside: newSpace(t)}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	must(t, w.outside.nl.LinkAdd(bridge))
	up(t, w.outside, "br0", outside4+"/24", outside6+"/64")
	for i := 1; i <= n; i++ {
		w.addNode(i, sh)
	}
	var peers []datapath.Peer
	for _, one := range w.nodes {
		peers = append(peers, datapath.Peer{Name: one.name, PodCIDRs: one.spec.PodCIDRs, Addresses: one.spec.Addresses})
	}
	for _, one := range w.nodes {
		must(t, one.dp.SyncPeers(context.Background(), peers))
	}
	return w
}

func (w *world) addNode(i int, sh shape) {
	t := w.t
	n := &node{space: newSpace(t), world: w, name: fmt.Sprintf("node-%d", i), bpffs: t.TempDir()}
	must(t, unix.Mount("bpf", n.bpffs, "bpf", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(n.bpffs, unix.MNT_DETACH)) })

	port := netlink.NewVeth(netlink.LinkAttrs{Name: fmt.Sprintf("port%d", i), MTU: uplinkMTU})
	port.PeerName, port.PeerMTU, port.PeerNamespace = "eth0", uplinkMTU, netlink.NsFd(n.FD())
	must(t, w.outside.nl.LinkAdd(port))
	bridge, err := w.outside.nl.LinkByName("br0")
	must(t, err)
	must(t, w.outside.nl.LinkSetMaster(port, bridge))
	must(t, w.outside.nl.LinkSetUp(port))
	addr4, addr6 := fmt.Sprintf("192.168.100.%d", i), fmt.Sprintf("fd64::%d", i)
	up(t, n.space, "eth0", addr4+"/24", addr6+"/64")
	for _, gw := range []string{outside4, outside6} {
		must(t, n.nl.RouteAdd(defaultVia(t, n.space, "eth0", gw)))
	}

	n.opts = datapath.Options{BPFFS: n.bpffs, Masquerade: true, Routing: sh.routing, Policies: sh.policies, Services: sh.services, ServiceForwarding: sh.forwarding, Log: slog.New(slog.NewTextHandler(testWriter{t}, nil))}
	if sh.services {
		n.opts.CgroupRoot = newCgroup(t) // all other processes of this machine are none of the node's
	}
	n.spec = datapath.Node{Name: n.name}
	if sh.has("IPv4") {
		n.spec.PodCIDRs = append(n.spec.PodCIDRs, prefix("10.244.%d.0/24", i))
		n.spec.ClusterPodCIDRs = append(n.spec.ClusterPodCIDRs, prefix("10.244.0.0/16"))
	}
	if sh.has("IPv6") {
		n.spec.PodCIDRs = append(n.spec.PodCIDRs, prefix("fd00:10:244:%d::/64", i))
		n.spec.ClusterPodCIDRs = append(n.spec.ClusterPodCIDRs, prefix("fd00:10:244::/48"))
	}
	if !sh.over6 {
		n.spec.Addresses = append(n.spec.Addresses, addr(addr4))
	}
	n.spec.Addresses = append(n.spec.Addresses, addr(addr6))
	n.open()
	w.nodes = append(w.nodes, n)
}

// open opens the node's datapath; it is closed with the test.
func (n *node) open() {
	t := n.world.t
	t.Helper()
	must(t, n.Do(func() (err error) {
		n.dp, err = datapath.Open(context.Background(), n.opts, n.spec)
		return err
	}))
	dp := n.dp
	t.Cleanup(func() { must(t, dp.Close()) })
}

// addPod makes a pod of both families.
func (n *node) addPod() *pod {
	t := n.world.t
	t.Helper()
	p := &pod{space: newSpace(t), node: n}
	n.pods++
	var err error
	p.ep, err = n.dp.AddEndpoint(context.Background(), n.podSpec(p.space, n.pods))
	must(t, err)
	return p
}

func (n *node) podSpec(s space, i int) datapath.EndpointSpec {
	spec := datapath.EndpointSpec{ContainerID: fmt.Sprintf("%s-container-%d", n.name, i), IfName: "eth0", Netns: s.path()}
	for _, p := range n.spec.PodCIDRs {
		a := p.Addr()
		for range i + 1 {
			a = a.Next()
		}
		spec.Addresses = append(spec.Addresses, a)
	}
	return spec
}

// ip returns the pod's address of a family.
func (p *pod) ip(family string) netip.Addr { return pick(p.ep.Addresses, family) }

// ip returns the node's router address of a family.
func (n *node) routerIP(family string) netip.Addr { return pick(n.dp.Gateways(), family) }

// uplinkIP returns the address on the node's uplink.
func (n *node) uplinkIP(family string) netip.Addr {
	n.world.t.Helper()
	i := n.name[len("node-"):]
	if family == "IPv4" {
		return addr("192.168.100." + i)
	}
	return addr("fd64::" + i)
}

func outsideIP(family string) netip.Addr {
	if family == "IPv4" {
		return addr(outside4)
	}
	return addr(outside6)
}

// outsideAt is a port outside.
func outsideAt(family string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(outsideIP(family), port)
}

func pick(all []netip.Addr, family string) netip.Addr {
	for _, a := range all {
		if a.Is4() == (family == "IPv4") {
			return a
		}
	}
	return netip.Addr{}
}

var families = []string{"IPv4", "IPv6"}

func newSpace(t *testing.T) space {
	t.Helper()
	ns := netnstest.New(t)
	nl, err := netlink.NewHandleAt(vnetns.NsHandle(ns.FD()), unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(nl.Close)
	s := space{ns, nl}
	up(t, s, "lo")
	return s
}

// path is one by which the namespace can be opened again.
func (s space) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.FD()) }

func up(t *testing.T, s space, device string, addresses ...string) {
	t.Helper()
	l, err := s.nl.LinkByName(device)
	must(t, err)
	for _, a := range addresses {
		parsed, err := netlink.ParseAddr(a)
		must(t, err)
		if parsed.IP.To4() == nil {
			parsed.Flags = unix.IFA_F_NODAD
		}
		must(t, s.nl.AddrAdd(l, parsed))
	}
	must(t, s.nl.LinkSetUp(l))
}

func defaultVia(t *testing.T, s space, device, gw string) *netlink.Route {
	t.Helper()
	l, err := s.nl.LinkByName(device)
	must(t, err)
	ip := net.ParseIP(gw)
	dst := &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	if ip.To4() != nil {
		dst = &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	}
	return &netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst, Gw: ip}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefix(format string, args ...any) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf(format, args...))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(p))
	return len(p), nil
}
